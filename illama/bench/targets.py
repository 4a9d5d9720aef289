"""Whom the questions go to: the host, the same host through Jupyter, bare GenAI, other servers.

Knows: how each is asked and which processes count for it. Does not know: what is measured.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from illama.bench import load, meters
from illama.bench.children import Child
from illama.config import Settings
from illama.engine import launch

# Seconds for one answer. A prompt of 8,192 tokens may take minutes on a slow machine.
_LIMIT = 900.0
# Fields that some servers refuse; they are left out for those that do.
_OPTIONAL = ("ignore_eos", "stream_options")

Request = Mapping[str, Any]  # messages, max_tokens, and perhaps "after", as load.py and raw.py know it


class Target(Protocol):
    """One party of the comparison. `engine` is the same for those who share one."""

    name: str
    engine: str

    def run(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Ask, and return what load.py and raw.py report."""

    def processes(self) -> dict[str, list[int]]:
        """The processes whose CPU time counts for it, by party."""

    def describe(self) -> dict[str, Any]:
        """What a result's file says of it."""

    def close(self) -> None:
        """End what was started for it."""


def generator() -> Child:
    """The load generator. It needs the standard library alone, and starts the faster for it."""
    return Child("The load generator", [sys.executable, "-I", "-S", load.__file__])


class Served:
    """A server of OpenAI's API, asked by the load generator."""

    def __init__(
        self,
        name: str,
        url: str,
        key: str | None,
        model: str,
        child: Child,
        pids: Callable[[], dict[str, list[int]]],
        engine: str = "",
    ) -> None:
        self.name, self.engine, self.url, self.model = name, engine or name, url, model
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._child = child
        self._pids = pids
        self.left_out: tuple[str, ...] = ()
        self.counted_by = "usage"

    def run(self, requests: Sequence[Request]) -> dict[str, Any]:
        """See `Target`. Tokens are those of the usage; where a server tells none, each piece of text is one."""
        found = self._child.ask(
            {
                "url": f"{self.url}/v1/chat/completions",
                "headers": self._headers,
                "limit": _LIMIT,
                "requests": [self._wire(request) for request in requests],
            }
        )
        for answer in found["answers"]:
            if answer["completion_tokens"] is None and not answer["error"]:
                self.counted_by = "chunks"
                answer["completion_tokens"] = answer["pieces"]
        return found

    def first_contact(self, request: Request) -> str | None:
        """Ask once, with fewer and fewer of the fields that servers may refuse. Returns why it fails, if it does."""
        error: str | None = None
        for left_out in ((), ("ignore_eos",), ("stream_options",), _OPTIONAL):
            self.left_out = left_out
            error = self.run([request])["answers"][0]["error"]
            if error is None or not error.startswith(("HTTP/1.1 400", "HTTP/1.1 422", "HTTP/1.0 4")):
                break
        return error

    def _wire(self, request: Request) -> dict[str, Any]:
        body = {
            "model": self.model,
            "messages": request["messages"],
            "max_tokens": request["max_tokens"],
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            "ignore_eos": True,
        }
        after = {"after": request["after"]} if request.get("after") else {}
        return {"body": {name: value for name, value in body.items() if name not in self.left_out}, **after}

    def processes(self) -> dict[str, list[int]]:
        """See `Target`."""
        return self._pids()

    def describe(self) -> dict[str, Any]:
        """See `Target`."""
        return {
            "name": self.name,
            "url": self.url,
            "model": self.model,
            "tokens_counted_by": self.counted_by,
            "fields_left_out": list(self.left_out),
        }

    def close(self) -> None:
        """See `Target`. The servers are not ours to end."""


class Raw:
    """Bare GenAI in a process of its own, started when it is first asked. `message` is an engine's `load` message."""

    name = engine = "raw"
    title = "Bare GenAI"

    def __init__(self, settings: Settings, message: Mapping[str, Any]) -> None:
        self._settings = settings
        self._message = message
        self._child: Child | None = None
        self.facts: dict[str, Any] = {}

    def start(self) -> float:
        """Start the process and wait until its model is loaded. Returns the seconds that it took."""
        began = time.monotonic()
        command = launch.command(self._settings, "illama.bench.raw")
        self._child = Child(self.title, command, launch.environment(os.environ))
        self.facts = self._child.ask(self._message)
        return time.monotonic() - began

    def run(self, requests: Sequence[Request]) -> dict[str, Any]:
        """See `Target`."""
        if self._child is None:
            self.start()
        assert self._child is not None, "it was just started"
        return self._child.ask({"requests": list(requests)})

    def processes(self) -> dict[str, list[int]]:
        """See `Target`."""
        return {"raw": meters.tree(self._child.pid) if self._child else []}

    def describe(self) -> dict[str, Any]:
        """See `Target`."""
        return {"name": "raw", "tokens_counted_by": "engine"}

    def close(self) -> None:
        """See `Target`."""
        if self._child is not None:
            self._child.close()
            self._child = None
