"""How findings and facts are written: lines for a terminal, JSON, and the one file that can be sent to others.

Knows: the forms, and what must not be in a file that leaves the machine. Does not know: how anything was found.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from illama.doctor.facts import Machine
from illama.doctor.finding import FAILURE, OK, WARNING, Finding, worst
from illama.paths import private

_WORDS = {OK: "ok", WARNING: "warning", FAILURE: "FAILURE"}


def lines(findings: Sequence[Finding], width: int | None = None) -> str:
    """The findings for people: level, what, how it stands, and below, behind an arrow, what to do."""
    width = width or max(60, min(shutil.get_terminal_size((110, 24)).columns, 140))
    left = max((len(each.check) for each in findings), default=0)
    margin = " " * (7 + 2 + left + 2)
    shown = []
    for each in findings:
        head = f"{_WORDS[each.level]:7}  {each.check.ljust(left)}  "
        shown += _wrapped(private(each.says), head, margin, width)
        if each.do:
            shown += _wrapped(private(each.do), margin + "-> ", margin + "   ", width)
    return "\n".join(shown)


def summary(findings: Sequence[Finding]) -> str:
    """One sentence on all of them."""
    failures = sum(each.level == FAILURE for each in findings)
    warnings = sum(each.level == WARNING for each in findings)
    if not failures and not warnings:
        return "All is well."
    parts = [_count(failures, "failure")] * bool(failures) + [_count(warnings, "warning")] * bool(warnings)
    return " and ".join(parts) + ("." if failures else ": models run all the same.")


def as_json(machine: Machine, findings: Sequence[Finding], **more: Any) -> dict[str, Any]:
    """All of it as JSON can hold it: `level` is the worst of the findings'."""
    return {
        "level": worst(findings),
        "findings": [dataclasses.asdict(each) for each in findings],
        "machine": dataclasses.asdict(machine),
        **more,
    }


def write(folder: Path, machine: Machine, findings: Sequence[Finding], selftest: Sequence[Mapping[str, Any]]) -> Path:
    """Write the file that can be sent: text to read, and below it all facts as JSON. Returns its path.

    The home folder is `~` in it. It has no keys and no tokens, as no fact has. Nothing is overwritten.
    """
    moment = datetime.fromisoformat(machine.taken)
    content = as_json(machine, findings, selftest=selftest)
    text = (
        f"# illama report of {moment:%Y-%m-%d %H:%M}\n\n"
        "What `illama doctor --selftest` found. Read it before you send it: it names this machine's hardware, its\n"
        "packages, and the folders in use, and holds no keys, tokens or questions of yours.\n\n"
        f"```text\n{lines(findings, 110)}\n```\n\n"
        f"## All facts\n\n```json\n{json.dumps(content, indent=2, ensure_ascii=False)}\n```\n"
    )
    number = 1
    while True:
        path = folder / f"illama-report-{moment:%Y%m%d-%H%M%S}{f'-{number}' if number > 1 else ''}.md"
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(private(text))
        except FileExistsError:
            number += 1
        else:
            return path


def _wrapped(text: str, first: str, rest: str, width: int) -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
