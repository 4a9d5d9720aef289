"""Regular expressions as EBNF, for the text inside of a JSON string.

Knows: Python's parser of regular expressions, EBNF. Does not know: JSON Schema, requests.

An expression is matched as a whole. Quotes, backslashes and control characters come out escaped as JSON has them, or
not at all where a class would allow them among others.
"""

from __future__ import annotations

import json
import sys
from typing import Any

if sys.version_info >= (3, 11):
    from re import _constants, _parser  # type: ignore[attr-defined]
else:
    import sre_constants as _constants
    import sre_parse as _parser

# What JSON does not allow unescaped in a string.
_FORBIDDEN = r'"\\\x00-\x1f'
_CATEGORIES = {"CATEGORY_DIGIT": "0-9", "CATEGORY_WORD": "a-zA-Z0-9_", "CATEGORY_SPACE": " "}


class UnknownError(Exception):
    """Beyond what can be translated here."""


def quoted(text: str) -> str:
    """A text as EBNF writes it."""
    return '"' + "".join(_character(ord(character), '"') for character in text) + '"'


def of_pattern(pattern: str) -> str:
    """The expression, in EBNF. Raises UnknownError for what only a regular expression can."""
    try:
        return _sequence(_parser.parse(pattern))
    except (_constants.error, RecursionError, OverflowError):
        raise UnknownError from None


def _sequence(parts: Any) -> str:
    made = [one for one in (_one(str(kind), value) for kind, value in parts) if one]
    return "(" + (" ".join(made) or '""') + ")"


def _one(kind: str, value: Any) -> str:
    if kind == "LITERAL":
        return quoted(json.dumps(chr(value), ensure_ascii=False)[1:-1])
    if kind == "NOT_LITERAL":
        return f"[^{_character(value, ']')}{_FORBIDDEN}]"
    if kind == "ANY":
        return f"[^{_FORBIDDEN}]"
    if kind == "IN":
        return _class(value)
    if kind == "CATEGORY":
        return _class([(kind, value)])
    if kind == "AT" and str(value) in ("AT_BEGINNING", "AT_END", "AT_BEGINNING_STRING", "AT_END_STRING"):
        return ""
    if kind == "BRANCH":
        return "(" + " | ".join(_sequence(branch) for branch in value[1]) + ")"
    if kind == "SUBPATTERN":
        return _sequence(value[-1])
    if kind in ("MAX_REPEAT", "MIN_REPEAT"):
        low, high, part = value
        return f"{_sequence(part)}{{{low},{'' if high is _constants.MAXREPEAT else int(high)}}}"
    raise UnknownError


def _class(items: Any) -> str:
    negated, ranges, others = False, "", []
    for kind, value in items:
        kind = str(kind)
        if kind == "NEGATE":
            negated = True
        elif kind == "LITERAL":
            if value in (0x22, 0x5C) or value < 0x20:
                others.append(_one(kind, value))
            else:
                ranges += _character(value, "]")
        elif kind == "RANGE":
            for low, high in _allowed(*value):
                ranges += f"{_character(low, ']')}-{_character(high, ']')}"
        elif kind == "CATEGORY" and str(value) in _CATEGORIES:
            ranges += _CATEGORIES[str(value)]
        elif kind == "CATEGORY" and len(items) == 1 and str(value).replace("NOT_", "") in _CATEGORIES:
            negated, ranges = True, _CATEGORIES[str(value).replace("NOT_", "")]
        else:
            raise UnknownError
    if negated:
        return f"[^{ranges}{_FORBIDDEN}]"
    choices = [*([f"[{ranges}]"] if ranges else []), *others]
    if not choices:
        raise UnknownError
    return choices[0] if len(choices) == 1 else f"({' | '.join(choices)})"


def _allowed(low: int, high: int) -> list[tuple[int, int]]:
    """The parts of a range that JSON allows unescaped."""
    made, start = [], max(low, 0x20)
    for barred in (0x22, 0x5C):
        if start <= barred <= high:
            made.append((start, barred - 1))
            start = barred + 1
    return [(a, b) for a, b in [*made, (start, high)] if a <= b]


def _character(code: int, end: str) -> str:
    """One character inside of quotes or brackets."""
    character = chr(code)
    if character in ('"', "\\", "]", "[", "^", "-"):
        # Quotes need no escape among brackets, but take it; brackets and dashes mean nothing in quotes.
        return character if end == '"' and character in "[]^-" else "\\" + character
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return character
