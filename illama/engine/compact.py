"""A grammar without idle white space for a JSON schema.

Knows: JSON schemas as pydantic, msgspec and people write them, EBNF as xgrammar reads it. Does not know: GenAI.

A model that is guided by a schema may still write as much white space between two values as it likes, and a small one
does: line after line until its limit. GenAI has no setting for that, so the schema is written as a grammar that knows
one space after `:` and `,` and no other, which is what `json.dumps` writes and models have read most. What is not
written here (patterns, formats, `multipleOf`, bounds of numbers that are no whole numbers, …) is left to GenAI.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

# Digits of an integer, and decimal places of a number, that has no bounds.
_DIGITS = 15
_PLACES = 6
_REMARKS = {
    "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "discriminator",
    "$schema", "$comment", "$id", "$defs", "definitions",
}  # fmt: skip
_BASICS = r"""
char ::= [^"\\\x00-\x1f] | "\\" ["\\/bfnrt] | "\\u" [0-9a-fA-F]{4}
string ::= "\"" char* "\""
integer ::= "-"? ("0" | [1-9] [0-9]{0,14})
number ::= integer ("." [0-9]{1,15})? ([eE] [-+]? [0-9]{1,3})?
any ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" (string ": " any (", " string ": " any)*)? "}"
array ::= "[" (any (", " any)*)? "]"
"""


class _Unknown(Exception):  # noqa: N818 - not an error: the schema goes another way
    """The schema says something that this module does not write."""


def grammar_of(schema: Any) -> str | None:
    """The EBNF grammar, whose first rule is `root`, of what the schema allows; None for a schema not written here."""
    try:
        return _Writer(schema).write()
    except (_Unknown, RecursionError):
        return None


class _Writer:
    def __init__(self, schema: Any) -> None:
        self._schema = schema
        self._rules: dict[str, str] = {}
        self._refs: dict[str, str] = {}

    def write(self) -> str:
        self._rules["root"] = self._value(self._schema)
        return "\n".join(f"{name} ::= {body}" for name, body in self._rules.items()) + _BASICS

    def _value(self, schema: Any) -> str:
        if schema is True:
            return "any"
        if not isinstance(schema, Mapping):
            raise _Unknown
        told = {key: value for key, value in schema.items() if key not in _REMARKS}
        for key, write in (("$ref", self._ref), ("const", _literal), ("enum", _enum)):
            if key in told:
                _only(told, key, "type")
                return write(told[key])
        for key in ("anyOf", "oneOf", "allOf"):
            if key in told:
                _only(told, key)
                if key == "allOf" and len(told[key]) != 1:
                    raise _Unknown
                return _either([self._value(each) for each in told[key]])
        kinds = told.pop("type", None)
        if kinds is None:
            _only(told)
            return "any"
        if isinstance(kinds, list):
            return _either(
                [self._value({**told, "type": kind} if kind != "null" else {"type": kind}) for kind in kinds]
            )
        return self._typed(kinds, told)

    def _typed(self, kind: str, told: dict[str, Any]) -> str:
        if kind == "object":
            return self._object(told)
        if kind == "array":
            return self._array(told)
        if kind == "string":
            _only(told, "minLength", "maxLength")
            return "string" if not told else f'"\\"" char{_times(told, "minLength", "maxLength")} "\\""'
        if kind in ("integer", "number"):
            _only(told, "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
            return kind if not told else _bounded(told, whole=kind == "integer")
        _only(told)
        if kind not in ("boolean", "null"):
            raise _Unknown
        return '("true" | "false")' if kind == "boolean" else '"null"'

    def _ref(self, where: str) -> str:
        if where not in self._refs:
            name = self._refs[where] = f"ref{len(self._refs)}"
            self._rules[name] = ""  # holds its place: a schema may refer to itself
            self._rules[name] = self._value(_at(self._schema, where))
        return self._refs[where]

    def _object(self, told: dict[str, Any]) -> str:
        _only(told, "properties", "required", "additionalProperties")
        properties, required = told.get("properties") or {}, set(told.get("required") or ())
        more = told.get("additionalProperties", not properties)
        if not properties:
            if required or more is False:
                raise _Unknown
            pair = f'string ": " {self._value(more)}'
            return f'"{{" ({pair} (", " {pair})*)? "}}"'
        if more is not False or not required <= set(properties):
            raise _Unknown
        pairs = [(f"{_text(json.dumps(name, ensure_ascii=False) + ': ')} {self._value(value)}", name in required)
                 for name, value in properties.items()]  # fmt: skip
        return f'"{{" {self._members(pairs)} "}}"'

    def _members(self, pairs: Sequence[tuple[str, bool]]) -> str:
        """Members in their order, those that are not required or left out, with commas between them."""
        rest = '""'
        first = '""'
        for pair, required in reversed(pairs):
            name = f"members{len(self._rules)}"
            self._rules[name] = rest
            first = f"{pair} {name}" if required else f"({pair} {name} | {first})"
            rest = f'", " {pair} {name}' if required else f'(", " {pair})? {name}'
        return first

    def _array(self, told: dict[str, Any]) -> str:
        _only(told, "items", "minItems", "maxItems")
        item = self._value(told.get("items", True))
        least, most = told.get("minItems", 0), told.get("maxItems")
        if most == 0 or (most is not None and most < least):
            raise _Unknown
        further = _times({"a": max(least - 1, 0), **({} if most is None else {"b": most - 1})}, "a", "b")
        filled = f'{item} (", " {item}){further}'
        return f'"[" {filled} "]"' if least else f'"[" ({filled})? "]"'


def _only(told: Mapping[str, Any], *known: str) -> None:
    if set(told) - set(known):
        raise _Unknown


def _at(schema: Any, where: str) -> Any:
    if not isinstance(where, str) or not where.startswith("#"):
        raise _Unknown
    for part in where[1:].split("/")[1:]:
        try:
            schema = schema[part.replace("~1", "/").replace("~0", "~")]
        except (KeyError, TypeError):
            raise _Unknown from None
    return schema


def _either(alternatives: Sequence[str]) -> str:
    if not alternatives:
        raise _Unknown
    return alternatives[0] if len(alternatives) == 1 else f"({' | '.join(alternatives)})"


def _literal(value: Any) -> str:
    return _text(json.dumps(value, ensure_ascii=False))


def _enum(values: Sequence[Any]) -> str:
    return _either([_literal(value) for value in values])


def _text(text: str) -> str:
    """A string of the grammar that stands for exactly this text."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'


