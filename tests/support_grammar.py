"""Grammars tried without an engine: one that does not refer to itself is a regular expression."""

from __future__ import annotations

import re

_TOKEN = re.compile(r'"((?:\\.|[^"\\])*)"|(\[(?:\\.|[^\]\\])*\])|([a-z]\w*)|([(|)?*+]|\{\d+(?:,\d*)?\})|\s+')
_ESCAPES = {r"\"": '"', r"\\": "\\"}


def expression(grammar: str) -> re.Pattern[str]:
    """The regular expression of a grammar."""
    rules = dict(line.split(" ::= ", 1) for line in grammar.splitlines())
    return re.compile(_expand("root", rules), re.DOTALL)


def _expand(name: str, rules: dict[str, str]) -> str:
    made, at, body = "", 0, rules[name]
    while at < len(body):
        found = _TOKEN.match(body, at)
        assert found, f"no token of the grammar at {body[at:]!r}"
        text, kind, rule, operator = found.groups()
        if text is not None:
            made += f"(?:{re.escape(_unescaped(text))})"
        elif rule:
            made += _expand(rule, rules)
        else:
            made += kind or operator or ""
        at = found.end()
    return f"(?:{made})"


def _unescaped(text: str) -> str:
    return re.sub(r"\\.", lambda found: _ESCAPES[found.group()], text)
