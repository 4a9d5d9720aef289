"""The model host: one process that all of a user's kernels, terminals and servers share.

Knows: its parts, its socket, its state file, when to end. Does not know: OpenVINO, notebooks.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import ipaddress
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

from filelock import FileLock, Timeout
from tornado import httpserver, netutil, web

import illama
from illama.config import Settings
from illama.errors import ConfigError, HostError, PortInUseError
from illama.host import (
    base,
    completions,
    keys,
    ollama,
    ollama_chat,
    openai,
    openapi,
    pulling,
    refusals,
    responses,
    state,
    vectors,
)
from illama.host.devices import Devices
from illama.host.dispatcher import Dispatcher
from illama.host.jobs import Jobs
from illama.host.metrics import Metrics, MetricsHandler
from illama.registry import Registry

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
# Seconds that a connection may take for a request's headers, or idle between two requests.
_IDLE_CONNECTION = 60.0
_MAX_HEADERS = 64 * 2**10
# Connections that may wait to be taken up, within the system's own bound (Linux: somaxconn). Hundreds come at once, one
# for each text of a document, and one that finds no room tries again after a second.
_BACKLOG = 4096
# Seconds that handlers get to write the end of their answers when the host ends.
_LAST_WORDS = 2.0
# How a request is logged whose client left before the end (nginx's number for it).
_CLIENT_LEFT = 499


class Host:
    """The host's parts, and its life from the first socket to the last."""

    def __init__(self, settings: Settings, key: str | None, *, on_demand: bool) -> None:
        self.settings = settings
        self.key = key
        self.inference_keys = keys.InferenceKeys(settings)
        self.on_demand = on_demand
        self.registry = Registry(settings.registry_dir)
        self.devices = Devices(settings)
        self.metrics = Metrics(self._is_known)
        self.dispatcher = Dispatcher(settings, self.registry, self.devices, self.metrics)
        self.jobs = Jobs(settings, used=self.touch)
        self.bound_to_loopback = True
        self._answering: set[base.Handler] = set()
        self._quiet = asyncio.Event()
        self._stopping = asyncio.Event()
        self._touched = time.monotonic()

    def touch(self) -> None:
        """Somebody uses the host: its idle time begins anew."""
        self._touched = time.monotonic()

    def _is_known(self, name: str) -> bool:
        return any(entry.name == name for entry in self.registry.entries())

    def begins(self, handler: base.Handler) -> None:
        """A request has come."""
        self._answering.add(handler)

    def ends(self, handler: base.Handler) -> None:
        """Its answer is out, or its client has gone."""
        self._answering.discard(handler)
        if not self._answering:
            self._quiet.set()

    def stop(self) -> None:
        """Begin to end."""
        self._stopping.set()

    async def run(self) -> None:
        """Serve until stopped. Raises HostError or PortInUseError if that cannot begin."""
        sockets = self._bind()
        address, port = sockets[0].getsockname()[:2]
        self.bound_to_loopback = ipaddress.ip_address(address).is_loopback
        server = httpserver.HTTPServer(
            self.application(),
            max_body_size=base.MAX_BODY + 1,
            max_buffer_size=base.MAX_BODY + 2**20,
            max_header_size=_MAX_HEADERS,
            idle_connection_timeout=_IDLE_CONNECTION,
        )
        server.add_sockets(sockets)
        written = state.HostState.of_this_process(
            version=illama.__version__,
            host=address,
            port=port,
            key=self.key or "",
            settings=self._told_settings(),
            on_demand=self.on_demand,
        )
        state.write(self.settings.run_dir, written)
        log.info("illama %s serves on %s (pid %s)", illama.__version__, written.url, os.getpid())
        if not self.bound_to_loopback:
            log.info("it is bound to %s: other machines can reach it, by plain HTTP, with the key", address)
        try:
            await self._until_stopped()
        finally:
            # First out of sight, so that nobody comes any more; then the requests; then the engines.
            state.remove(self.settings.run_dir, written)
            server.stop()
            await self.jobs.close()
            await self.dispatcher.close(self.settings.drain_sec)
            await self._answered()
            await server.close_all_connections()
            log.info("the model host has ended")

    async def _answered(self) -> None:
        """Let the handlers write how their requests ended."""
        if self._answering:
            self._quiet.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._quiet.wait(), _LAST_WORDS)

    def _told_settings(self) -> dict[str, object]:
        """What others compare theirs with. A device that nobody asked for is not the same as one that was."""
        told = self.settings.public()
        if not self.settings.is_set("ILLAMA_DEVICE"):
            told["ILLAMA_DEVICE"] = "unset (a GPU if there is one, else the CPU)"
        return told

    @staticmethod
    def table() -> list[openapi.Route]:
        """The paths and their handlers."""
        routes: list[tuple[Any, ...]] = [
            (r"/", base.Root),
            (r"/health", base.Health),
            (r"/metrics", MetricsHandler),
            (r"/openapi.json", openapi.OpenApi),
            (r"/v1/models", openai.Models),
            (r"/v1/models/(.+)", openai.Model, ("model",)),
            (r"/v1/chat/completions", openai.ChatCompletions),
            (r"/v1/completions", completions.Completions),
            (r"/v1/responses", responses.Responses),
            (r"/v1/embeddings", vectors.Embeddings),
            (r"/v1/rerank", vectors.Rerank),
            (r"/api/embed", vectors.Embed),
            (r"/api/embeddings", vectors.OldEmbeddings),
            (r"/api/version", ollama.Version),
            (r"/api/tags", ollama.Tags),
            (r"/api/ps", ollama.Ps),
            (r"/api/show", ollama.Show),
            (r"/api/generate", ollama_chat.Generate),
            (r"/api/chat", ollama_chat.Chat),
            (r"/api/pull", pulling.Pull),
            (r"/api/copy", ollama.Copy),
            (r"/api/delete", ollama.Delete),
            (r"/api/create", refusals.Create),
            (r"/api/push", refusals.Push),
            (r"/api/blobs/(.+)", refusals.Blobs, ("digest",)),
        ]
        return [openapi.Route(*route) for route in routes]

    def application(self) -> web.Application:
        """What the server runs."""
        mine, table = {"host": self}, self.table()
        pages: dict[type, Callable[[], bytes]] = {
            MetricsHandler: lambda: self.metrics.render(self.dispatcher.loaded()),
            openapi.OpenApi: functools.cache(lambda: openapi.render(table)),
        }
        return web.Application(
            [(each.pattern, each.handler, {**mine, **_page(pages.get(each.handler))}) for each in table],
            default_handler_class=base.Nothing,
            default_handler_args=mine,
            log_function=_log_request,
        )

    def _bind(self) -> list[socket.socket]:
        s = self.settings
        address = s.host if s.is_set("ILLAMA_HOST") or not self.on_demand else LOOPBACK
        try:
            return netutil.bind_sockets(s.port, address, backlog=_BACKLOG)
        except OSError as problem:
            if problem.errno == errno.EADDRINUSE and self.on_demand:
                return netutil.bind_sockets(0, address, backlog=_BACKLOG)
            if problem.errno == errno.EADDRINUSE:
                raise PortInUseError(
                    f"Port {s.port} is in use by another program (Ollama has the same default).",
                    hint="Stop that program, or set ILLAMA_PORT to a free port.",
                ) from problem
            raise HostError(
                f"The host cannot listen on {address} port {s.port}: {problem.strerror or problem}.",
                hint="Set ILLAMA_HOST to an address of this machine, and ILLAMA_PORT to a port above 1023.",
            ) from problem

    async def _until_stopped(self) -> None:
        while not self._stopping.is_set():
            left = self._touched + self.settings.host_idle_sec - time.monotonic() if self.on_demand else None
            if left is not None and left <= 0:
                if not self.dispatcher.busy and not self.jobs.busy:
                    log.info("idle for %g s: the model host ends itself", self.settings.host_idle_sec)
                    return
                # At work: look again when the work may be over.
                left = min(self.settings.host_idle_sec, 60.0)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), left)


