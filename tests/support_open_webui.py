"""A real Open WebUI: its environment, its process, a proxy that writes down what it asks for, a person at its page."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from aiohttp import ClientError, ClientSession, ClientTimeout, web
from support_host import eventually

from illama.notebook.recipes import OPEN_WEBUI_MODELS

# What its own requests begin with.
_TASKS = (
    ("messages this user might naturally send next", "follow-ups"),
    ("broad tags", "tags"),
    ("Generate a concise title", "title"),
)
START_WAIT = 300.0


@dataclass
class Seen:
    """A request that Open WebUI sent: times are `time.monotonic()`."""

    method: str
    path: str
    body: dict[str, Any]
    begun: float
    status: int = 0
    pieces: list[float] = field(default_factory=list)
    left: float | None = None  # when Open WebUI closed the connection before the end
    ended: float | None = None

    @property
    def kind(self) -> str:
        """What it is for, as its prompt tells."""
        if self.path != "/v1/chat/completions":
            return self.path
        said = json.dumps(self.body.get("messages", ""))
        for word, kind in _TASKS:
            if "### Task:" in said and word in said:
                return kind
        return "chat" if self.body.get("stream") else "other"


class Watching:
    """The proxy between Open WebUI and the gate."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.seen: list[Seen] = []
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._ready.wait(30)

    def of(self, *kinds: str) -> list[Seen]:
        """The requests of these kinds."""
        return [each for each in self.seen if each.kind in kinds]

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", "/{path:.*}", self._pass_on)
        runner = web.AppRunner(app, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self._session = ClientSession(timeout=ClientTimeout(total=None), auto_decompress=False)
        self._ready.set()
        await asyncio.Event().wait()

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        data = await request.read()
        seen = Seen(request.method, request.path, json.loads(data) if data else {}, time.monotonic())
        self.seen.append(seen)
        headers = {
            k: v for k, v in request.headers.items() if k.lower() not in {"host", "content-length", "connection"}
        }
        try:
            async with self._session.request(
                request.method, self.upstream + request.path_qs, data=data or None, headers=headers
            ) as answer:
                seen.status = answer.status
                out = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.headers["Content-Type"]})
                await out.prepare(request)
                async for chunk in answer.content.iter_any():
                    seen.pieces.append(time.monotonic())
                    await out.write(chunk)
                await out.write_eof()
                seen.ended = time.monotonic()
                return out
        except (asyncio.CancelledError, ClientError, ConnectionError):
            seen.left = time.monotonic()
            raise


def installed(folder: Path, python: str) -> Path:
    """The folder of Open WebUI's environment; made if it is not there."""
    if not (folder / "bin" / "open-webui").exists():
        subprocess.run([python, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "open-webui>=0.12"], check=True)
    return folder / "bin" / "open-webui"


@contextmanager
def open_webui(program: Path, folder: Path, base_url: str, key: str, embedding: str | None) -> Iterator[str]:
    """Open WebUI with the settings that we print, and those that keep it to the gate alone. Gives its URL."""
    port = free_port()
    env = {
        **{
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("ILLAMA_", "JUPYTER", "PYTHONPATH"))
        },
        # What %illama openai open-webui prints.
        "OPENAI_API_BASE_URL": base_url,
        "OPENAI_API_KEY": key,
        "ENABLE_OLLAMA_API": "false",
        "DEFAULT_MODEL_METADATA": OPEN_WEBUI_MODELS,
        # For this test alone: no accounts, nothing from the network, nothing kept.
        "WEBUI_AUTH": "False",
        "OFFLINE_MODE": "true",
        "HF_HUB_OFFLINE": "1",
        "ENABLE_PERSISTENT_CONFIG": "False",
        "ENABLE_VERSION_UPDATE_CHECK": "False",
        "DATA_DIR": str(folder / "data"),
        "STATIC_DIR": str(folder / "static"),
        "WEBUI_SECRET_KEY": "for this test",
        "ANONYMIZED_TELEMETRY": "false",
        "DO_NOT_TRACK": "true",
        "RAG_EMBEDDING_ENGINE": "openai",
        "RAG_OPENAI_API_BASE_URL": base_url,
        "RAG_OPENAI_API_KEY": key,
        "RAG_EMBEDDING_MODEL": embedding or "none",
    }
    (folder / "data").mkdir()
    (folder / "static").mkdir()
    log = folder / "open-webui.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [str(program), "serve", "--host", "127.0.0.1", "--port", str(port)],
            env=env,
            cwd=folder,
            stdout=output,
            stderr=output,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        eventually(lambda: process.poll() is not None or _healthy(url), "Open WebUI answers", START_WAIT)
        assert process.poll() is None, log.read_text()[-3000:]
        yield url
    finally:
        process.terminate()
        process.wait(60)


def _healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def free_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class Person:
    """Somebody at the page."""

    def __init__(self, page: Any, url: str, shots: Path | None) -> None:
        self.page, self.url, self._shots = page, url, shots

    def shot(self, name: str) -> None:
        """Keep what is seen."""
        if self._shots:
            self.page.screenshot(path=str(self._shots / f"{name}.png"))

    def opens_a_new_chat(self) -> None:
        """The first page, without what a new version likes to announce."""
        self.page.goto(self.url, timeout=120_000)
        self.page.wait_for_selector("#chat-input", timeout=120_000)
        for name in ("Okay, Let's Go!", "Got it", "Dismiss"):
            button = self.page.get_by_role("button", name=name)
            if button.count():
                button.first.click()

    def asks(self, text: str) -> None:
        """Type into the chat and send."""
        self.page.locator("#chat-input").click()
        self.page.keyboard.type(text)
        self.page.keyboard.press("Enter")

    def answer(self) -> str:
        """The text of the last answer, so far."""
        found = self.page.locator(".chat-assistant")
        return str(found.last.inner_text()) if found.count() else ""
