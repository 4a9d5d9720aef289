"""One line of the doctor's: how it stands with one thing, and what to do.

Knows: the three levels, how they are counted. Does not know: facts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from illama.cli.text import size

OK, WARNING, FAILURE = "ok", "warning", "failure"
__all__ = ["FAILURE", "OK", "WARNING", "Finding", "failed", "ok", "size", "warning", "worst"]


@dataclass(frozen=True)
class Finding:
    """What was looked at (`check`), how it stands (`level`), what was seen (`says`), and what to do ("": nothing)."""

    level: str
    check: str
    says: str
    do: str = ""


def ok(check: str, says: str, do: str = "") -> Finding:
    """All is well."""
    return Finding(OK, check, says, do)


def warning(check: str, says: str, do: str) -> Finding:
    """Something does not work, or not well, but models run."""
    return Finding(WARNING, check, says, do)


def failed(check: str, says: str, do: str) -> Finding:
    """What the user counts on does not work."""
    return Finding(FAILURE, check, says, do)


def worst(findings: Iterable[Finding]) -> str:
    """The worst level of all."""
    levels = {each.level for each in findings}
    return next((level for level in (FAILURE, WARNING) if level in levels), OK)
