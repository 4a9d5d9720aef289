"""A tuning's result: what was tried, what came of it, what is kept; its file, and how it is shown.

Knows: the file's schema, the table. Does not know: terminals, HTML.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from illama.bench.figures import Figure
from illama.bench.report import Section
from illama.bench.result import write_json
from illama.cli import text
from illama.tune.choose import ALL, Outcome, Verdict

SCHEMA, VERSION = "illama-tune", 1
_HEADS = {
    "decode_rate": "1 STREAM",
    "total_rate": "8 STREAMS",
    "prefill_rate": "PROMPT",
    "longest_step": "LONGEST STEP",
    "memory_peak": "MEMORY",
}
_UNITS = {"decode_rate": "tokens/s", "total_rate": "tokens/s", "prefill_rate": "tokens/s", "longest_step": "ms"}
# What stands for that with which a tuning begins, and for all that it would keep together.
START, TOGETHER = "the defaults", "all together"


@dataclass(frozen=True)
class Row:
    """One candidate beside what was there. `outcome` is empty if it could not be loaded."""

    option: str
    value: Any
    verdict: Verdict
    kept: bool
    outcome: Outcome = field(default_factory=dict)
    base: Outcome = field(default_factory=dict)
    texts: str = ""

    @property
    def name(self) -> str:
        """What was tried, as `illama set` would take it."""
        return TOGETHER if self.option == TOGETHER else named(self.option, self.value)

    def to_json(self) -> dict[str, Any]:
        """As the result's file has it."""
        return {
            "option": self.option,
            "value": self.value,
            "kept": self.kept,
            "why": self.verdict.why,
            "texts": self.texts or None,
            "figures": [figure.to_json() for figure in self.outcome.values()],
            "base": [figure.to_json() for figure in self.base.values()],
        }


@dataclass
class Result:
    """What was found. `tuned` is what the model's entry gets; `stored` whether it has got it."""

    about: dict[str, Any]
    rows: list[Row] = field(default_factory=list)
    start: Outcome = field(default_factory=dict)
    together: Row | None = None
    kept: dict[str, Any] = field(default_factory=dict)
    stored: bool = False
    notes: list[str] = field(default_factory=list)
    interrupted: bool = False
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        """The file's object."""
        return {
            "schema": SCHEMA,
            "version": VERSION,
            **self.about,
            "complete": not self.interrupted and not self.problem,
            "kept": self.kept,
            "stored": self.stored,
            "tried": [row.to_json() for row in self.rows],
            "together": self.together.to_json() if self.together else None,
            "notes": self.notes,
        }

    def write(self, path: Path) -> None:
        """Write the file. Raises ConfigError."""
        write_json(path, self.to_json())

    def figures(self) -> list[dict[str, Any]]:
        """What an entry keeps of the figures: the medians of the last comparison, before and after."""
        if not self.together:
            return []
        after, before = self.together.outcome, self.together.base
        return [
            {"what": what, "size": after[what].size, "unit": after[what].unit}
            | {"before": round(before[what].median, 2), "after": round(after[what].median, 2)}
            for what in ALL
            if what in after and what in before
        ]


def named(option: str, value: Any) -> str:
    """A setting as `illama set` takes it."""
    return f"{option}={int(value) if isinstance(value, bool) else value}"


def title(result: Result) -> list[str]:
    """What was tuned on what, in a few lines."""
    model, device, machine = (result.about.get(part) or {} for part in ("model", "device", "machine"))
    weights = f", {model['weight_format']}" if model.get("weight_format") else ""
    versions = ", ".join(f"{name} {version}" for name, version in (result.about.get("versions") or {}).items())
    return [
        f"{model.get('name')}{weights} on {device.get('name', '?')} ({device.get('full_name', '?')})",
        f"{machine.get('cpu')}, {machine.get('cores')} cores; {result.about.get('date')}",
        versions,
    ]


def table(result: Result) -> Section:
    """What was tried: first what there was, then each candidate's share of what was there beside it."""
    shown = [what for what in ALL if what in result.start]
    head = ["SETTING", *(_HEADS[what] for what in shown), ""]
    rows = [[START, *(_absolute(result.start[what]) for what in shown), ""]]
    rows += [_line(row, shown) for row in result.rows]
    if result.together:
        rows.append(_line(result.together, shown))
    return Section("What was tried: medians, and shares of what was there (lowest to highest round)", head, rows)


def lines(result: Result) -> str:
    """All of it as text."""
    parts = ["\n".join(title(result))]
    if result.start:
        section = table(result)
        parts.append(f"{section.title}\n{text.table(section.head, section.rows)}")
    parts += ["\n".join(f"- {text.harmless(note)}" for note in result.notes)] if result.notes else []
    parts.append(verdict(result))
    return "\n\n".join(parts)


def verdict(result: Result) -> str:
    """How it ended, in a sentence or two."""
    name = (result.about.get("model") or {}).get("name")
    if result.interrupted:
        return f"It was interrupted: {name} is as it was."
    if result.problem:
        return f"It broke off: {text.harmless(result.problem)} {name} is as it was."
    if not result.kept:
        return "The defaults are best here: nothing was changed." if result.rows else "There was nothing to try."
    what = ", ".join(named(option, value) for option, value in result.kept.items())
    if not result.stored:
        return f"Better here: {what}. Nothing was changed, as you asked."
    return f"Kept for {name}, from its next load on: {what}. `illama tune {name} --reset` takes it back."


def _line(row: Row, shown: Sequence[str]) -> list[str]:
    cells = [_share(row.outcome[what], row.base[what]) if what in row.outcome else "-" for what in shown]
    told = ("kept: " if row.kept else "") + row.verdict.why + (f"; {row.texts}" if row.texts else "")
    return [row.name, *cells, told]


def _absolute(figure: Figure) -> str:
    if figure.what == "memory_peak":
        return text.size(figure.median)
    return f"{figure.median:.0f} {_UNITS[figure.what]}" if figure.median >= 10 else f"{figure.median:.1f}"


def _share(figure: Figure, base: Figure) -> str:
    """As a share of the base, in the figure's own direction."""
    pairs = [a / b for a, b in zip(figure.values, base.values, strict=False) if a and b]
    if not pairs:
        return "-"
    middle = sorted(pairs)[len(pairs) // 2]
    return f"{middle:.2f} ({min(pairs):.2f}-{max(pairs):.2f})"
