"""Reasoning and several answers over HTTP, with the fake engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support_host import RunningHost, events, eventually, fake_model, running_host

THINKS = "{% if enable_thinking %}<think>{% endif %}"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    home = tmp_path_factory.mktemp("home")
    fake_model(home, "plain")
    fake_model(home, "thinks", chat_template=THINKS)
    fake_model(home, "opened", chat_template=THINKS, prompt_end="<|assistant|><think>\n")
    with running_host(home) as running:
        yield running


def streamed(host: RunningHost, model: str, content: str, **more: Any) -> list[dict[str, Any]]:
    with host.stream(model, content, **more) as response:
        assert response.status_code == 200
        return list(events(response))


def added(frames: list[dict[str, Any]], key: str, choice: int = 0) -> str:
    found = [c for frame in frames for c in frame["choices"] if c["index"] == choice]
    return "".join(c["delta"].get(key) or "" for c in found)


@pytest.mark.parametrize(
    ("model", "text"), [("thinks", "<think>\nHm.\n</think>\n\nYes."), ("opened", "Hm.\n</think>\n\nYes.")]
)
def test_reasoning_is_split_from_the_answer_whole_and_streamed(host: RunningHost, model: str, text: str) -> None:
    message = host.chat(model, text).json()["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("Hm.", "Yes.")
    frames = streamed(host, model, text)
    assert (added(frames, "reasoning_content"), added(frames, "content")) == ("Hm.", "Yes.")


def test_a_model_that_does_not_reason_may_write_any_tag(host: RunningHost) -> None:
    message = host.chat("plain", "<think>Hm.</think>Yes.").json()["choices"][0]["message"]
    assert message["content"] == "<think>Hm.</think>Yes."
    assert "reasoning_content" not in message


def test_log_probabilities_stay_complete_beside_reasoning(host: RunningHost) -> None:
    text = "<think>Hm.</think>Yes."
    content = host.chat("thinks", text, logprobs=True).json()["choices"][0]["logprobs"]["content"]
    assert "".join(item["token"] for item in content) == text


def test_several_answers_have_an_index_each(host: RunningHost) -> None:
    answer = host.chat("plain", "Hello there", n=3).json()
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert {choice["message"]["content"] for choice in answer["choices"]} == {"Hello there"}
    assert answer["usage"]["completion_tokens"] == 9


def test_several_answers_are_streamed_side_by_side(host: RunningHost) -> None:
    frames = streamed(host, "plain", "Hello there", n=3, stream_options={"include_usage": True})
    assert [added(frames, "content", choice) for choice in range(3)] == ["Hello there"] * 3
    ends = [c["index"] for f in frames for c in f["choices"] if c["finish_reason"] == "stop"]
    assert ends == [0, 1, 2]
    assert frames[-1]["usage"]["completion_tokens"] == 9


def test_several_answers_beyond_the_slots_are_made_one_after_another(host: RunningHost) -> None:
    answer = host.chat("plain", "Hello", n=20).json()
    assert len(answer["choices"]) == 20


def test_who_leaves_frees_all_of_its_answers(host: RunningHost) -> None:
    slow = '/fake {"tokens": 4000, "step_sec": 0.01, "text": "again "} x'
    with host.stream("plain", slow, n=3) as response:
        frames = events(response)
        while not next(frames)["choices"][0]["delta"].get("content"):
            pass
        assert host.ps()[0]["running"] == 3
    answered = host.chat("plain", "Hello", max_tokens=4)
    assert answered.status_code == 200
    eventually(lambda: next(m for m in host.ps() if m["name"] == "plain")["running"] == 0, "all answers are dropped")
