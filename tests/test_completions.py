"""`/v1/completions`, with the fake engine: it answers with its prompt, without a chat template."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from support_host import RunningHost, events, eventually, fake_model, running_host


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    home = tmp_path_factory.mktemp("home")
    fake_model(home, "A")
    fake_model(home, "small", context_length=64)
    with running_host(home) as running:
        yield running


def complete(host: RunningHost, prompt: Any = "Once upon a time", **more: Any) -> httpx.Response:
    return host.http.post("/v1/completions", json={"model": "A", "prompt": prompt, **more})


def choices(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["choices"]
    return found


def streamed(host: RunningHost, prompt: Any, **more: Any) -> tuple[dict[int, str], list[dict[str, Any]]]:
    """The text of each choice, and all frames."""
    texts: dict[int, str] = {}
    body = {"model": "A", "prompt": prompt, "stream": True, **more}
    with host.http.stream("POST", "/v1/completions", json=body) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        frames = list(events(response))
    for frame in frames:
        for choice in frame["choices"]:
            texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
    return texts, frames


def test_a_whole_answer_has_openais_shape(host: RunningHost) -> None:
    body = complete(host).json()
    assert body["object"] == "text_completion"
    assert body["id"].startswith("cmpl-")
    assert body["choices"] == [{"index": 0, "text": "Once upon a time", "logprobs": None, "finish_reason": "stop"}]
    assert body["usage"] == {
        "prompt_tokens": 4,
        "completion_tokens": 4,
        "total_tokens": 8,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    assert body["timings"]["predicted_n"] == 4


def test_without_a_limit_it_is_openais_sixteen_tokens(host: RunningHost) -> None:
    (choice,) = choices(complete(host, "x" * 400))
    assert choice["text"] == "x" * 64
    assert choice["finish_reason"] == "length"


def test_several_prompts_come_back_in_their_order(host: RunningHost) -> None:
    found = choices(complete(host, ["one", "two", "three"], n=2))
    assert [choice["text"] for choice in found] == ["one", "one", "two", "two", "three", "three"]
    assert [choice["index"] for choice in found] == list(range(6))


def test_a_prompt_that_got_several_answers_is_counted_once(host: RunningHost) -> None:
    usage = complete(host, ["abcd", "abcdefgh"], n=3).json()["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (3, 9)


def test_token_ids_are_a_prompt_too(host: RunningHost) -> None:
    ids = [ord(letter) for letter in "hello"]
    assert [choice["text"] for choice in choices(complete(host, ids))] == ["hello"]
    assert [choice["text"] for choice in choices(complete(host, [ids, ids[:2]]))] == ["hello", "he"]


def test_echo_puts_the_prompt_first(host: RunningHost) -> None:
    (choice,) = choices(complete(host, "abc", echo=True))
    assert choice["text"] == "abcabc"
    assert streamed(host, "abc", echo=True)[0] == {0: "abcabc"}


def test_a_stream_has_the_same_text_and_ends_each_choice(host: RunningHost) -> None:
    texts, frames = streamed(host, ["Once upon", "a time"], n=2)
    assert texts == {0: "Once upon", 1: "Once upon", 2: "a time", 3: "a time"}
    ends = [choice for frame in frames for choice in frame["choices"] if choice["finish_reason"]]
    assert sorted(choice["index"] for choice in ends) == [0, 1, 2, 3]
    assert len({(frame["id"], frame["created"], frame["object"]) for frame in frames}) == 1


def test_usage_comes_in_a_stream_when_it_is_asked_for(host: RunningHost) -> None:
    _, frames = streamed(host, "abcd", stream_options={"include_usage": True})
    assert frames[-1]["choices"] == []
    assert frames[-1]["usage"]["total_tokens"] == 2
    assert all("usage" not in frame for frame in streamed(host, "abcd")[1])


def test_log_probabilities_are_of_the_chosen_tokens(host: RunningHost) -> None:
    (choice,) = choices(complete(host, "abcdefg", logprobs=1))
    assert choice["logprobs"] == {
        "tokens": ["abcd", "efg"],
        "token_logprobs": [-0.5, -0.5],
        "top_logprobs": [{"abcd": -0.5}, {"efg": -0.5}],
        "text_offset": [0, 4],
    }
    _, frames = streamed(host, "abcdefg", logprobs=0)
    told = [c["logprobs"] for frame in frames for c in frame["choices"] if c["logprobs"]]
    assert [offset for each in told for offset in each["text_offset"]] == [0, 4]
    assert all(each["top_logprobs"] is None for each in told)


def test_stop_strings_end_the_text_before_them(host: RunningHost) -> None:
    (choice,) = choices(complete(host, "one two three", stop=" thr"))
    assert (choice["text"], choice["finish_reason"]) == ("one two", "stop")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt"),
        ({"prompt": ["a", [1]]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": [2**70]}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": ["a"] * 129}, "prompt"),
        ({"suffix": "end"}, "suffix"),
        ({"best_of": 2}, "best_of"),
        ({"n": 3, "best_of": 4}, "best_of"),
        ({"n": 0}, "n"),
        ({"logprobs": 2}, "logprobs"),
        ({"logprobs": 9}, "logprobs"),
        ({"echo": True, "logprobs": 0}, "echo"),
        ({"echo": True, "prompt": [1, 2]}, "echo"),
        ({"logit_bias": {"1": 1}}, "logit_bias"),
        ({"max_tokens": 0}, "max_tokens"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(host: RunningHost, body: dict[str, Any], param: str) -> None:
    response = complete(host, **body)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param


def test_a_prompt_beyond_the_context_is_refused_before_a_stream_opens(host: RunningHost) -> None:
    for prompt in ("x" * 300, [120] * 300, ["fits", "x" * 300]):
        response = host.http.post("/v1/completions", json={"model": "small", "prompt": prompt, "stream": True})
        assert response.status_code == 400
        assert response.json()["error"]["code"] == "context_length_exceeded"


def test_a_client_that_leaves_ends_all_of_its_answers(host: RunningHost) -> None:
    endless = '/fake {"tokens": 4000, "step_sec": 0.01} x'
    body = {"model": "A", "prompt": [endless] * 3, "stream": True, "max_tokens": 4000}
    with host.http.stream("POST", "/v1/completions", json=body) as response:
        frames = events(response)  # kept: what is thrown away closes the stream
        next(frames)
        assert host.loaded()["running"] == 3
    eventually(lambda: host.loaded()["running"] == 0, "the device is free")
