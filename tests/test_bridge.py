"""The kernel's side of the panel, against a played host: what goes through, what does not, and how it ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import playhost
import pytest

from illama.config import Settings
from illama.notebook.bridge import STATIC, Bridge


class Heard:
    """What a bridge has sent, and a way to wait for a message."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self._news = threading.Condition()

    def __call__(self, message: dict[str, Any]) -> None:
        with self._news:
            self.messages.append(message)
            self._news.notify_all()

    def first(self, key: str) -> dict[str, Any]:
        """The first message that has this key."""
        with self._news:
            assert self._news.wait_for(lambda: any(key in message for message in self.messages), 10), self.messages
            return next(message for message in self.messages if key in message)

    def text(self) -> str:
        return "".join(message.get("chunk", "") for message in self.messages)


@pytest.fixture
def host() -> Iterator[playhost.Play]:
    with playhost.in_a_thread() as play:
        yield play


def settings_for(host: playhost.Play, home: Path) -> Settings:
    return Settings.load({"ILLAMA_HOME": str(home), "ILLAMA_BASE_URL": host.url, "ILLAMA_API_KEY": playhost.KEY})


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def bridge(host: playhost.Play, home: Path, heard: Heard) -> Bridge:
    return Bridge(heard, settings_for(host, home))


def test_an_answer_comes_with_its_status_in_pieces_and_ends(bridge: Bridge, heard: Heard):
    thread = bridge.receive({"id": "1", "method": "GET", "path": "/api/tags", "poll": True})
    assert thread is not None
    thread.join(10)
    assert heard.messages[0]["status"] == 200
    assert '"SmolLM2-135M-Instruct"' in heard.text()
    assert heard.messages[-1] == {"id": "1", "end": True}
    assert {message["id"] for message in heard.messages} == {"1"}


def test_a_body_arrives_and_a_stream_streams_until_it_is_aborted(bridge: Bridge, heard: Heard, host: playhost.Play):
    body = {"model": "slow", "messages": [{"role": "user", "content": "hello"}], "stream": True}
    thread = bridge.receive({"id": "2", "method": "POST", "path": "/v1/chat/completions", "body": body})
    assert thread is not None
    assert heard.first("status")["type"] == "text/event-stream"
    heard.first("chunk")
    assert not host.left.is_set()
    bridge.receive({"id": "2", "abort": True})
    assert host.left.wait(10)
    thread.join(10)
    assert not thread.is_alive()
    assert host.asked[0]["messages"] == body["messages"]
    assert not any("end" in message or "error" in message for message in heard.messages)


def test_a_refusal_keeps_its_status_and_its_words(bridge: Bridge, heard: Heard):
    thread = bridge.receive({"id": "3", "method": "DELETE", "path": "/api/delete", "body": {"model": "nothing"}})
    assert thread is not None
    thread.join(10)
    assert heard.messages[0]["status"] == 404
    assert "There is no model nothing here." in heard.text()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("GET", path) for path in ("/health", "/metrics", "/v1/../metrics", "/api/%2e%2e/metrics", "/api/a//b")),
        *(("GET", path) for path in ("http://127.0.0.1/v1/x", "/v1", "/api/ps?x=1", "/v1/a b", "", None, 7)),
        *((method, "/api/ps") for method in ("PUT", "get", "", None)),
    ],
)
def test_nothing_else_is_asked_for(bridge: Bridge, heard: Heard, host: playhost.Play, method: Any, path: Any):
    thread = bridge.receive({"id": "4", "method": method, "path": path})
    assert thread is not None
    thread.join(10)
    (message,) = heard.messages
    assert message["error"]["status"] == 404
    assert host.asked == []


@pytest.mark.parametrize("message", [None, "x", 1, [], {}, {"id": 1}, {"id": "5", "abort": True}])
def test_what_is_no_request_is_left_alone(bridge: Bridge, heard: Heard, message: Any):
    assert bridge.receive(message) is None
    assert heard.messages == []


def test_a_poll_starts_no_host(home: Path, heard: Heard):
    thread = Bridge(heard, Settings.load({"ILLAMA_HOME": str(home)})).receive(
        {"id": "6", "method": "GET", "path": "/api/ps", "poll": True}
    )
    assert thread is not None
    thread.join(10)
    (message,) = heard.messages
    assert message["error"]["message"] == "No model host is running."
    assert message["error"]["status"] == 503
    assert not (home / "logs").exists()


def test_a_host_that_ends_in_the_middle_is_told(home: Path, heard: Heard):
    with playhost.in_a_thread() as host:
        body = {"model": "slow", "messages": [], "stream": True}
        thread = Bridge(heard, settings_for(host, home)).receive(
            {"id": "7", "method": "POST", "path": "/v1/chat/completions", "body": body}
        )
        heard.first("chunk")
    assert thread is not None
    thread.join(10)
    assert "error" in heard.messages[-1]


def test_the_sources_are_the_panels_modules_and_styles(bridge: Bridge, heard: Heard):
    bridge.receive({"id": "8", "sources": True})
    (message,) = heard.messages
    assert set(message["sources"]) == {file.name for file in STATIC.iterdir() if file.suffix in {".js", ".css"}}
    assert "export function mount" in message["sources"]["panel.js"]


def test_the_key_is_in_no_message(bridge: Bridge, heard: Heard):
    for path in ("/api/version", "/api/tags", "/api/ps"):
        thread = bridge.receive({"id": path, "method": "GET", "path": path})
        assert thread is not None
        thread.join(10)
    assert playhost.KEY not in repr(heard.messages)
