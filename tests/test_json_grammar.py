"""Schemas as grammars of compact JSON: what they allow fits the schema, and is all that is needed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support_grammar import expression

from illama.host.json_grammar import grammar_of
from illama.host.regex_grammar import of_pattern

PERSON = {
    "$defs": {"Unit": {"enum": ["c", "f"], "type": "string"}},
    "type": "object",
    "title": "Person",
    "properties": {
        "name": {"type": "string", "maxLength": 4},
        "unit": {"$ref": "#/$defs/Unit", "description": "Of heat."},
        "when": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
    },
    "required": ["name", "unit"],
}


def allows(schema: Any, *texts: str) -> list[bool]:
    grammar = grammar_of(json.dumps(schema))
    assert grammar is not None
    pattern = expression(grammar)
    return [bool(pattern.fullmatch(text)) for text in texts]


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "string"}, ['""', '"a \\" b"', '"é😀\\u00e9\\n"'], ['"', '"a"b"', '"\n"', "5"]),
        ({"type": "string", "minLength": 1, "maxLength": 2}, ['"a"', '"\\n😀"'], ['""', '"abc"']),
        ({"type": "integer"}, ["0", "-12", "345"], ["01", "1.5", "-", ""]),
        ({"type": "number"}, ["0", "-1.5", "2e-3", "1.25E+10"], [".5", "1.", "NaN"]),
        ({"type": ["boolean", "null"]}, ["true", "false", "null"], ["0", "nil"]),
        ({"const": {"a": ['"', "\\"]}}, ['{"a": ["\\"", "\\\\"]}'], ['{"a": []}']),
        ({"enum": ["é", 1, None, True]}, ['"é"', "1", "null", "true"], ["2", "false"]),
        ({"type": "array", "items": {"const": 1}}, ["[]", "[1]", "[1, 1, 1]"], ["[1,1]", "[1, ]", "[2]", "[ 1]"]),
        ({"type": "array", "items": {"const": 1}, "minItems": 2, "maxItems": 3}, ["[1, 1]"], ["[1]", "[1, 1, 1, 1]"]),
        ({"type": "array", "items": {"const": 1}, "maxItems": 1}, ["[]", "[1]"], ["[1, 1]"]),
        ({"type": "array", "maxItems": 0}, ["[]"], ["[1]"]),
        ({"prefixItems": [{"const": 1}, {"const": 2}]}, ["[1, 2]"], ["[1]", "[2, 1]"]),
        ({"type": "object", "additionalProperties": {"const": 1}}, ["{}", '{"a": 1, "b": 1}'], ['{"a": 2}']),
        ({"type": "object", "properties": {}, "additionalProperties": False}, ["{}"], ['{"a": 1}']),
        (PERSON, ['{"name": "Ada", "unit": "c"}', '{"name": "", "unit": "f", "when": 5}'], ['{"name": "Ada"}']),
        (PERSON, ['{"name": "Ada", "unit": "c", "when": null}'], ['{"unit": "c", "name": "A"}', "{}"]),
        ({"type": "string", "format": "date"}, ['"2026-02-28"'], ['"2026-13-01"', '"today"']),
        ({"type": "string", "format": "ipv4"}, ['"10.0.0.255"'], ['"256.0.0.1"']),
        ({"type": "string", "format": "something"}, ['"what"'], ["what"]),
        ({"allOf": [{"const": 1}]}, ["1"], ["2"]),
        ({"oneOf": [{"const": 1}, {"const": 2}]}, ["1", "2"], ["3"]),
    ],
)
def test_a_grammar_allows_what_fits_and_nothing_else(schema: Any, good: list[str], bad: list[str]) -> None:
    assert allows(schema, *good) == [True] * len(good)
    assert allows(schema, *bad) == [False] * len(bad)


@pytest.mark.parametrize("optional", [["a"], ["b"], ["c"], ["a", "b"], ["a", "c"], ["a", "b", "c"], []])
def test_every_choice_of_optional_properties_is_allowed_in_their_order(optional: list[str]) -> None:
    names = ["a", "b", "c"]
    properties = {name: {"const": 1} for name in names}
    schema = {"properties": properties, "required": [name for name in names if name not in optional]}
    for mask in range(8):
        chosen = [name for bit, name in enumerate(names) if mask >> bit & 1]
        text = json.dumps(dict.fromkeys(chosen, 1))
        fits = all(name in chosen or name in optional for name in names)
        assert allows(schema, text) == [fits], text


@pytest.mark.parametrize(
    ("low", "high"), [(0, 0), (0, 9), (1, 14), (0, 255), (-5, 5), (-120, -17), (99, 101), (7, 4096), (-1, 1000)]
)
def test_a_range_of_whole_numbers_allows_each_of_them_and_no_other(low: int, high: int) -> None:
    grammar = grammar_of(json.dumps({"type": "integer", "minimum": low, "maximum": high}))
    assert grammar
    pattern = expression(grammar)
    for number in range(low - 130, high + 130):
        assert bool(pattern.fullmatch(str(number))) == (low <= number <= high), number


def test_bounds_of_numbers_count_for_fractions_too() -> None:
    assert allows({"type": "number", "minimum": 0, "maximum": 1}, "0", "0.75", "1", "1.5", "-0.5", "2") == [
        *[True] * 3,
        *[False] * 3,
    ]
    assert allows({"type": "number", "minimum": -2, "maximum": 3}, "-1.5", "2.9", "-2.1", "3.1") == [
        *[True] * 2,
        *[False] * 2,
    ]
    assert allows({"type": "integer", "exclusiveMinimum": 0}, "1", "999", "0", "-1") == [True, True, False, False]
    assert allows({"type": "integer", "exclusiveMaximum": 3, "minimum": 2}, "2", "3") == [True, False]


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        ("^[A-Z]{2}-\\d+$", ['"AB-12"'], ['"ab-1"', '"AB-"']),
        ("(cat|dog)s?", ['"cats"', '"dog"'], ['"cow"']),
        ("^[^a]*$", ['"bcd"', '""'], ['"cat"', '"\\""']),
        ('^a"b\\\\$', ['"a\\"b\\\\"'], ['"a"b\\"']),
        ("^\\S\\w.[!-~]$", ['"ab c"', '"äbc~"'], ['"  bc"']),
        ("^[\\[\\]^-]+$", ['"[]^-"'], ['"a"']),
        ("^é?世{1,2}$", ['"世"', '"é世世"'], ['"é"']),
    ],
)
def test_a_pattern_is_matched_as_a_whole(pattern: str, good: list[str], bad: list[str]) -> None:
    schema = {"type": "string", "pattern": pattern}
    assert allows(schema, *good) == [True] * len(good)
    assert allows(schema, *bad) == [False] * len(bad)


@pytest.mark.parametrize(
    "schema",
    [
        {"not": {"type": "string"}},
        {"type": "string", "pattern": "(?=a)b"},
        {"type": "string", "pattern": "(a)\\1"},
        {"type": "string", "pattern": "("},
        {"type": "number", "multipleOf": 3},
        {"$ref": "#/$defs/missing"},
        {"$ref": "https://example.org/schema"},
        {"type": "array", "uniqueItems": True},
        {"type": "number", "minimum": 0.1, "maximum": 0.9},
        {"if": {}, "then": {}},
        {"enum": []},
        {"type": "wizard"},
        False,
        "text",
        {"type": "string", "maxLength": "long"},
    ],
)
def test_what_is_not_known_is_left_to_others(schema: Any) -> None:
    assert grammar_of(json.dumps(schema)) is None


def test_a_schema_that_refers_to_itself_has_a_grammar_that_does() -> None:
    tree = {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}}
    grammar = grammar_of(json.dumps(tree))
    assert grammar
    assert any(line.split(" ::= ")[0] in line.split(" ::= ")[1] for line in grammar.splitlines()) or "root" in grammar


def test_a_text_that_is_no_json_has_no_grammar() -> None:
    assert grammar_of("{") is None


def test_patterns_know_python_and_nothing_more() -> None:
    assert of_pattern("ab") == '("a" "b")'
