"""A real host process for tests, with made-up models for the fake engine."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

from illama.host import state
from illama.registry import Entry, Registry

T = TypeVar("T")


def fake_model(
    home: Path,
    name: str,
    *,
    context_length: int = 8192,
    digest: str = "0" * 64,
    task: str = "text-generation",
    stored: dict[str, Any] | None = None,
    **options: Any,
) -> Entry:
    """Put a model for the fake engine into a home's registry.

    `options` are those of illama/engine/fake.py or fake_encoder.py, `stored` the entry's.
    """
    registry = Registry(home / "registry")
    staged = registry.staging()
    (staged / "fake.json").write_text(json.dumps(options))
    size = (staged / "fake.json").stat().st_size
    entry = Entry(
        name=name,
        source={"kind": "ir"},
        digest=digest,
        created="2026-01-01T00:00:00+00:00",
        context_length=context_length,
        size=size,
        files={"fake.json": size},
        chat_template=task == "text-generation",
        task=task,
        options=stored or {},
    )
    return registry.add(entry, staged)


def eventually(look: Callable[[], T], what: str, seconds: float = 20.0) -> T:
    """Ask again and again until the answer is true. For what another process does, which nobody tells of."""
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < end, f"it did not happen: {what}"
        time.sleep(0.01)


class RunningHost:
    """A host in a process of its own, and a client with its key."""

    def __init__(self, home: Path, process: subprocess.Popen[bytes]) -> None:
        self.home = home
        self.process = process
        found = eventually(lambda: state.read(home / "run") or process.poll() is not None, "the host starts")
        assert isinstance(found, state.HostState), (home / "host.log").read_text()
        self.url, self.key = found.url, found.key
        self.http = httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=60)

    def chat(self, model: str, content: str, **more: Any) -> httpx.Response:
        """One whole answer."""
        body = {"model": model, "messages": [{"role": "user", "content": content}], **more}
        return self.http.post("/v1/chat/completions", json=body)

    @contextlib.contextmanager
    def stream(self, model: str, content: str, **more: Any) -> Iterator[httpx.Response]:
        """A streamed answer, open."""
        body = {"model": model, "messages": [{"role": "user", "content": content}], "stream": True, **more}
        with self.http.stream("POST", "/v1/chat/completions", json=body) as response:
            yield response

    def ps(self) -> list[dict[str, Any]]:
        """What is loaded."""
        models: list[dict[str, Any]] = self.http.get("/api/ps").json()["models"]
        return models

    def loaded(self) -> dict[str, Any]:
        """The one loaded model."""
        (model,) = self.ps()
        return model

    def log(self) -> str:
        """The host's log so far."""
        return (self.home / "host.log").read_text()


def events(response: httpx.Response) -> Iterator[dict[str, Any]]:
    """The data frames of an event stream, up to [DONE]."""
    for line in response.iter_lines():
        if line.startswith("data: ") and line != "data: [DONE]":
            yield json.loads(line.removeprefix("data: "))


def text_of(frames: list[dict[str, Any]]) -> str:
    """The text of all chunks."""
    return "".join(choice["delta"].get("content", "") for frame in frames for choice in frame["choices"])


@contextlib.contextmanager
def running_host(home: Path, *arguments: str, **variables: str) -> Iterator[RunningHost]:
    """A host with this home, ended at the end with all that it started."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("ILLAMA_")}
    chosen = {"ILLAMA_HOME": str(home), "ILLAMA_ENGINE": "fake", **variables}
    with (home / "host.log").open("ab") as log:
        command = [sys.executable, "-m", "illama.host", "--on-demand", *arguments]
        process = subprocess.Popen(command, env={**environ, **chosen}, stdout=log, stderr=log)
    host = None
    try:
        host = RunningHost(home, process)
        yield host
    finally:
        if host:
            host.http.close()
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
        process.terminate()
        process.wait(30)
