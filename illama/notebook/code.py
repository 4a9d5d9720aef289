"""The code in an answer: what `-f code` puts into the next cell.

Knows: Markdown's fences. Does not know: cells.
"""

from __future__ import annotations

import ast
import re

_BLOCK = re.compile(r"^([ \t]*)(`{3,}|~{3,})[^\n`]*\n(.*?)(?:^[ \t]*\2[`~]*[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)


def code_of(answer: str) -> str:
    """The fenced blocks of an answer, one after the other; all of it if it is Python as it stands; else nothing."""
    blocks = [_without(found[1], found[3]).strip("\n") for found in _BLOCK.finditer(answer)]
    if blocks:
        return "\n\n".join(block for block in blocks if block.strip())
    try:
        ast.parse(answer)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    return answer.strip()


def _without(indent: str, code: str) -> str:
    return "\n".join(line.removeprefix(indent) for line in code.split("\n"))