def _times(told: Mapping[str, Any], least: str, most: str) -> str:
    low, high = told.get(least, 0), told.get(most)
    if high is not None and high < low:
        raise _Unknown
    return f"{{{low},{'' if high is None else high}}}"


def _bounded(told: Mapping[str, Any], *, whole: bool) -> str:
    """A number between bounds that are whole numbers."""
    low, open_low = _bound(told, "minimum", "exclusiveMinimum", -(10**_DIGITS))
    high, open_high = _bound(told, "maximum", "exclusiveMaximum", 10**_DIGITS)
    if whole:
        low, high, open_low, open_high = low + open_low, high - open_high, False, False
    if low > high or (low == high and (open_low or open_high)):
        raise _Unknown
    parts = []
    if high >= 0:
        parts += _positive(max(low, 0), open_low and low >= 0, high, open_high, whole=whole)
    if low < 0:
        negative = _positive(max(-high, 0 if not whole else 1), open_high and high <= 0, -low, open_low, whole=whole)
        parts += [f'"-" {_either(negative)}'] if negative else []
    return _either(parts)


def _bound(told: Mapping[str, Any], closed: str, opened: str, default: int) -> tuple[int, bool]:
    name = opened if opened in told else closed
    value = told.get(name, default)
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or value != int(value)
        or {closed, opened} <= set(told)
    ):
        raise _Unknown
    return int(value), name == opened


def _positive(low: int, open_low: bool, high: int, open_high: bool, *, whole: bool) -> list[str]:
    """What stands for the numbers from `low`, which is not below zero, to `high`; open ends are left out."""
    if whole:
        return _range(low, high)
    parts = []
    if open_low and low < high:
        parts.append(f'"{low}." [0-9]{{0,{_PLACES - 1}}} [1-9]')
    between = _range(low + open_low, high - 1)
    if between:
        parts.append(f'{_either(between)} ("." [0-9]{{1,{_PLACES}}})?')
    if not open_high:
        parts.append(f'"{high}" (".0")?')
    return parts


def _range(low: int, high: int) -> list[str]:
    """The whole numbers from `low`, which is not below zero, to `high`, as digits."""
    parts = []
    while low <= high:
        top = min(high, 10 ** len(str(low)) - 1)
        parts.append(_either(_digits(str(low), str(top))))
        low = top + 1
    return parts


def _digits(low: str, high: str) -> list[str]:
    """The numbers between two that have equally many digits."""
    count = len(low)
    if low == high:
        return [f'"{low}"']
    if set(low) == {"0"} and set(high) == {"9"}:
        return [f"[0-9]{{{count}}}"]
    if count == 1:
        return [f"[{low}-{high}]"]
    if low[0] == high[0]:
        return [f'"{low[0]}" {_either(_digits(low[1:], high[1:]))}']
    first, last, parts = int(low[0]), int(high[0]), []
    if set(low[1:]) != {"0"}:
        parts.append(f'"{first}" {_either(_digits(low[1:], "9" * (count - 1)))}')
        first += 1
    ending = []
    if set(high[1:]) != {"9"}:
        ending.append(f'"{last}" {_either(_digits("0" * (count - 1), high[1:]))}')
        last -= 1
    if first <= last:
        parts.append(f"[{first}-{last}] [0-9]{{{count - 1}}}")
    return parts + ending
