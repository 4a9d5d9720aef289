"""`/api/generate` and `/api/chat`, with the fake engine: lines, whole answers, figures, options, loading."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx
import msgspec
import pytest
from support_host import RunningHost, eventually, fake_model, running_host

from illama.host import answers_ollama as answers
from illama.host import schema_ollama

THINKER = "{% if enable_thinking %}<think>{% endif %}</think>"

TOOLS = "{% for tool in tools %}<tool_call>{{ tool }}</tool_call>{% endfor %}"
CALLS = (
    'Let me see.<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>\n'
    '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>'
)
WEATHER = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    home = tmp_path_factory.mktemp("home")
    fake_model(home, "A")
    fake_model(home, "small", context_length=64)
    fake_model(home, "bad", load_error="the weights are cut")
    fake_model(home, "thinker", chat_template=THINKER)
    fake_model(home, "caller", chat_template=TOOLS, text=CALLS)
    with running_host(home) as running:
        yield running


def lines(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


def generate(host: RunningHost, prompt: str | None = "Hello there, world", **more: Any) -> httpx.Response:
    # As Ollama's documentation has it with curl: no JSON content type.
    body = {"model": "A", "prompt": prompt, **more}
    return host.http.post("/api/generate", content=json.dumps(body).encode())


def chat(host: RunningHost, content: str = "Hello there, world", **more: Any) -> httpx.Response:
    body = {"model": "A", "messages": [{"role": "user", "content": content}], **more}
    return host.http.post("/api/chat", content=json.dumps(body).encode())


def error(response: httpx.Response, status: int = 400) -> str:
    assert response.status_code == status, response.text
    found: str = response.json()["error"]
    return found


def test_generate_streams_lines_unless_told_otherwise(host: RunningHost) -> None:
    *pieces, last = lines(generate(host))
    assert "".join(piece["response"] for piece in pieces) == "Hello there, world"
    assert all(piece["done"] is False and piece["model"] == "A" for piece in pieces)
    assert (last["response"], last["done"], last["done_reason"]) == ("", True, "stop")


def test_chat_streams_lines_unless_told_otherwise(host: RunningHost) -> None:
    *pieces, last = lines(chat(host))
    assert "".join(piece["message"]["content"] for piece in pieces) == "Hello there, world"
    assert all(piece["message"]["role"] == "assistant" for piece in [*pieces, last])
    assert (last["done"], last["done_reason"]) == (True, "stop")


def test_every_line_has_the_shape_that_is_published(host: RunningHost) -> None:
    for line in generate(host).text.splitlines():
        msgspec.json.decode(line, type=answers.Generated)
    for line in chat(host).text.splitlines():
        msgspec.json.decode(line, type=answers.Chatted)


def test_a_whole_answer_has_text_and_figures_in_nanoseconds(host: RunningHost) -> None:
    whole = generate(host, '/fake {"step_sec": 0.01} Hello there, world', stream=False).json()
    assert whole["response"] == "Hello there, world"
    assert whole["eval_count"] == 5
    assert whole["prompt_eval_count"] > 5
    assert 0 < whole["eval_duration"] < whole["total_duration"] < 60e9
    assert all(isinstance(whole[key], int) for key in whole if key.endswith(("_duration", "_count")))
    said = chat(host, stream=False).json()
    assert said["message"] == {"role": "assistant", "content": "Hello there, world"}


def test_times_have_a_zone_and_fractions(host: RunningHost) -> None:
    for made in (generate(host, stream=False).json(), chat(host, stream=False).json()):
        assert datetime.fromisoformat(made["created_at"]).tzinfo is not None
        assert "." in made["created_at"]


def test_a_limit_is_told_as_length(host: RunningHost) -> None:
    whole = generate(host, "x" * 400, stream=False, options={"num_predict": 3}).json()
    assert (whole["response"], whole["done_reason"], whole["eval_count"]) == ("x" * 12, "length", 3)


@pytest.mark.parametrize("limit", [-1, -2, 0, -1.0])
def test_no_limit_is_until_the_context_is_full(host: RunningHost, limit: float) -> None:
    prompt = '/fake {"tokens": 5000} x'
    whole = generate(host, prompt, model="small", stream=False, options={"num_predict": limit}).json()
    assert whole["done_reason"] == "length"
    assert whole["prompt_eval_count"] + whole["eval_count"] == 64


def test_unknown_options_and_fields_are_ignored_as_ollama_does(host: RunningHost) -> None:
    options = {"num_ctx": 4096, "mirostat": 1, "num_thread": 8, "penalize_newline": True, "wizardry": "yes"}
    sampling = {"top_k": 0, "top_p": 0.9, "min_p": 0.0, "repeat_penalty": 1.1, "seed": -1, "temperature": 0.8}
    assert generate(host, stream=False, options={**options, **sampling}, wizardry=1).status_code == 200


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"suffix": "end"}, "suffix"),
        ({"template": "{{ .Prompt }}"}, "template"),
        ({"context": [1, 2, 3]}, "context"),
        ({"format": "xml"}, "format"),
        ({"format": 5}, "format"),
        ({"think": "very"}, "think"),
        ({"keep_alive": "soon"}, "keep_alive"),
        ({"options": {"temperature": -1}}, "temperature"),
        ({"options": {"top_p": 0}}, "top_p"),
        ({"options": {"num_predict": 1.5}}, "num_predict"),
        ({"options": {"num_predict": "ten"}}, "num_predict"),
        ({"options": {"stop": 5}}, "stop"),
        ({"images": ["not an image"]}, "images"),
        ({"raw": True, "system": "Be brief."}, "system"),
        ({"prompt": 5}, "prompt"),
        ({"logprobs": True}, "logprobs"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(host: RunningHost, more: dict[str, Any], named: str) -> None:
    assert named in error(generate(host, **more))


def test_a_missing_model_is_told_in_ollamas_words(host: RunningHost) -> None:
    for response in (generate(host, model="llama9"), chat(host, model="llama9"), generate(host, None, model="llama9")):
        assert error(response, 404).startswith("model 'llama9' not found, try pulling it first")
    assert "model is missing" in error(generate(host, model=None))


def test_a_name_with_latest_behind_it_is_the_same_model(host: RunningHost) -> None:
    assert generate(host, model="A:latest", stream=False).json()["model"] == "A"
    assert host.http.post("/api/show", json={"model": "A:latest"}).status_code == 200


def test_a_refusal_has_a_status_of_its_own_in_a_stream_too(host: RunningHost) -> None:
    assert "maximum context length" in error(chat(host, "x" * 5000, model="small"))
    assert "the weights are cut" in error(chat(host, model="bad"), 503)


def test_a_failure_in_a_stream_is_a_line_with_error(host: RunningHost) -> None:
    *pieces, last = lines(generate(host, '/fake {"die_at": 4} some words that will not be finished'))
    assert pieces
    assert "engine process ended" in last["error"]


def test_raw_sends_the_prompt_without_a_template(host: RunningHost) -> None:
    assert generate(host, "[INST] hi [/INST]", raw=True, stream=False).json()["response"] == "[INST] hi [/INST]"


def test_a_system_message_goes_before_the_prompt(host: RunningHost) -> None:
    plain = generate(host, "abcd", stream=False).json()["prompt_eval_count"]
    assert generate(host, "abcd", system="efgh", stream=False).json()["prompt_eval_count"] == plain + 1


def test_format_guides_the_answer(host: RunningHost) -> None:
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}}
    for format in ("json", schema):
        assert generate(host, format=format, stream=False).json()["response"] == "{}"
        assert chat(host, format=format, stream=False).json()["message"]["content"] == "{}"
    assert generate(host, format="", stream=False).json()["response"] == "Hello there, world"


def test_reasoning_is_told_apart(host: RunningHost) -> None:
    content = "<think>hm, well</think>The answer."
    *pieces, _ = lines(chat(host, content, model="thinker"))
    assert "".join(piece["message"].get("thinking", "") for piece in pieces) == "hm, well"
    assert "".join(piece["message"]["content"] for piece in pieces) == "The answer."
    whole = generate(host, content, model="thinker", stream=False, think=True).json()
    assert (whole["thinking"], whole["response"]) == ("hm, well", "The answer.")


@pytest.mark.parametrize("stream", [True, False])
def test_each_call_is_told_whole_with_its_arguments_as_an_object(host: RunningHost, stream: bool) -> None:
    response = chat(host, model="caller", stream=stream, tools=[{"type": "function", "function": WEATHER}])
    told = lines(response) if stream else [response.json()]
    calls = [call["function"] for line in told for call in line["message"].get("tool_calls", ())]
    assert [(call["name"], call["arguments"]) for call in calls] == [
        ("weather", {"city": "Paris"}),
        ("weather", {"city": "Rome"}),
    ]
    assert [call["index"] for call in calls] == [0, 1]
    assert "".join(line["message"]["content"] for line in told).strip() == "Let me see."
    assert told[-1]["done_reason"] == "stop"


def test_a_conversation_with_calls_and_results_is_taken(host: RunningHost) -> None:
    messages = [
        {"role": "user", "content": "How warm is it?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Paris"}}}],
        },
        {"role": "tool", "tool_name": "weather", "content": "20 degrees"},
    ]
    body = {"model": "A", "messages": messages, "stream": False}
    assert host.http.post("/api/chat", json=body).json()["message"]["content"] == "The result of weather:\n20 degrees"


def test_no_prompt_loads_and_a_keep_alive_of_nought_unloads(host: RunningHost) -> None:
    for path, empty, said in (
        ("/api/generate", {}, {"response": ""}),
        ("/api/generate", {"prompt": ""}, {"response": ""}),
        ("/api/chat", {"messages": []}, {"message": {"role": "assistant", "content": ""}}),
    ):
        loaded = host.http.post(path, json={"model": "A", **empty}).json()
        assert (loaded["done"], loaded["done_reason"]) == (True, "load")
        assert said.items() <= loaded.items()
        assert host.loaded()["name"] == "A"
        gone = host.http.post(path, json={"model": "A", "keep_alive": 0, **empty}).json()
        assert gone["done_reason"] == "unload"
        assert host.ps() == []


@pytest.mark.parametrize(("keep_alive", "least"), [("1h", 3000), (3600, 3000), ("-1m", None), (-1, None)])
def test_keep_alive_is_seconds_or_a_duration(host: RunningHost, keep_alive: Any, least: float | None) -> None:
    generate(host, stream=False, keep_alive=keep_alive)
    until = host.loaded()["until_seconds"]
    assert until is None if least is None else until > least


@pytest.mark.parametrize("keep_alive", [1e300, 10**30, "9" * 400 + "h"])
def test_a_keep_alive_beyond_all_dates_is_as_good_as_for_ever(host: RunningHost, keep_alive: Any) -> None:
    assert generate(host, stream=False, keep_alive=keep_alive).status_code == 200
    assert host.loaded()["expires_at"].startswith("9999-")
    assert generate(host, stream=False, keep_alive=60).status_code == 200


def test_a_keep_alive_of_nought_unloads_after_the_answer(host: RunningHost) -> None:
    assert chat(host, stream=False, keep_alive=0).status_code == 200
    eventually(lambda: host.ps() == [], "the model is unloaded")


def test_a_client_that_leaves_ends_its_answer(host: RunningHost) -> None:
    body = {"model": "A", "prompt": '/fake {"tokens": 4000, "step_sec": 0.01} x'}
    with host.http.stream("POST", "/api/generate", json=body) as response:
        lines = response.iter_lines()  # kept: what is thrown away closes the stream
        next(lines)
        assert host.loaded()["running"] == 1
    eventually(lambda: host.loaded()["running"] == 0, "the device is free")


@pytest.mark.parametrize("path", ["/api/create", "/api/push", "/api/blobs/sha256:0"])
def test_what_has_no_meaning_here_says_what_to_do(host: RunningHost, path: str) -> None:
    assert "illama" in error(host.http.post(path, json={"model": "A"}), 501)


@pytest.mark.parametrize(("said", "meant"), [(-1, None), (0, 0), (7, 7)])
def test_a_seed_below_zero_is_another_one_each_time(said: int, meant: int | None) -> None:
    request = schema_ollama.GenerateRequest(model="m", prompt="p", options=schema_ollama.Options(seed=said))
    assert schema_ollama.generate(request).seed == meant
