"""JSON schemas as grammars of compact JSON, in the EBNF that guides an engine.

Knows: JSON Schema, EBNF. Does not know: requests, engines.

GenAI's own translation of a schema allows any amount of white space between two tokens of JSON, and a small model gets
lost in it: it writes tabs until its limit. Here white space is as `json.dumps` writes it, and properties come in the
schema's order. What a grammar made here allows always fits the schema, but not all that fits is allowed: properties
that the schema does not name are left out, a pattern is matched as a whole. A schema with keywords that are not known
here is left to GenAI (`grammar_of` gives None).
"""

from __future__ import annotations

import json
import math
from functools import lru_cache
from typing import Any

from illama.host.regex_grammar import UnknownError, of_pattern, quoted

# Digits of a number that is not bounded, and of a fraction.
_MOST_DIGITS = 15
_MOST_DECIMALS = 6
# Longer texts are bounded by the answer's own limit: a grammar that counts so far takes long to compile.
_LONGEST_COUNT = 4096

_BASICS = {
    "char": r'[^"\\\x00-\x1f] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4})',
    "string": r'"\"" char* "\""',
    "integer": f'"-"? ("0" | [1-9] [0-9]{{0,{_MOST_DIGITS}}})',
    "number": f'integer ("." [0-9]{{1,{_MOST_DIGITS}}})? ([eE] [-+]? [0-9]{{1,2}})?',
    "boolean": '"true" | "false"',
    "null": '"null"',
    "pair": 'string ": " value',
    "object": '"{" (pair (", " pair)*)? "}"',
    "array": '"[" (value (", " value)*)? "]"',
    "value": "object | array | string | number | boolean | null",
}
_MADE_OF = {
    "string": ("char",),
    "number": ("integer",),
    "pair": ("string", "value"),
    "object": ("pair",),
    "array": ("value",),
    "value": ("object", "array", "string", "number", "boolean", "null"),
}
_FORMATS = {
    "date": r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])",
    "time": r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)",
    "date-time": r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?"
    r"(Z|[+-]([01]\d|2[0-3]):[0-5]\d)",
    "uuid": r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    "email": r"[a-z0-9._%+-]{1,40}@[a-z0-9-]{1,30}(\.[a-z]{2,12}){1,3}",
    "ipv4": r"(25[0-5]|2[0-4]\d|1?\d?\d)(\.(25[0-5]|2[0-4]\d|1?\d?\d)){3}",
}
# Keywords that say nothing of a value's form.
_NOTES = frozenset(
    [
        "title",
        "description",
        "default",
        "examples",
        "example",
        "deprecated",
        "readOnly",
        "writeOnly",
        "$schema",
        "$id",
        "$comment",
        "$defs",
        "definitions",
        "strict",
        "discriminator",
        "contentEncoding",
        "contentMediaType",
        "nullable",
    ]
)
_OF_KIND = {
    "object": frozenset(
        ["properties", "required", "additionalProperties", "minProperties", "maxProperties", "propertyNames"]
    ),
    "array": frozenset(["items", "prefixItems", "minItems", "maxItems"]),
    "string": frozenset(["minLength", "maxLength", "pattern", "format"]),
    "number": frozenset(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "format"]),
}