def serve(settings: Settings, *, on_demand: bool = False, no_key: bool = False) -> int:
    """Run a host in this process until it is told to stop; returns the exit code.

    Raises ConfigError for `no_key` beyond loopback, HostError if another host of this user runs, PortInUseError.
    """
    if no_key and not (settings.is_set("ILLAMA_HOST") and _is_loopback(settings.host)):
        raise ConfigError(
            "--no-key is for loopback alone: everybody who reaches the port may use, pull and remove models.",
            hint=f"Set ILLAMA_HOST={LOOPBACK}, or leave --no-key out.",
        )
    state.secure(settings.run_dir)
    lock = FileLock(settings.run_dir / "host.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        running = state.read(settings.run_dir)
        if on_demand:
            return 0  # another one was quicker, and serves as well
        raise HostError(
            f"A model host runs already: {running or 'it is starting'}.",
            hint="Use it, or end it with `illama stop --host`.",
        ) from None
    try:
        key = None if no_key else keys.owner_key(settings)
        asyncio.run(_main(settings, key, on_demand))
    finally:
        lock.release()
    return 0


async def _main(settings: Settings, key: str | None, on_demand: bool) -> None:
    host = Host(settings, key, on_demand=on_demand)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, host.stop)
        except NotImplementedError:  # Windows' loops know no signals
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(host.stop))
    await host.run()


def _page(made: Callable[[], bytes] | None) -> dict[str, Any]:
    return {"page": made} if made else {}


def _is_loopback(address: str) -> bool:
    try:
        return address == "localhost" or ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _log_request(handler: web.RequestHandler) -> None:
    # Polls would drown the rest; a path holds no prompt, and the query string, which might, is left out.
    request = handler.request
    if request.method not in ("GET", "HEAD") or handler.get_status() >= 500:
        took = request.request_time() * 1000
        left = isinstance(handler, base.Handler) and handler.gone.is_set()
        status = _CLIENT_LEFT if left else handler.get_status()
        log.info("%s %s %s %.0f ms", status, request.method, request.path, took)
