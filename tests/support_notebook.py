"""A kernel's shell with the magics, and a host as its client sees it: both within the test's own process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from illama.client import Client
from illama.errors import ModelNotFoundError
from illama.notebook.magics import IllamaMagics

MODEL = {
    "name": "SmolLM2",
    "size": 98_000_000,
    "weight_format": "q4_1",
    "context_length": 8192,
    "modified_at": "2026-01-02T03:04:05Z",
}
ENTRY = {
    "name": "SmolLM2",
    "size": 98_000_000,
    "weight_format": "q4_1",
    "context_length": 8192,
    "chat_template": True,
    "source": {"kind": "hub", "repo": "org/SmolLM2", "revision": "abc", "path": "/home/someone/models"},
    "recipe": {"converter": "openvino_genai", "openvino": "2026.4.0"},
    "digest": "0" * 64,
    "created": "2026-01-02T03:04:05Z",
}
LOADED = {**MODEL, "device": "CPU", "state": "ready", "running": 0, "queued": 0, "until_seconds": 600}
TIMINGS = {"predicted_per_second": 65.1, "ttft_ms": 180.0, "device": "CPU"}


def frame(**fields: Any) -> bytes:
    return b"data: " + json.dumps({"id": "chat-1", "model": "SmolLM2", **fields}).encode() + b"\n\n"


def piece(text: str) -> bytes:
    return frame(choices=[{"index": 0, "delta": {"content": text}, "finish_reason": None}])


END = (
    frame(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
    + frame(choices=[], usage={"completion_tokens": 2}, timings=TIMINGS)
    + b"data: [DONE]\n\n"
)


class Host(httpx.BaseTransport):
    """A host as the client sees it. Keeps the requests; `answer` gives the chunks of the next stream."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, Any]] = []
        self.models = [MODEL]
        self.loaded: list[dict[str, Any]] = []
        self.answer: Callable[[], Iterator[bytes]] = lambda: iter(
            [b": loading SmolLM2\n\n", piece("Par"), piece("is"), END]
        )
        self.pulled: list[dict[str, Any]] = [{"status": "success", "name": "SmolLM2", "existing": True}]
        self.closed = False
        self.jobs: list[dict[str, Any]] = []
        self.stopped: dict[str, Any] = {"state": "cancelled", "watchers": 0}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else None
        self.requests.append((request.url.path, body))
        path = request.url.path
        if path == "/v1/chat/completions":
            if body["model"] == "none":
                return httpx.Response(404, json=ModelNotFoundError("No model none.", hint="Pull it.").to_openai())
            return httpx.Response(200, stream=Stream(self))
        if path == "/api/tags":
            return httpx.Response(200, json={"models": self.models})
        if path == "/api/ps":
            return httpx.Response(200, json={"models": self.loaded, "jobs": self.jobs})
        if path == "/api/pull" and request.method == "DELETE":
            return httpx.Response(200, json=self.stopped)
        if path == "/api/pull" and self.pulled[-1].get("interrupted"):
            return httpx.Response(200, stream=Interrupted(self))
        if path == "/api/show":
            return httpx.Response(200, json={"entry": ENTRY})
        if path == "/api/delete":
            return httpx.Response(200, json={"freed": 98_000_000})
        if path == "/api/pull":
            return httpx.Response(200, text="".join(json.dumps(event) + "\n" for event in self.pulled))
        return httpx.Response(200, json={"done": True})


class Stream(httpx.SyncByteStream):
    def __init__(self, host: Host) -> None:
        self.host = host

    def __iter__(self) -> Iterator[bytes]:
        yield from self.host.answer()

    def close(self) -> None:
        self.host.closed = True


class Interrupted(Stream):
    def __iter__(self) -> Iterator[bytes]:
        for event in self.host.pulled[:-1]:
            yield json.dumps(event).encode() + b"\n"
        raise KeyboardInterrupt


def make_kernel_shell(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A shell that is a kernel as far as the magics can see, with this client."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    config = Config()
    config.HistoryManager.enabled = False
    shell = InteractiveShell(config=config)
    shell.kernel = object()
    shell.display_pub = CapturingDisplayPublisher()
    shell.register_magics(IllamaMagics(shell=shell, client=client))
    return shell


def make_shell(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Such a shell with a client of this host."""
    client = Client("http://127.0.0.1:1", "key", transport=host)
    yield make_kernel_shell(client, tmp_path, monkeypatch)
    client.close()


def shown(shell: Any) -> list[str]:
    return [output["data"]["text/plain"] for output in shell.display_pub.outputs]


def asked(host: Host) -> dict[str, Any]:
    (body,) = [body for path, body in host.requests if path == "/v1/chat/completions"]
    return dict(body)