@lru_cache(maxsize=256)
def grammar_of(schema: str) -> str | None:
    """The grammar of a schema (JSON text); None for one that is beyond what is known here."""
    try:
        root = json.loads(schema)
        return _Maker(root).text(root)
    except (UnknownError, ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


class _Maker:
    """Collects the rules of one grammar."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._rules: dict[str, str] = {}
        self._references: dict[str, str] = {}

    def text(self, schema: Any) -> str:
        root = self._of(schema)
        lines = [f"root ::= {root}", *(f"{name} ::= {body}" for name, body in self._rules.items())]
        return "\n".join(lines) + "\n"

    def _basic(self, name: str) -> str:
        """One of the rules that are always the same, and those that it is made of."""
        if name not in self._rules:
            self._rules[name] = _BASICS[name]
            for other in _MADE_OF.get(name, ()):
                self._basic(other)
        return name

    def _rule(self, body: str) -> str:
        name = f"r{len(self._rules)}"
        self._rules[name] = body
        return name

    def _of(self, schema: Any) -> str:
        """An expression for the values of a schema, such as can stand in any place."""
        if schema is True or schema == {}:
            return self._basic("value")
        if not isinstance(schema, dict):
            raise UnknownError
        schema = {key: value for key, value in schema.items() if key not in _NOTES}
        if not schema:
            return self._basic("value")
        if "$ref" in schema:
            self._only(schema, {"$ref"})
            return self._reference(schema["$ref"])
        if "const" in schema or "enum" in schema:
            choices = [schema["const"]] if "const" in schema else list(schema["enum"])
            self._only(schema, {"const", "enum", "type"})
            if not choices:
                raise UnknownError
            return self._either([quoted(json.dumps(choice, ensure_ascii=False)) for choice in choices])
        for key in ("anyOf", "oneOf"):
            if key in schema:
                self._only(schema, {key, "type"})
                return self._either([self._of(choice) for choice in schema[key]])
        if "allOf" in schema:
            self._only(schema, {"allOf"})
            if len(schema["allOf"]) != 1:
                raise UnknownError
            return self._of(schema["allOf"][0])
        return self._typed(schema)

    def _typed(self, schema: dict[str, Any]) -> str:
        kind = schema.get("type")
        if isinstance(kind, list):
            # Each kind has the keywords that are about it.
            return self._either([self._typed(_about(schema, one)) for one in kind])
        if kind is None:
            kind = next((one for one, keys in _OF_KIND.items() if keys & schema.keys()), None)
        if kind is None:
            raise UnknownError
        numeric = "number" if kind == "integer" else kind
        self._only(schema, {"type", *_OF_KIND.get(numeric, ())})
        if kind == "object":
            return self._object(schema)
        if kind == "array":
            return self._array(schema)
        if kind == "string":
            return self._string(schema)
        if kind in ("integer", "number"):
            return self._number(schema, whole=kind == "integer")
        if kind in ("boolean", "null"):
            return self._basic(kind)
        raise UnknownError

    def _only(self, schema: dict[str, Any], known: set[str]) -> None:
        if not schema.keys() <= known:
            raise UnknownError

    def _either(self, choices: list[str]) -> str:
        unique = list(dict.fromkeys(choices))
        if not unique:
            raise UnknownError
        return unique[0] if len(unique) == 1 else self._rule(" | ".join(unique))

    def _reference(self, reference: str) -> str:
        if reference not in self._references:
            if not reference.startswith("#"):
                raise UnknownError
            target = self._root
            for part in reference.removeprefix("#").split("/")[1:]:
                key = part.replace("~1", "/").replace("~0", "~")
                if not isinstance(target, dict) or key not in target:
                    raise UnknownError
                target = target[key]
            # The name first: the schema may refer to itself.
            name = self._references[reference] = self._rule("")
            self._rules[name] = self._of(target)
        return self._references[reference]

    def _object(self, schema: dict[str, Any]) -> str:
        properties = dict(schema.get("properties") or {})
        required = list(schema.get("required") or ())
        more = schema.get("additionalProperties", True)
        if schema.get("minProperties", 0) > len(required) or "maxProperties" in schema or "propertyNames" in schema:
            raise UnknownError
        for name in required:
            properties.setdefault(name, more)
        if not properties:
            if more is False or "properties" in schema:
                return quoted("{}")
            pair = f'{self._basic("string")} ": " {self._of(more)}'
            return self._rule(f'"{{" ({pair} (", " {pair})*)? "}}"')
        pairs = [
            (f"{quoted(json.dumps(name, ensure_ascii=False) + ': ')} {self._of(value)}", name in required)
            for name, value in properties.items()
        ]
        # From the end: what may follow once a property is there, and what may follow while none is.
        following, first = "", '""'
        for pair, needed in reversed(pairs):
            alone = f"{pair} {following}".strip()
            first = alone if needed else f"({alone} | {first})"
            following = self._rule(f"{_comma(pair)}{'' if needed else '?'} {following}".strip())
        return self._rule(f'"{{" {first} "}}"')

    def _array(self, schema: dict[str, Any]) -> str:
        fixed = [self._of(item) for item in schema.get("prefixItems") or ()]
        low, high = int(schema.get("minItems", 0)), schema.get("maxItems")
        items = schema.get("items", True)
        if fixed:
            if low > len(fixed) or (high is not None and high < len(fixed)):
                raise UnknownError
            return self._rule('"[" ' + ' ", " '.join(fixed) + ' "]"')
        if high is not None and high < max(low, 1):
            return quoted("[]") if high == 0 and low == 0 else self._unknown()
        item = self._of(items)
        more = f"{{{max(low - 1, 0)},{'' if high is None else int(high) - 1}}}"
        several = f"{item} ({_comma(item)}){more}"
        return self._rule(f'"[" {several} "]"' if low else f'"[" ({several})? "]"')

    def _unknown(self) -> str:
        raise UnknownError

    def _string(self, schema: dict[str, Any]) -> str:
        pattern = schema.get("pattern") or _FORMATS.get(str(schema.get("format")))
        if pattern is not None:
            if "pattern" in schema and ("minLength" in schema or "maxLength" in schema):
                raise UnknownError
            return self._rule(f'"\\"" {of_pattern(pattern)} "\\""')
        low, high = int(schema.get("minLength", 0)), schema.get("maxLength")
        if low > _LONGEST_COUNT or (high is not None and high < low):
            raise UnknownError
        if high is not None and high > _LONGEST_COUNT:
            high = _LONGEST_COUNT
        if not low and high is None:
            return self._basic("string")
        return self._rule(f'"\\"" {self._basic("char")}{{{low},{"" if high is None else int(high)}}} "\\""')

    def _number(self, schema: dict[str, Any], *, whole: bool) -> str:
        low, high = schema.get("minimum"), schema.get("maximum")
        over, under = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
        if low is over is high is under is None:
            return self._basic("integer" if whole else "number")
        # Whole numbers inside of the bounds; of exclusive ones, the next.
        lows = [math.ceil(low)] if low is not None else []
        lows += [math.floor(over) + 1] if over is not None else []
        highs = [math.floor(high)] if high is not None else []
        highs += [math.ceil(under) - 1] if under is not None else []
        far = 10**_MOST_DIGITS - 1
        least, most = max(lows, default=min(-far, *highs, 0)), min(highs, default=max(far, *lows, 0))
        if least > most:
            raise UnknownError
        choices = _range(least, most)
        if not whole:
            fraction = f'"." [0-9]{{1,{_MOST_DECIMALS}}}'
            # A fraction moves away from zero: what it is added to must be short of the bound.
            if most - 1 >= max(least, 0):
                choices += [f"({' | '.join(_range(max(least, 0), most - 1))}) {fraction}"]
            if least + 1 <= min(most, 0):
                choices += [f'"-" ({" | ".join(_range(max(-most, 0), -least - 1))}) {fraction}']
        return self._either(choices)


def _comma(item: str) -> str:
    return f'(", " {item})'


def _about(schema: dict[str, Any], kind: str) -> dict[str, Any]:
    own = _OF_KIND.get("number" if kind == "integer" else kind, frozenset())
    others = frozenset().union(*_OF_KIND.values()) - own
    return {**{key: value for key, value in schema.items() if key not in others}, "type": kind}


def _range(low: int, high: int) -> list[str]:
    """Expressions for the whole numbers from `low` to `high`."""
    made: list[str] = []
    if low < 0:
        made += [f'"-" {one}' for one in _naturals(max(-high, 1), -low)]
    if high >= 0:
        made += _naturals(max(low, 0), high)
    return made


def _naturals(low: int, high: int) -> list[str]:
    made = []
    for digits in range(len(str(low)), len(str(high)) + 1):
        least, most = max(low, 10 ** (digits - 1) if digits > 1 else 0), min(high, 10**digits - 1)
        made += _digits(str(least), str(most))
    return made


def _digits(low: str, high: str) -> list[str]:
    """Expressions for the numbers between two of the same length."""
    if len(low) == 1:
        return [f"[{low}-{high}]"]
    first, last = int(low[0]), int(high[0])
    rest = len(low) - 1
    if first == last:
        return [f'"{first}" {one}' for one in _digits(low[1:], high[1:])]
    made = []
    if low[1:] != "0" * rest:
        made += [f'"{first}" {one}' for one in _digits(low[1:], "9" * rest)]
        first += 1
    end: list[str] = []
    if high[1:] != "9" * rest:
        end = [f'"{last}" {one}' for one in _digits("0" * rest, high[1:])]
        last -= 1
    if first <= last:
        made.append(f"[{first}-{last}] [0-9]{{{rest}}}")
    return made + end
