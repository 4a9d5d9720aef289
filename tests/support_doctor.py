"""Machines that nobody here owns, as recorded facts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from illama.doctor.facts import Machine
from illama.doctor.finding import Finding
from illama.doctor.judge import judge

RECORDED = Path(__file__).parent / "data" / "machines"


def recorded(name: str, **parts: Any) -> Machine:
    """A recorded machine; each of `parts` is a dict of what is to be otherwise in that part of the facts."""
    facts = json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))
    machine = msgspec.convert(facts, Machine)
    for part, changes in parts.items():
        whole = not isinstance(changes, dict)
        machine = replace(machine, **{part: changes if whole else replace(getattr(machine, part), **changes)})
    return machine


def findings(name: str, **parts: Any) -> dict[str, list[Finding]]:
    """What is found on a recorded machine, by what was looked at."""
    found: dict[str, list[Finding]] = {}
    for each in judge(recorded(name, **parts)):
        found.setdefault(each.check, []).append(each)
    return found


def finding(name: str, check: str, **parts: Any) -> Finding:
    """The one finding on a thing."""
    (only,) = findings(name, **parts)[check]
    return only
