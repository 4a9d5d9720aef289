"""What a value in a magic's line may look like, for argparse.

Knows: the checks, and how a wrong value is named. Does not know: which option takes which.
Each raises ArgumentTypeError.
"""

from __future__ import annotations

import argparse
import ast
import keyword


def identifier(raw: str) -> str:
    """A name that a Python variable can have."""
    if not raw.isidentifier() or keyword.iskeyword(raw):
        raise argparse.ArgumentTypeError(f"{raw!r} is not a name that a Python variable can have")
    return raw


def expression(raw: str) -> str:
    """A Python expression: the name of a type or a schema."""
    try:
        ast.parse(raw, mode="eval")
    except SyntaxError:
        raise argparse.ArgumentTypeError(f"{raw!r} is no name of a type or schema") from None
    return raw


def positive(raw: str) -> int:
    """A whole number from 1."""
    if not raw.isascii() or not raw.isdigit() or int(raw) < 1:
        raise argparse.ArgumentTypeError(f"{raw!r} is not a whole number from 1")
    return int(raw)


def temperature(raw: str) -> float:
    """A number from 0 to 2."""
    try:
        value = float(raw)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 2:
        raise argparse.ArgumentTypeError(f"{raw!r} is not a number from 0 to 2")
    return value
