"""Calls of tools are read from each family's text, wherever the stream is cut."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support_parsing import parse, parse_everywhere

from illama.host.parsing import Arguments, Call, Calls, Part, Reasoning, Text, Thought, grammars, style_of
from illama.host.parsing.parts import joined

# By hand, from the templates that the models' makers have published.
RECORDED = Path(__file__).parent / "data" / "calls"
CASES = [
    pytest.param(path.stem, case, id=f"{path.stem}: {case['what']}")
    for path in sorted(RECORDED.glob("*.json"))
    for case in json.loads(path.read_text(encoding="utf-8"))
]
TOOLS: dict[str, dict[str, Any]] = {
    "weather": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
    "now": {"type": "object"},
}
KINDS = {"text": Text, "thought": Thought, "call": Call, "arguments": Arguments}


def calls(family: str, *, eager: bool = True, most: int | None = None) -> Calls:
    return Calls(getattr(grammars, family), TOOLS, eager=eager, most=most)


@pytest.mark.parametrize("eager", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize(("family", "case"), CASES)
def test_a_recorded_answer_is_read_the_same_wherever_it_is_cut(family: str, case: dict[str, Any], eager: bool) -> None:
    parts = parse_everywhere(lambda: calls(family, eager=eager), case["text"])
    assert parts == [KINDS[kind](*values) for kind, *values in case["parts"]]


@pytest.mark.parametrize(("family", "case"), [c for c in CASES if c.values[0] != "harmony"])
def test_calls_after_reasoning_are_read_the_same(family: str, case: dict[str, Any]) -> None:
    text = f"<think>\nI could write <tool_call> here.\n</think>\n\n{case['text'].lstrip()}"
    parts = parse_everywhere(lambda: Reasoning(calls(family), opened=False), text)
    assert parts[0] == Thought("I could write <tool_call> here.")


@pytest.mark.parametrize(("family", "case"), CASES)
def test_an_answer_that_ends_anywhere_loses_nothing_and_tells_if_a_call_was_cut(
    family: str, case: dict[str, Any]
) -> None:
    whole = parse(lambda: calls(family), case["text"])
    for at in range(len(case["text"])):
        parser = calls(family)
        parts: list[Part] = [*parser.feed(case["text"][:at]), *parser.finish()]
        begun = [part for part in joined(parts) if isinstance(part, Call)]
        assert begun == [part for part in whole if isinstance(part, Call)][: len(begun)]
        if not parser.unfinished:
            told = [part for part in joined(parts) if isinstance(part, Arguments)]
            assert told == [part for part in whole if isinstance(part, Arguments)][: len(begun)]


LANGUAGES = (
    "Grüße aus Köln: „ganz“ schön!\n\n  Ein Absatz.\n",
    "これは日本語です。<b>太字</b>、それから 😀👩‍👩‍👧‍👦🏳️‍🌈 と 🇯🇵。",
    "مرحبا بالعالم، 5 < 6 > 4 [هنا] {هناك}",
    "हिन्दी में नमस्ते। क्षत्रिय",
    "e\u0301 und \u200b nichts, \ufeff auch nicht, \u2028 eine Zeile",
    "<<<tool <tool_cal [TOOL_CALL] functools. <|tool <|start <|python_ta\n",
)


@pytest.mark.parametrize("text", LANGUAGES)
@pytest.mark.parametrize("family", ["hermes", "llama", "mistral", "phi", "deepseek", "harmony", "guided", "anything"])
def test_text_in_any_language_comes_through_unchanged(family: str, text: str) -> None:
    assert parse_everywhere(lambda: calls(family), text) == [Text(text)]
    assert parse_everywhere(lambda: Reasoning(calls(family), opened=False), text) == [Text(text)]


def test_arguments_are_told_as_they_come() -> None:
    parser = calls("hermes")
    assert parser.feed('<tool_call>{"name": "weather", "arguments": {"city": ') == [
        Call(0, "weather"),
        Arguments(0, '{"city": '),
    ]
    assert parser.feed('"Par') == [Arguments(0, '"Par')]
    assert parser.feed('is"}') == [Arguments(0, 'is"}')]


def test_text_is_told_as_it_comes() -> None:
    parser = calls("hermes")
    assert parser.feed("Hello") == [Text("Hello")]
    assert parser.feed(" you <to") == [Text(" you")]
    assert parser.feed("n") == [Text(" <ton")]


def test_broken_arguments_are_text_if_nothing_was_told_of_them() -> None:
    text = '<tool_call>\n{"name": "weather", "arguments": {"city": Paris}}\n</tool_call>'
    assert parse_everywhere(lambda: calls("hermes", eager=False), text) == [Text(text)]


def test_brackets_that_do_not_match_leave_the_rest_as_text() -> None:
    text = '<tool_call>{"name": "weather", "arguments": {"city": ["Paris"}} and more'
    parts = parse_everywhere(lambda: calls("hermes"), text)
    assert parts == [Call(0, "weather"), Arguments(0, '{"city": ["Paris"'), Text("}} and more")]


@pytest.mark.parametrize(
    "text",
    ['<tool_call>\n{"name": "weather", "arguments": {"city": "Par', '<tool_call>\n{"na', '<tool_call>{"name": "now",'],
)
def test_a_call_that_was_cut_is_told_to_be_unfinished(text: str) -> None:
    parser = Reasoning(calls("hermes"), opened=False)
    parser.feed(text)
    parser.finish()
    assert parser.unfinished


def test_calls_beyond_the_most_are_dropped() -> None:
    text = '<tool_call>{"name": "now", "arguments": {}}</tool_call>\n' * 3
    assert parse_everywhere(lambda: calls("hermes", most=1), text) == [Call(0, "now"), Arguments(0, "{}")]


def test_long_arguments_take_no_more_than_linear_time() -> None:
    body = json.dumps({"code": "x = [1, 2]\n" * 20_000})
    text = f'<tool_call>{{"name": "write", "arguments": {body}}}</tool_call>'
    parts = parse(lambda: calls("hermes"), *[text[at : at + 4] for at in range(0, len(text), 4)])
    assert parts == [Call(0, "write"), Arguments(0, body)]


@pytest.mark.parametrize(
    ("template", "family"),
    [
        ("{{- '\\n<tool_call>\\n{\"name\": ' }}", "hermes"),
        ("'{\"name\": ' + '\"parameters\": ' <|start_header_id|>", "llama"),
        ("{{- '<|python_tag|>' + tool_call.name }}", "llama"),
        ("{{ '[TOOL_CALLS] [' }}", "mistral"),
        ("'<|tool|>' + message['tools'] + '<|/tool|>'", "phi"),
        ("'<\uff5ctool\u2581calls\u2581begin\uff5c><\uff5ctool\u2581call\u2581begin\uff5c>'", "deepseek"),
        ("<|start|>assistant<|channel|>final", "harmony"),
        ("{% for tool in tools %}", "anything"),
    ],
)
def test_a_template_tells_its_family(template: str, family: str) -> None:
    assert style_of(template, None).calls is getattr(grammars, family)
