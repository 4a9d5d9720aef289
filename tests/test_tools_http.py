"""Tools over HTTP, with the fake engine: what the engine is told, what comes back, what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from support_grammar import expression
from support_host import RunningHost, events, fake_model, running_host
from support_tools import HERMES, told

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string", "maxLength": 20}}},
    },
}
NOW = {"type": "function", "function": {"name": "now"}}
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>'
NAMED = {"type": "function", "function": {"name": "weather"}}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    home = tmp_path_factory.mktemp("home")
    fake_model(home, "plain")
    fake_model(home, "hermes", chat_template=HERMES)
    fake_model(home, "qwen3", chat_template=HERMES + "<think>")
    fake_model(home, "gpt-oss", chat_template="{{ tools }}<|start|><|channel|>")
    with running_host(home) as running:
        yield running


def choice(host: RunningHost, model: str, text: str, **body: Any) -> dict[str, Any]:
    answer = host.chat(model, f"/fake {json.dumps({'text': text})} x", **body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["choices"][0]
    return found


def streamed(host: RunningHost, model: str, text: str, **body: Any) -> list[dict[str, Any]]:
    with host.stream(model, f"/fake {json.dumps({'text': text, 'step_sec': 0.005})} x", **body) as response:
        assert response.status_code == 200
        return [choice for frame in events(response) for choice in frame.get("choices") or [frame]]


# What the engine is told.


def test_a_template_that_knows_tools_gets_them(host: RunningHost) -> None:
    message = told(host, "hermes", tools=[WEATHER, NOW])
    assert message["tools"][0] == WEATHER
    # Templates take for granted what a client may leave out.
    empty = {"name": "now", "description": "", "parameters": {"type": "object", "properties": {}}}
    assert message["tools"][1]["function"] == empty
    assert message["structured"] is None
    assert message["keep_special"] is True


@pytest.mark.parametrize("how", [{}, {"tool_choice": "auto"}, {"tool_choice": "none"}])
def test_a_template_that_knows_none_is_asked_as_if_there_were_none(host: RunningHost, how: dict[str, Any]) -> None:
    message = told(host, "plain", tools=[WEATHER], **how)
    assert len(message["messages"]) == 1
    assert "tools" not in message
    assert "keep_special" not in message


def test_no_tools_are_told_where_none_may_be_called(host: RunningHost) -> None:
    assert "tools" not in told(host, "hermes", tools=[WEATHER], tool_choice="none")


@pytest.mark.parametrize("model", ["plain", "hermes"])
def test_a_required_call_is_guided_for_every_model(host: RunningHost, model: str) -> None:
    message = told(host, model, tools=[WEATHER, NOW], tool_choice="required")
    pattern = expression(message["structured"]["grammar"])
    assert pattern.fullmatch('{"name": "weather", "arguments": {"city": "Paris"}}')
    assert pattern.fullmatch('{"name": "now", "arguments": {}}')
    assert not pattern.fullmatch('{"name": "other", "arguments": {}}')
    assert ("tools" in message) == (model == "hermes")
    if model == "plain":
        assert "Tells the weather." in message["messages"][0]["content"]


def test_a_named_call_is_guided_to_that_function(host: RunningHost) -> None:
    for choice in (NAMED, {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [NAMED]}}):
        message = told(host, "plain", tools=[WEATHER, NOW], tool_choice=choice)
        pattern = expression(message["structured"]["grammar"])
        assert pattern.fullmatch('{"name": "weather", "arguments": {}}')
        assert not pattern.fullmatch('{"name": "now", "arguments": {}}')


def test_a_guided_answer_is_not_to_be_reasoned_about(host: RunningHost) -> None:
    message = told(host, "qwen3", tools=[WEATHER], tool_choice="required")
    assert message["template"] == {"enable_thinking": False}


def test_variables_of_the_template_are_passed_on(host: RunningHost) -> None:
    kwargs = {"enable_thinking": False, "mine": 1}
    assert told(host, "plain", chat_template_kwargs=kwargs)["template"] == kwargs
    assert told(host, "plain", reasoning_effort="high")["template"]["reasoning_effort"] == "high"
    assert told(host, "plain", reasoning_effort="none")["template"]["enable_thinking"] is False


def test_a_history_with_calls_reaches_the_template(host: RunningHost) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
    # As SDKs dump an answer: all that is not there is null.
    assistant = {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None, "audio": None}
    ask = {"role": "user", "content": '/fake {"echo": true} x'}
    talk = [ask, {**assistant, "function_call": None}, {"role": "tool", "tool_call_id": "call_1", "content": "8"}, ask]
    for model, roles in (("hermes", ["user", "assistant", "tool", "user"]), ("plain", ["user", "assistant"])):
        answer = host.http.post("/v1/chat/completions", json={"model": model, "messages": talk, "tools": [WEATHER]})
        message = json.loads(answer.json()["choices"][0]["message"]["content"])
        assert [m["role"] for m in message["messages"]][: len(roles)] == roles
        assert "Paris" in json.dumps(message["messages"][1])


# What comes back.


def test_a_call_is_told_whole(host: RunningHost) -> None:
    found = choice(host, "hermes", f"Let me see.\n{CALL}", tools=[WEATHER])
    (call,) = found["message"]["tool_calls"]
    assert call["function"] == {"name": "weather", "arguments": '{"city": "Paris"}'}
    assert call["type"] == "function"
    assert call["id"].startswith("call_")
    assert (found["message"]["content"], found["finish_reason"]) == ("Let me see.", "tool_calls")


def test_a_call_is_streamed_with_its_id_and_name_once(host: RunningHost) -> None:
    choices = streamed(host, "hermes", f"{CALL}\n{CALL}", tools=[WEATHER])
    parts = [part for one in choices for part in one["delta"].get("tool_calls") or ()]
    for index in (0, 1):
        own = [part for part in parts if part["index"] == index]
        assert [set(part) for part in own] == [{"index", "id", "type", "function"}] + [{"index", "function"}] * (
            len(own) - 1
        )
        assert own[0]["function"] == {"name": "weather", "arguments": ""}
        assert "".join(part["function"]["arguments"] for part in own) == '{"city": "Paris"}'
        assert len(own) > 1
    assert choices[-1]["finish_reason"] == "tool_calls"
    assert not any(one["delta"].get("content") for one in choices)


def test_only_one_call_if_they_may_not_be_parallel(host: RunningHost) -> None:
    found = choice(host, "hermes", f"{CALL}\n{CALL}", tools=[WEATHER], parallel_tool_calls=False)
    assert len(found["message"]["tool_calls"]) == 1


def test_reasoning_comes_before_a_call(host: RunningHost) -> None:
    found = choice(host, "qwen3", f"<think>\nHm.\n</think>\n\n{CALL}", tools=[WEATHER])
    assert found["message"]["reasoning_content"] == "Hm."
    assert found["message"]["content"] is None
    assert len(found["message"]["tool_calls"]) == 1


def test_a_guided_answer_is_a_call(host: RunningHost) -> None:
    text = '{"name": "weather", "arguments": {"city": "Paris"}}'
    for model in ("plain", "hermes", "qwen3"):
        found = choice(host, model, text, tools=[WEATHER], tool_choice=NAMED)
        assert found["message"]["tool_calls"][0]["function"]["arguments"] == '{"city": "Paris"}'
        assert found["finish_reason"] == "tool_calls"


def test_a_schema_for_the_answer_leaves_calls_possible(host: RunningHost) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
    text = '{"name": "weather", "arguments": {"city": "Paris"}}'
    assert choice(host, "hermes", text, tools=[WEATHER], response_format=form)["message"]["tool_calls"]
    assert choice(host, "hermes", '{"a": 1}', tools=[WEATHER], response_format=form)["message"]["content"] == '{"a": 1}'


def test_broken_calls_are_text(host: RunningHost) -> None:
    text = '<tool_call>\n{"name": "weather", "arguments": {"city": Paris}}\n</tool_call>'
    found = choice(host, "hermes", text, tools=[WEATHER])
    assert (found["message"]["content"], found["finish_reason"]) == (text, "stop")


def test_a_model_that_was_offered_no_tools_may_write_of_calls(host: RunningHost) -> None:
    assert choice(host, "hermes", CALL)["message"]["content"] == CALL


def test_channels_are_told_apart_without_tools(host: RunningHost) -> None:
    text = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes."
    message = choice(host, "gpt-oss", text)["message"]
    assert (message["reasoning_content"], message["content"]) == ("Hm.", "Yes.")


@pytest.mark.parametrize("how", [{}, {"tool_choice": "required"}])
def test_a_call_that_the_limit_cuts_is_a_clear_error(host: RunningHost, how: dict[str, Any]) -> None:
    text = CALL if not how else '{"name": "weather", "arguments": {"city": "Paris"}}'
    body = {"tools": [WEATHER], "max_tokens": 12, **how}
    refused = host.chat("hermes", f"/fake {json.dumps({'text': text})} x", **body)
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "tool_call_incomplete"
    assert refused.json()["error"]["param"] == "max_tokens"
    frames = streamed(host, "hermes", text, **body)
    assert frames[-1]["error"]["code"] == "tool_call_incomplete"


# What is refused.


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "function": {"parameters": {}}}]}, "tools[0].function.name"),
        ({"tools": [WEATHER], "tool_choice": "sometimes"}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "nope"}}}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "custom"}}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": 5}, "tool_choice"),
        ({"function_call": {"name": "f"}}, "function_call"),
        ({"regex": "a", "grammar": "b"}, "grammar"),
    ],
)
def test_what_cannot_be_is_refused_by_name(host: RunningHost, body: dict[str, Any], param: str) -> None:
    refused = host.chat("hermes", "x", **body)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == param


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"regex": "a+"}, "regex"),
        ({"guided_regex": "a+"}, "regex"),
        ({"guided_choice": ["a.", "b"]}, "regex"),
        ({"grammar": 'root ::= "a"'}, "grammar"),
        ({"guided_grammar": 'root ::= "a"'}, "grammar"),
        ({"guided_json": {"type": "object"}}, "grammar"),
        ({"guided_json": {"not": {}}}, "json_schema"),
        ({"structured_outputs": {"regex": "a"}}, "regex"),
        ({"response_format": {"type": "json_object"}}, "grammar"),
    ],
)
def test_every_way_to_guide_an_answer_reaches_the_engine(host: RunningHost, body: dict[str, Any], kind: str) -> None:
    assert told(host, "plain", **body)["structured"][kind]
