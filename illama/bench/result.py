"""A benchmark's result: figures, how they relate, what they were measured with; its file, and how two are compared.

Knows: the file's schema. Does not know: how it is shown.

The file is one JSON object. `schema` is "illama-bench", `version` 1: fields may be added under the same version, a
change of meaning makes it 2. `figures` and `relations` are lists of rows, each with `what`, `target`, `size`, `unit`,
`better` ("higher", "lower" or null), `median`, `low`, `high` and `values` (one for each round, null for one without an
answer).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from illama.bench.figures import KINDS, Figure, Relation, relate
from illama.errors import ConfigError

SCHEMA, VERSION = "illama-bench", 1
# What is held against bare GenAI and against other servers, and how.
_RATIOS = ("total_rate", "decode_rate")
_DIFFERENCES = ("ttft_cold", "ttft", "cpu_per_token")
_OURS = ("host", "jupyter")


@dataclass
class Result:
    """What was found. `about` is everything but the figures, ready for JSON; `problem` is why it is not complete."""

    about: dict[str, Any]
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    interrupted: bool = False
    problem: str = ""

    @property
    def relations(self) -> list[Relation]:
        """Ours against bare GenAI, and ours against each other server."""
        return relations(self.figures)

    def find(self, what: str, target: str = "host", size: int | None = None) -> Figure | None:
        """A figure, if it was measured."""
        return next((f for f in self.figures if f.key == (what, target, size) and f.known), None)

    def rows(self) -> list[dict[str, Any]]:
        """The figures as flat rows, those first that are no relations."""
        return [figure.to_json() for figure in self.figures] + [relation.to_json() for relation in self.relations]

    def to_json(self) -> dict[str, Any]:
        """The file's object."""
        return {
            "schema": SCHEMA,
            "version": VERSION,
            **self.about,
            "complete": not self.interrupted and not self.problem,
            "figures": [figure.to_json() for figure in self.figures],
            "relations": [relation.to_json() for relation in self.relations],
            "notes": self.notes,
        }

    def write(self, path: Path) -> None:
        """Write the file. Raises ConfigError."""
        write_json(path, self.to_json())


def write_json(path: Path, body: Mapping[str, Any]) -> None:
    """Write a result's object. Raises ConfigError."""
    try:
        path.write_text(json.dumps(body, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as problem:
        raise ConfigError(f"{path} cannot be written: {problem.strerror}.", hint="Name another file.") from problem


def read(path: Path) -> Result:
    """The result that a file holds. Raises ConfigError for anything else."""
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        if body["schema"] != SCHEMA:
            raise ValueError("not a benchmark's")
        version = body["version"]
        figures = [Figure.of(row) for row in body["figures"] if row["what"] in KINDS] if version == VERSION else []
        notes = list(body.get("notes") or ())
    except OSError as problem:
        raise ConfigError(
            f"{path} cannot be read: {problem.strerror}.", hint="Name a file that --json wrote."
        ) from None
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"{path} is no result of a benchmark.", hint="Name a file that --json wrote.") from None
    if version != VERSION:
        raise ConfigError(f"{path} has version {version} of the format, and this illama reads {VERSION}.")
    drop = {"schema", "version", "figures", "relations", "notes", "complete"}
    return Result({name: value for name, value in body.items() if name not in drop}, figures, notes)


def relations(figures: Sequence[Figure]) -> list[Relation]:
    """Ours against bare GenAI, and ours against each other server, as far as both were measured."""
    by_key = {figure.key: figure for figure in figures if figure.known}
    targets = dict.fromkeys(figure.target for figure in figures)
    bases = [target for target in targets if target not in _OURS]
    found: list[Relation] = []
    for base in bases:
        # Other servers are held against bare GenAI too; nobody against itself.
        for target in [*(t for t in targets if t in _OURS), *(bases if base == "raw" else [])]:
            if target != base:
                found += _pairs(by_key, target, base)
    order = [*_DIFFERENCES[:1], *_RATIOS, *_DIFFERENCES[1:]]
    return sorted(found, key=lambda each: (order.index(each.what), each.size or 0)) + list(_special(by_key))


def _pairs(by_key: Mapping[tuple[str, str, int | None], Figure], target: str, base: str) -> Iterable[Relation]:
    for (what, whose, size), figure in by_key.items():
        other = by_key.get((what, base, size))
        if whose != target or other is None:
            continue
        if what in _RATIOS:
            yield relate(figure, other)
        elif what in _DIFFERENCES:
            yield relate(figure, other, "difference")
            if base != "raw" and what.startswith("ttft"):
                yield relate(figure, other)


def _special(by_key: Mapping[tuple[str, str, int | None], Figure]) -> Iterable[Relation]:
    """Figures that are held against another of bare GenAI's."""
    others = {
        "gap_beside_prompt": "longest_step",  # one chunk of the same prompt
        "switch_ready": "start_ready",
        "switch_first_token": "start_first_token",
    }
    for (what, target, size), figure in by_key.items():
        base = by_key.get((others.get(what, ""), "raw", size))
        if base is not None and target != "raw":
            yield relate(figure, base)
    after, before = by_key.get(("memory_after", "host", None)), by_key.get(("memory_before", "host", None))
    if after and before:
        yield relate(after, before, "difference")


@dataclass(frozen=True)
class Change:
    """A figure then and now. `clear`: the two spreads do not meet, so the machine's noise does not explain it."""

    before: Figure
    now: Figure

    @property
    def ratio(self) -> float:
        """Now over then."""
        return self.now.median / self.before.median if self.before.median else float("nan")

    @property
    def clear(self) -> bool:
        """Whether the difference is more than the spread. One value has no spread to tell by."""
        several = len(self.now.known) > 1 and len(self.before.known) > 1
        return several and (self.now.low > self.before.high or self.now.high < self.before.low)

    @property
    def better(self) -> bool | None:
        """Whether it is better now; None where more is neither better nor worse."""
        wanted = KINDS[self.now.what][1]
        return None if not wanted else (self.ratio > 1) == (wanted == "up")


def compare(before: Result, now: Result) -> tuple[list[Change], list[str]]:
    """Each figure that both have, and sentences on what was not the same then."""
    old = {figure.key: figure for figure in before.figures if figure.known}
    changes = [Change(old[f.key], f) for f in now.figures if f.known and f.key in old]
    return changes, list(_differences(before.about, now.about))


def _differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterable[str]:
    for group, fields in (
        ("model", ("name", "digest", "weight_format", "options")),
        ("device", ("name", "full_name", "driver")),
        ("machine", ("cpu", "cores", "memory", "system")),
        ("options", ("tokens",)),
    ):
        for name in fields:
            yield from _difference(f"{group} {name}", _get(then, group, name), _get(now, group, name))
    for name in sorted({*(then.get("versions") or {}), *(now.get("versions") or {})}):
        yield from _difference(f"version of {name}", _get(then, "versions", name), _get(now, "versions", name))


def _get(about: Mapping[str, Any], group: str, name: str) -> Any:
    found = about.get(group)
    return found.get(name) if isinstance(found, Mapping) else None


def _difference(what: str, then: Any, now: Any) -> Iterable[str]:
    if then != now:
        short = [str(value)[:60] if value is not None else "unknown" for value in (then, now)]
        yield f"The {what} was {short[0]}, and is {short[1]}."
