"""What Tab offers in a line of `%illama` or `%%illama`.

Knows: the grammar, and which words may come next by it. Does not know: where models, variables and threads come from;
it is given ways to ask for them, and asks only for what the place at hand needs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from illama.notebook import grammar
from illama.notebook.arguments import Parser

# What stands for something that only the kernel or the host knows, by the name it has in the usage.
Sources = Mapping[str, Callable[[], Iterable[str]]]
_VARIABLES = {"VAR", "NAME", "SCHEMA"}
_FIXED = {"DEVICE": ("AUTO", "CPU", "GPU", "NPU")}
_LINE = re.compile(r"\s*(%%?)illama(?:\s+|$)")


def candidates(line: str, sources: Sources) -> list[str]:
    """The words that may stand where `line`, the text before the cursor, ends; each begins as its last word does.

    `sources` has "models", "variables" and "threads".
    """
    start = _LINE.match(line)
    if start is None:
        return []
    before = line[start.end() :].split(" ")
    typed = before.pop()
    given = [word for word in before if word]
    verb: str | None = None
    if start[1] == "%":
        if not given:
            return _beginning(grammar.VERBS, typed)
        verb = given.pop(0)
    parser = grammar.parser_of(verb)
    return [] if parser is None else _beginning(_next(parser, given, typed, sources), typed)


def _next(parser: Parser, given: list[str], typed: str, sources: Sources) -> Iterable[str]:
    waiting = parser.valued(given[-1]) if given else None
    if waiting is not None:
        return _values(waiting, sources)
    if typed.startswith("-"):
        return parser.options()
    number = sum(
        not word.startswith("-") and (at == 0 or parser.valued(given[at - 1]) is None) for at, word in enumerate(given)
    )
    place = parser.positional(number)
    return [*([] if place is None else _values(place, sources)), *([] if typed else parser.options())]


def _values(action: Any, sources: Sources) -> Iterable[str]:
    if action.choices:
        return list(action.choices)
    wanted = action.metavar or ""
    if wanted in _FIXED:
        return _FIXED[wanted]
    if wanted == "MODEL":
        return sources["models"]()
    if wanted == "THREAD" or action.dest == "thread":
        return sources["threads"]()
    return sources["variables"]() if wanted in _VARIABLES else ()


def _beginning(words: Iterable[str], typed: str) -> list[str]:
    """Those that begin as typed, in any case of letters: names of models resolve in any."""
    return [word for word in words if word.lower().startswith(typed.lower())]
