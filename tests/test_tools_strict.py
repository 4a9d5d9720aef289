"""Strict tools: a call that a model makes by its own choice is guided, where its family's format allows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from support_grammar import expression
from support_host import RunningHost, events, fake_model, running_host
from support_parsing import parse_everywhere
from support_tools import HERMES, told

from illama.host.parsing import Arguments, Call, Calls, Tags, Text, style_of
from illama.host.tools import Tools, tagged

DEEPSEEK = "<\uff5ctool\u2581call\u2581begin\uff5c>"
# What the templates of the families have in common, as far as it tells how calls are written.
TEMPLATES = {
    "hermes": HERMES,
    "mistral": '[AVAILABLE_TOOLS] "[TOOL_CALLS] ["',
    "mistral, tekken": '[AVAILABLE_TOOLS] "[TOOL_CALLS]["',
    "mistral, newer": "[AVAILABLE_TOOLS] [TOOL_CALLS] [ARGS]",
    "phi": "<|tool|> <|tool_call|> <|/tool_call|>",
    "granite": "<|tool_call|>",
    "deepseek": DEEPSEEK + "'function' ```json",
    "deepseek, newer": DEEPSEEK,
    "llama": "<|start_header_id|>'{\"name\": ' '\"parameters\"' <|python_tag|>",
}
NOT_GUIDED = {
    "qwen3-coder": HERMES + "<function=",
    "gpt-oss": "{{ tools }}<|start|><|channel|>",
    "unknown": "{{ tools }}",
}
SCHEMA = {"type": "object", "properties": {"city": {"enum": ["Paris", "Köln"]}}, "required": ["city"]}
STRICT: dict[str, Any] = {"name": "weather", "parameters": SCHEMA, "strict": True}
LOOSE: dict[str, Any] = {"name": "now", "parameters": {"type": "object", "properties": {"zone": {"type": "string"}}}}
WEATHER = {"type": "function", "function": STRICT}
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>'


def tags_of(family: str) -> Tags:
    found = style_of(TEMPLATES[family], None).tags
    assert found is not None
    return found


def guides(family: str, *tools: dict[str, Any]) -> list[dict[str, str]]:
    """What guides the calls of these tools."""
    made: list[dict[str, str]] = json.loads(tagged(Tools([*tools]), tags_of(family))["tags"])
    return made


def written(family: str, city: str) -> str:
    """A call of the strict tool, as its tags have it."""
    (tag,) = guides(family, STRICT)
    arguments = f'{{"city": "{city}"}}'
    call = f'{{"name": "weather", "arguments": {arguments}}}'
    inside = {"arguments": arguments, "call": call, "calls": f"[{call}]"}[tags_of(family).inside]
    assert bool(expression(tag["grammar"]).fullmatch(inside)) == (city in ("Paris", "Köln"))
    return f"{tag['begin']}{inside}{tag['end']}"


@pytest.mark.parametrize("family", TEMPLATES)
def test_a_guided_call_is_what_the_familys_parser_reads_wherever_it_is_cut(family: str) -> None:
    parts = parse_everywhere(lambda: Calls(tags_of(family).reads, {"weather": SCHEMA}), written(family, "Köln"))
    assert parts == [Call(0, "weather"), Arguments(0, '{"city": "Köln"}')]


@pytest.mark.parametrize("family", TEMPLATES)
def test_no_guided_call_has_arguments_beside_its_schema(family: str) -> None:
    written(family, "Rom")  # which sees that the grammar does not allow it


@pytest.mark.parametrize("family", TEMPLATES)
def test_each_tag_begins_with_its_trigger(family: str) -> None:
    for tag in guides(family, STRICT, LOOSE):
        assert tag["begin"].startswith(tag["trigger"])
        assert "{name}" not in tag["begin"]


def test_the_arguments_of_a_tool_that_is_not_strict_are_any_object() -> None:
    (tag,) = guides("hermes", STRICT, LOOSE)
    assert '"{" (pair (", " pair)*)? "}"' in tag["grammar"]
    strict, loose = guides("deepseek", STRICT, LOOSE)
    assert expression(strict["grammar"]).fullmatch('{"city": "Paris"}')
    assert "now" in loose["begin"]
    assert '"{" (pair (", " pair)*)? "}"' in loose["grammar"]


def test_what_stands_outside_of_the_tags_is_no_call_where_calls_are_guided() -> None:
    for family, text in (("hermes", "<function=weather></function>"), ("phi", 'functools[{"name": "weather"}]')):
        assert parse_everywhere(lambda family=family: Calls(tags_of(family).reads), text) == [Text(text)]


def test_formats_that_cannot_be_watched_for_are_not_said_to_be_guided() -> None:
    assert all(style_of(template, None).tags is None for template in NOT_GUIDED.values())
    assert not tags_of("llama").certain
    assert all(tags_of(family).certain for family in TEMPLATES if family != "llama")


# Over HTTP, with the fake engine.


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    home = tmp_path_factory.mktemp("home")
    fake_model(home, "plain")
    fake_model(home, "hermes", chat_template=HERMES)
    fake_model(home, "qwen3", chat_template=HERMES + "<think>")
    fake_model(home, "gpt-oss", chat_template=NOT_GUIDED["gpt-oss"])
    with running_host(home) as running:
        yield running


def test_a_strict_tool_is_guided_once_the_model_begins_a_call(host: RunningHost) -> None:
    for model in ("hermes", "qwen3"):
        message = told(host, model, tools=[WEATHER])
        assert [tag["trigger"] for tag in json.loads(message["structured"]["tags"])] == ["<tool_call>"]
        assert message["structured"]["param"] == "tools"
        # The text around a call is free, and the reasoning before it too.
        assert message["keep_special"] is True
        assert "template" not in message


def test_nothing_is_guided_without_a_strict_tool_that_may_be_called(host: RunningHost) -> None:
    for strict in (None, False):
        loose = {"type": "function", "function": {**STRICT, "strict": strict}}
        assert told(host, "hermes", tools=[loose])["structured"] is None
    assert told(host, "hermes", tools=[WEATHER], tool_choice="none")["structured"] is None
    assert told(host, "plain", tools=[WEATHER])["structured"] is None


def test_a_required_call_is_guided_from_its_first_character_as_ever(host: RunningHost) -> None:
    assert "grammar" in told(host, "hermes", tools=[WEATHER], tool_choice="required")["structured"]


def test_text_reasoning_and_guided_calls_of_one_answer_are_told_apart(host: RunningHost) -> None:
    text = f"<think>\nHm.\n</think>\n\nLet me see.\n{CALL}\n{CALL}"
    message = host.chat("qwen3", f"/fake {json.dumps({'text': text})} x", tools=[WEATHER]).json()["choices"][0][
        "message"
    ]
    assert (message["reasoning_content"], message["content"]) == ("Hm.", "Let me see.")
    assert [call["function"]["arguments"] for call in message["tool_calls"]] == ['{"city": "Paris"}'] * 2


def test_a_guided_call_that_the_limit_cuts_is_a_clear_error(host: RunningHost) -> None:
    ask = f"/fake {json.dumps({'text': CALL})} x"
    refused = host.chat("hermes", ask, tools=[WEATHER], max_tokens=12)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "tool_call_incomplete")
    with host.stream("hermes", ask, tools=[WEATHER], max_tokens=12) as response:
        assert list(events(response))[-1]["error"]["code"] == "tool_call_incomplete"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("model", "kept"), [("plain", True), ("hermes", True), ("gpt-oss", False)])
def test_a_response_says_of_its_tools_whether_strict_is_kept(
    host: RunningHost, model: str, kept: bool, stream: bool
) -> None:
    tools = [{"type": "function", **STRICT}, {"type": "function", **LOOSE}]
    body = {"model": model, "input": "x", "tools": tools, "stream": stream}
    with host.http.stream("POST", "/v1/responses", json=body) as answer:
        if stream:
            responses = [frame["response"] for frame in events(answer) if "response" in frame]
        else:
            responses = [json.loads(answer.read())]
    assert len(responses) == (3 if stream else 1)
    for response in responses:
        assert [tool.get("strict") for tool in response["tools"]] == [kept, None]
