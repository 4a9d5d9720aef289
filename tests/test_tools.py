"""Tools: the schema that guides a call, the prompt for models without tools, histories for every template."""

from __future__ import annotations

import json
from typing import Any

from illama.host.parsing import style_of
from illama.host.tools import Tools, guide, history, instructed, short_id

# What pydantic makes of a model with another model and an optional in it.
PYDANTIC = {
    "$defs": {"Unit": {"enum": ["c", "f"], "type": "string"}, "Node": {"$ref": "#/$defs/Unit"}},
    "properties": {"unit": {"$ref": "#/$defs/Unit"}, "when": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
    "required": ["unit"],
    "type": "object",
}
CALLED = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
TALK: list[dict[str, Any]] = [
    {"role": "user", "content": "What is f of 1?"},
    {"role": "assistant", "content": "", "tool_calls": [CALLED]},
    {"role": "tool", "content": "5", "tool_call_id": "call_1"},
]


def schema_of(tools: Tools, answer: Any = None) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(guide(tools, answer)["json_schema"])
    return made


def test_one_function_is_guided_by_its_name_and_its_schema() -> None:
    schema = schema_of(Tools([{"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "null"}}}}]))
    assert schema["properties"]["name"] == {"const": "f"}
    assert schema["properties"]["arguments"]["properties"] == {"a": {"type": "null"}}
    assert schema["required"] == ["name", "arguments"]


def test_several_functions_are_alternatives_and_several_calls_a_bounded_list() -> None:
    functions = [{"name": "f"}, {"name": "g"}]
    assert len(schema_of(Tools(functions))["anyOf"]) == 2
    several = schema_of(Tools(functions, parallel=True))
    assert (several["type"], several["minItems"]) == ("array", 1)
    assert several["maxItems"] > 1


def test_a_function_without_parameters_takes_none() -> None:
    for function in ({"name": "f"}, {"name": "f", "parameters": {}}, {"name": "f", "parameters": {"type": "object"}}):
        arguments = schema_of(Tools([function]))["properties"]["arguments"]
        assert arguments["additionalProperties"] is False


def test_definitions_of_each_function_stay_its_own() -> None:
    functions = [{"name": "f", "parameters": PYDANTIC}, {"name": "g", "parameters": PYDANTIC}]
    schema = schema_of(Tools(functions))
    for at, one in enumerate(schema["anyOf"]):
        assert one["properties"]["arguments"]["properties"]["unit"] == {"$ref": f"#/$defs/f{at}.Unit"}
        assert schema["$defs"][f"f{at}.Unit"]["enum"] == ["c", "f"]
        assert schema["$defs"][f"f{at}.Node"] == {"$ref": f"#/$defs/f{at}.Unit"}


def test_a_schema_that_refers_to_itself_still_does() -> None:
    tree = {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}}
    schema = schema_of(Tools([{"name": "f", "parameters": tree}]))
    assert schema["properties"]["arguments"] == {"$ref": "#/$defs/f0"}
    assert schema["$defs"]["f0"]["properties"]["next"]["anyOf"][0] == {"$ref": "#/$defs/f0"}


def test_an_answer_of_its_own_schema_is_one_more_alternative() -> None:
    schema = schema_of(Tools([{"name": "f"}]), PYDANTIC)
    assert schema["anyOf"][1]["properties"]["unit"] == {"$ref": "#/$defs/answer.Unit"}


def test_a_model_without_tools_is_told_of_them_in_its_system_message() -> None:
    tools = Tools([{"name": "f", "description": "Finds {things}."}])
    (system, user) = instructed([{"role": "user", "content": "x"}], tools)
    assert system["role"] == "system"
    assert "Finds {things}." in system["content"]
    (system,) = instructed([{"role": "system", "content": "Be kind."}], tools)
    assert system["content"].startswith("Be kind.\n\n")
    assert user["content"] == "x"


def test_a_template_that_knows_calls_and_results_gets_them_whole() -> None:
    style = style_of("{{ message.tool_calls }} {% if message.role == 'tool' %}", None)
    assert history(TALK, style, None) == [*TALK[:2], {**TALK[2], "name": "f"}]


def test_a_template_that_knows_neither_gets_text() -> None:
    second = {"role": "tool", "content": "6", "tool_call_id": "call_1"}
    made = history([*TALK, second], style_of("", None), None)
    assert [message["role"] for message in made] == ["user", "assistant", "user"]
    assert made[1]["content"] == '{"name": "f", "arguments": {"a": 1}}'
    assert made[2]["content"] == "The result of f:\n5\n\nThe result of f:\n6"
    assert all(message.keys() == {"role", "content"} for message in made)


def test_mistral_gets_ids_of_nine_letters_that_still_fit_together() -> None:
    style = style_of("[TOOL_CALLS] message.tool_calls message.role == 'tool'", None)
    made = history(TALK, style, None)
    assert made[1]["tool_calls"][0]["id"] == made[2]["tool_call_id"] == short_id("call_1")
    assert len(short_id("call_1")) == 9
    assert short_id("abcDEF123") == "abcDEF123"


def test_deepseek_gets_calls_in_a_message_whose_content_is_none() -> None:
    style = style_of("{% if message['content'] is none %}{{ message['tool_calls'] }} 'tool'", None)
    assert history(TALK, style, None)[1]["content"] is None
    spoken = [{**TALK[1], "content": "I look."}]
    assert history(spoken, style, None)[0]["content"] == "I look."


def test_phi_gets_its_tools_in_the_system_message() -> None:
    style = style_of("{% if 'tools' in message %}<|tool|>{{ message['tools'] }}", None)
    made = history(TALK[:1], style, Tools([{"name": "f"}]))
    assert [function["name"] for function in json.loads(made[0]["tools"])] == ["f"]
    assert made[0]["role"] == "system"


def test_arguments_that_are_no_json_do_not_reach_a_template() -> None:
    style = style_of("tool_calls 'tool'", None)
    for arguments in ("{broken", "", "[1]", "{}"):
        call = {**CALLED, "function": {"name": "f", "arguments": arguments}}
        (made,) = history([{"role": "assistant", "content": "", "tool_calls": [call]}], style, None)
        assert isinstance(json.loads(made["tool_calls"][0]["function"]["arguments"]), dict)
