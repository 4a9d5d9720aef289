"""What Open WebUI asks of an OpenAI endpoint, request by request, through Jupyter: no Open WebUI is needed for this.

The bodies have the shape of those that Open WebUI 0.12 sends; `tests/long/open_webui.py` drives the real one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from support_gate import Jupyter, jupyter_server
from support_host import RunningHost, events, eventually, fake_model, running_host, text_of

from illama.config import Settings
from illama.host.keys import InferenceKeys

pytestmark = pytest.mark.slow

Both = tuple[RunningHost, Jupyter, dict[str, str]]

# Its built-in tools go along with every chat: 36 of them, 25 kB.
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": f"builtin_tool_{number}",
            "description": "Search the user's notes, knowledge and chats for what is asked. " * 8,
            "parameters": {
                "type": "object",
                "properties": {
                    "query": {"type": "string", "description": "What to look for"},
                    "count": {"type": "integer", "default": 5},
                    "__event_emitter__": {"anyOf": [{"type": "object"}, {"type": "null"}]},
                },
                "required": ["query"],
            },
        },
    }
    for number in range(36)
]
TASK = "### Task:\nGenerate a concise, 3-5 word title with an emoji summarizing the chat history.\n### Output:\nJSON"


def fake(text: str, tokens: int, step_sec: float) -> str:
    """A question that the fake engine takes as an order."""
    return "/fake " + json.dumps({"text": text, "tokens": tokens, "step_sec": step_sec})


def chat(content: str, *before: dict[str, Any]) -> dict[str, Any]:
    """A message from the page: streamed, with tools, without max_tokens, with keys of its own."""
    return {
        "stream": True,
        "model": "echo",
        "messages": [*before, {"role": "user", "content": content}],
        "stream_options": {"include_usage": True},
        "tools": TOOLS,
        "tool_choice": "auto",
        "metadata": {"variables": {"{{USER_NAME}}": "Ada"}},
        "unknown_to_everybody": True,
    }


def background(content: str, **more: Any) -> dict[str, Any]:
    """A title, follow-ups or tags: whole, and but for the title without max_tokens."""
    return {"model": "echo", "messages": [{"role": "user", "content": content}], "stream": False, **more}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    home = tmp_path_factory.mktemp("gate") / "home"
    home.mkdir(mode=0o700)
    fake_model(home, "echo", slots=8)
    fake_model(home, "slow-to-load", load_sec=60)
    fake_model(home, "minilm", task="embedding", dimensions=8)
    key = InferenceKeys(Settings.load({"ILLAMA_HOME": str(home)})).add("open-webui")
    with running_host(home) as host, jupyter_server(home, base_url="/user/ada/") as server:
        # No Accept, as its HTTP library sends none; a content type always.
        yield host, server, {"Authorization": f"Bearer {key}", "Content-Type": "application/json", "Accept": "*/*"}


def post(both: Both, path: str, body: dict[str, Any], wait: float = 60) -> httpx.Response:
    """A request on a connection of its own, as Open WebUI makes them."""
    return httpx.post(both[1].gate + path, json=body, headers=both[2], timeout=wait, trust_env=False)


def test_models_are_listed_in_no_time_also_while_one_loads(both: Both):
    _, server, headers = both
    with ThreadPoolExecutor(1) as early:
        early.submit(post, both, "/v1/chat/completions", {**chat("hello"), "model": "slow-to-load"})
        eventually(lambda: [m for m in both[0].ps() if m["name"] == "slow-to-load"], "it loads")
        begun = time.monotonic()
        with ThreadPoolExecutor(2) as page:  # twice for each page, at once
            found = list(page.map(lambda _: httpx.get(server.gate + "/v1/models", headers=headers), range(2)))
        took = time.monotonic() - begun
        both[0].http.post("/api/generate", json={"model": "slow-to-load", "keep_alive": 0, "force": True})
    assert took < 5  # it gives up after ten
    for answer in found:
        assert {"echo", "minilm"} <= {model["id"] for model in answer.json()["data"]}


def test_a_chat_with_36_tools_and_unknown_keys_streams(both: Both):
    body = chat(fake("word", 40, 0.01))
    assert len(json.dumps(body)) > 25_000
    arrived = []
    with httpx.stream(
        "POST", both[1].gate + "/v1/chat/completions", json=body, headers=both[2], timeout=60, trust_env=False
    ) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")  # by which it knows a stream
        frames = []
        for frame in events(response):
            arrived.append(time.monotonic())
            frames.append(frame)
    assert text_of(frames) == "word" * 40
    assert arrived[-1] - arrived[0] > 0.2  # 40 steps of 10 ms: they did not come all at once
    assert frames[-1]["usage"]["completion_tokens"] == 40
    assert frames[-1]["timings"]["predicted_n"] == 40


def test_the_title_that_is_asked_for_first_does_not_delay_the_chat(both: Both):
    post(both, "/v1/chat/completions", background("loaded"))
    title = background(fake("word", 60, 0.05), max_tokens=1000)
    with ThreadPoolExecutor(1) as early:
        asked = early.submit(post, both, "/v1/chat/completions", title)
        eventually(lambda: any(model["running"] for model in both[0].ps()), "the title is being made")
        begun = time.monotonic()
        with httpx.stream(
            "POST",
            both[1].gate + "/v1/chat/completions",
            json=chat(fake("word", 4, 0)),
            headers=both[2],
            timeout=60,
            trust_env=False,
        ) as response:
            first = next(frame for frame in events(response) if text_of([frame]))
            took = time.monotonic() - begun
            title_was_done = asked.done()
        assert first
        assert not title_was_done
        assert took < 2
        assert asked.result().json()["choices"][0]["message"]["content"] == "word" * 60


def test_follow_ups_and_tags_come_without_a_limit_and_are_answered(both: Both):
    for what in ("follow-up questions", "tags"):
        answer = post(both, "/v1/chat/completions", background(f"### Task:\nSuggest {what}."))
        assert answer.status_code == 200
        assert what in answer.json()["choices"][0]["message"]["content"]


def test_stop_closes_the_connection_and_the_device_is_free(both: Both):
    with httpx.stream(
        "POST",
        both[1].gate + "/v1/chat/completions",
        json=chat(fake("word", 4000, 0.02)),
        headers=both[2],
        timeout=60,
        trust_env=False,
    ) as response:
        next(events(response))
    left = time.monotonic()
    eventually(lambda: not any(model["running"] for model in both[0].ps()), "the device is free")
    assert time.monotonic() - left < 2


def test_an_answer_that_was_stopped_comes_back_as_history(both: Both):
    history = [
        {"role": "system", "content": ""},
        {"role": "user", "content": "Tell me a story."},
        {"role": "assistant", "content": "Once upon a ti", "usage": None, "tool_calls": None, "refusal": None},
    ]
    answer = post(both, "/v1/chat/completions", {**chat("Go on.", *history), "stream": False})
    assert answer.json()["choices"][0]["message"]["content"] == "Go on."


def test_errors_can_be_shown_word_for_word(both: Both):
    answer = post(both, "/v1/chat/completions", chat("word " * 40_000))
    assert answer.status_code == 400
    assert "maximum context length" in answer.json()["error"]["message"]
    answer = post(both, "/v1/chat/completions", {**chat("hello"), "model": "removed-meanwhile"})
    assert answer.status_code == 404
    assert "removed-meanwhile" in answer.json()["error"]["message"]


def test_documents_are_embedded_one_string_a_call_and_hundreds_at_once(both: Both):
    def one(number: int) -> int:
        body = {"input": [f"piece {number} of a document"], "model": "minilm", "encoding_format": "float"}
        answer = post(both, "/v1/embeddings", body)
        assert answer.status_code == 200, answer.text
        (item,) = answer.json()["data"]
        return len(item["embedding"])

    with ThreadPoolExecutor(50) as all_at_once:
        assert list(all_at_once.map(one, range(200))) == [8] * 200
