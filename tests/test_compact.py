"""The grammars of schemas, read as regular expressions: they allow what the schemas allow, without white space."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from illama.engine.compact import grammar_of

TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|\[(?:[^\]\\]|\\.)*\]|\{[\d,]*\}|[A-Za-z]\w*|[()|?*+]')


def matcher(schema: Any) -> re.Pattern[str]:
    """The grammar of a schema that does not refer to itself, as a regular expression."""
    grammar = grammar_of(schema)
    assert grammar is not None
    rules = dict(line.split(" ::= ", 1) for line in grammar.splitlines() if line)

    def expression(body: str, depth: int = 0) -> str:
        out = []
        for found in TOKEN.finditer(body):
            token = found[0]
            if token[0] == '"':
                out.append("(?:" + re.escape(json.loads(token)) + ")")
            elif token[0].isalpha():
                out.append(f"(?:{expression(rules[token], depth + 1)})" if depth < 8 else "(?!)")
            else:
                out.append("(?:" if token == "(" else token)
        return "".join(out)

    return re.compile(expression(rules["root"]))


@pytest.mark.parametrize(
    ("low", "high"), [(0, 9), (0, 120), (1, 200), (7, 7), (95, 1005), (-12, 34), (-50, -7), (0, 0)]
)
def test_an_integer_between_bounds_is_any_of_them_and_no_other(low: int, high: int):
    allowed = matcher({"type": "integer", "minimum": low, "maximum": high})
    for number in range(low - 120, high + 120):
        assert bool(allowed.fullmatch(str(number))) == (low <= number <= high), number
    assert not allowed.fullmatch("00")


def test_open_bounds_of_integers_leave_out_their_ends():
    allowed = matcher({"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 10})
    assert [n for n in range(-3, 15) if allowed.fullmatch(str(n))] == list(range(1, 10))


@pytest.mark.parametrize(
    ("bounds", "yes", "no"),
    [
        ({"minimum": 0, "maximum": 10}, ["0", "0.5", "9.99", "10", "10.0", "3"], ["10.1", "-0.1", "11", "1."]),
        ({"exclusiveMinimum": 0}, ["0.1", "0.001", "1", "12.5"], ["0", "0.0", "0.00", "-1"]),
        ({"exclusiveMaximum": 1, "minimum": -1}, ["-1", "-0.5", "0", "0.99"], ["1", "-1.5", "1.0"]),
        ({"exclusiveMinimum": -2, "maximum": -1}, ["-1", "-1.5"], ["-2", "-0.5", "0"]),
    ],
)
def test_a_number_keeps_its_bounds(bounds: dict[str, Any], yes: list[str], no: list[str]):
    allowed = matcher({"type": "number", **bounds})
    assert [text for text in yes if not allowed.fullmatch(text)] == []
    assert [text for text in no if allowed.fullmatch(text)] == []


SCHEMA = {
    "$defs": {
        "City": {
            "type": "object",
            "properties": {"name": {"type": "string", "minLength": 1, "maxLength": 5}},
            "required": ["name"],
        }
    },
    "type": "object",
    "title": "Person",
    "properties": {
        "nick": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
        "role": {"enum": ['a "b" \\', "é"], "type": "string"},
        "cities": {"type": "array", "items": {"$ref": "#/$defs/City"}, "minItems": 1, "maxItems": 2},
        "ok": {"type": "boolean"},
    },
    "required": ["role", "cities"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        ({"role": "é", "cities": [{"name": "Rome"}]}, True),
        ({"nick": None, "role": 'a "b" \\', "cities": [{"name": "x"}, {"name": "y"}], "ok": True}, True),
        ({"nick": 'q"\\\n', "role": "é", "cities": [{"name": "Rome"}], "ok": False}, True),
        ({"role": "é", "cities": []}, False),
        ({"role": "é", "cities": [{"name": "x"}] * 3}, False),
        ({"role": "é", "cities": [{"name": ""}]}, False),
        ({"role": "é", "cities": [{"name": "Bologna"}]}, False),
        ({"role": "other", "cities": [{"name": "Rome"}]}, False),
        ({"cities": [{"name": "Rome"}]}, False),
        ({"role": "é", "cities": [{"name": "Rome"}], "more": 1}, False),
    ],
)
def test_an_object_is_what_json_dumps_writes_of_what_fits(value: dict[str, Any], fits: bool):
    allowed = matcher(SCHEMA)
    text = json.dumps(value, ensure_ascii=False)
    assert bool(allowed.fullmatch(text)) == fits
    assert not allowed.fullmatch(text.replace(", ", ",\n"))
    assert not allowed.fullmatch(text.replace(": ", " : "))


def test_an_object_of_optional_members_may_be_empty():
    allowed = matcher({"type": "object", "properties": {"a": {"type": "null"}, "b": {"type": "null"}}})
    texts = ["{}", '{"a": null}', '{"b": null}', '{"a": null, "b": null}', '{, "b": null}', '{"b": null, "a": null}']
    assert [text for text in texts if allowed.fullmatch(text)] == texts[:4]


def test_anything_is_any_json():
    allowed = matcher({"type": "object"})
    assert allowed.fullmatch('{"a": [1, 2.5, {"b": null}], "c": "x"}')
    assert not allowed.fullmatch("[]")


def test_a_dictionary_has_values_of_its_type():
    allowed = matcher({"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}})
    assert allowed.fullmatch('{"a": 1, "b": 22}')
    assert not allowed.fullmatch('{"a": "x"}')


def test_a_schema_that_refers_to_itself_has_a_rule_that_does():
    grammar = grammar_of(
        {
            "$ref": "#/$defs/Node",
            "$defs": {"Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}},
        }
    )
    assert grammar is not None
    assert re.search(r"^ref0 ::= .*ref0", grammar, re.MULTILINE)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "a+"},
        {"type": "string", "format": "date"},
        {"type": "number", "minimum": 0.5},
        {"type": "integer", "multipleOf": 3},
        {"type": "integer", "minimum": 3, "maximum": 2},
        {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}},
        {"type": "object", "properties": {"a": {}}, "required": ["b"]},
        {"$ref": "http://x.example/"},
        {"$ref": "#/$defs/none"},
        {"not": {}},
        {"type": "blue"},
        False,
    ],
)
def test_what_is_not_written_here_is_left_to_genai(schema: Any):
    assert grammar_of(schema) is None
