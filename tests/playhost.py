"""Plays a model host: its API as far as the client and the command line use it, in a thread or as a process.

A model "slow" answers one piece and then waits until its reader has gone; "broken" ends in an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import tornado.httpserver
import tornado.netutil
import tornado.web

from illama import __version__
from illama.config import Settings
from illama.errors import AuthError, EngineDiedError, IllamaError, ModelNotFoundError
from illama.host import state

KEY = "the-owners-key"


class Play:
    """What the host has, what it was asked, and events to wait for."""

    def __init__(self) -> None:
        self.installed = ["SmolLM2-135M-Instruct", "slow", "broken"]
        self.loaded: list[str] = []
        self.asked: list[dict[str, Any]] = []
        self.looks: list[str] = []  # paths of what was only looked at
        self.left = threading.Event()
        self.pull_error: IllamaError | None = None
        self.jobs: list[dict[str, Any]] = []
        self.pull_state = "cancelled"  # what becomes of a pull that is stopped
        self.url = ""


class Handler(tornado.web.RequestHandler):
    def initialize(self, play: Play) -> None:
        self.play = play
        self.gone = asyncio.Event()

    def prepare(self) -> None:
        if self.request.path != "/health" and self.request.headers.get("Authorization") != f"Bearer {KEY}":
            self.refuse(AuthError("No key, or a wrong one.", hint="Look into the key file."))

    def on_connection_close(self) -> None:
        self.gone.set()
        self.play.left.set()

    def refuse(self, error: IllamaError) -> None:
        self.set_status(error.status)
        openai = self.request.path.startswith("/v1")
        self.finish(error.to_openai() if openai else error.to_ollama())

    def model(self, name: str) -> str:
        by_alias = {"smollm2": "SmolLM2-135M-Instruct"}.get(name, name)
        if by_alias not in self.play.installed:
            raise ModelNotFoundError(f"There is no model {name} here.", hint="`illama list` shows those there are.")
        return by_alias

    def get(self) -> None:
        path = self.request.path
        self.play.looks.append(path)
        if path == "/health":
            self.finish({"status": "ok"})
        elif path == "/api/version":
            self.finish({"version": __version__, "protocol": state.PROTOCOL})
        elif path == "/api/tags":
            self.finish({"models": [{"name": n, "size": 98_362_432} for n in self.play.installed]})
        else:
            loaded = {"device": "CPU", "state": "ready", "running": 0, "queued": 0, "context_length": 8192}
            times = {"tokens_per_second": 61.25, "until_seconds": 599.0, "size": 98_362_432}
            models = [{"name": n, **loaded, **times} for n in self.play.loaded]
            self.finish({"models": models, "jobs": self.play.jobs})

    async def post(self) -> None:
        body = json.loads(self.request.body)
        self.play.asked.append({"path": self.request.path, **body})
        try:
            await getattr(self, self.request.path.rpartition("/")[2])(body)
        except IllamaError as error:
            self.refuse(error)

    def delete(self) -> None:
        body = json.loads(self.request.body)
        self.play.asked.append({"path": self.request.path, "method": "DELETE", **body})
        if self.request.path == "/api/pull":
            self.finish({"job": "1", "state": self.play.pull_state, "watchers": 2})
            return
        try:
            self.play.installed.remove(self.model(body["model"]))
        except IllamaError as error:
            self.refuse(error)
        else:
            self.finish({"freed": 98_362_432})

    async def show(self, body: dict[str, Any]) -> None:
        self.finish({"entry": {"name": self.model(body["model"]), "size": 98_362_432, "task": "text-generation"}})

    async def generate(self, body: dict[str, Any]) -> None:
        name = self.model(body["model"])
        if body.get("keep_alive") == 0:
            self.play.loaded = [n for n in self.play.loaded if n != name]
        self.finish({"done": True})

    async def pull(self, body: dict[str, Any]) -> None:
        for done in (0, 50, 100):
            self.write(json.dumps({"status": "downloading x", "phase": "download", "completed": done, "total": 100}))
            self.write("\n")
            await self.flush()
        if body["model"] == "slow":
            await self.gone.wait()
            return
        if self.play.pull_error:
            self.finish(json.dumps({**self.play.pull_error.to_ollama(), "status_code": 500}) + "\n")
            return
        self.play.installed.append("SmolLM2-135M-Instruct")
        self.finish(json.dumps({"status": "success", "name": "SmolLM2-135M-Instruct", "existing": False}) + "\n")

    async def completions(self, body: dict[str, Any]) -> None:
        name = self.model(body["model"])
        self.set_header("Content-Type", "text/event-stream")
        await self.frame(f": loading {name} …")
        await self.piece("Paris")
        if name == "slow":
            await self.gone.wait()
            return
        if name == "broken":
            await self.frame("data: " + json.dumps(EngineDiedError("The engine ended.", hint="Ask again.").to_openai()))
        else:
            await self.piece(" \x1b[31mis it.")
            timings = {"ttft_ms": 1500, "predicted_n": 2, "predicted_per_second": 61.25, "device": "CPU"}
            await self.piece("", finish_reason="stop", timings=timings)
        await self.frame("data: [DONE]")
        self.finish()

    async def piece(self, text: str, finish_reason: str | None = None, **more: Any) -> None:
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}
        await self.frame("data: " + json.dumps({"id": "1", "model": "m", "choices": [choice], **more}))

    async def frame(self, line: str) -> None:
        self.write(line + "\n\n")
        with contextlib.suppress(tornado.iostream.StreamClosedError):
            await self.flush()


def listen(play: Play) -> tuple[tornado.httpserver.HTTPServer, int]:
    sockets = tornado.netutil.bind_sockets(0, "127.0.0.1")
    server = tornado.httpserver.HTTPServer(tornado.web.Application([(".*", Handler, {"play": play})]))
    server.add_sockets(sockets)
    port = sockets[0].getsockname()[1]
    play.url = f"http://127.0.0.1:{port}"
    return server, port


@contextlib.contextmanager
def in_a_thread() -> Iterator[Play]:
    """A host in a thread of this process."""
    play, ready = Play(), threading.Event()
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        server, _ = listen(play)
        stop = asyncio.Event()
        loops.append((asyncio.get_running_loop(), stop))
        ready.set()
        await stop.wait()
        server.stop()
        await server.close_all_connections()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    ready.wait()
    try:
        yield play
    finally:
        loops[0][0].call_soon_threadsafe(loops[0][1].set)
        thread.join()


async def as_a_process() -> None:
    """A host as `illama.host` is one: it writes the state file, and takes it away when it is asked to end."""
    settings = Settings.load()
    if settings.home and (settings.home / "refuse").exists():
        sys.exit("I refuse to start.")
    _, port = listen(Play())
    me = state.HostState.of_this_process(
        version=__version__, host="127.0.0.1", port=port, key=KEY, settings=settings.public(), on_demand=True
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    state.write(settings.run_dir, me)
    print("environment:", json.dumps(dict(os.environ)), flush=True)
    await stop.wait()
    state.remove(settings.run_dir, me)


if __name__ == "__main__":
    asyncio.run(as_a_process())
