"""Figures: what was measured in each round, its median and its spread; ratios of two, round by round.

Knows: statistics. Does not know: how anything is measured or shown.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# What is told, with its unit. Of those with "up" more is better, of those with "down" less; the others just are.
KINDS = {
    "ttft_cold": ("ms", "down"),
    "prefill_rate": ("tokens/s", "up"),
    "ttft_cached": ("ms", "down"),
    "cached_share": ("of cold", "down"),
    "prompt_tokens": ("tokens", ""),
    "longest_step": ("ms", "down"),
    "total_rate": ("tokens/s", "up"),
    "decode_rate": ("tokens/s", "up"),
    "tpot": ("ms", "down"),
    "ttft": ("ms", "down"),
    "worst_gap": ("ms", "down"),
    "cpu_per_token": ("ms", "down"),
    "cpu_engine": ("ms", "down"),
    "cpu_host": ("ms", "down"),
    "cpu_gate": ("ms", "down"),
    "load_generator_cpu": ("ms", ""),
    "gap_beside_prompt": ("ms", "down"),
    "load_first": ("s", "down"),
    "load_again": ("s", "down"),
    "switch_ready": ("s", "down"),
    "switch_first_token": ("s", "down"),
    "start_ready": ("s", "down"),
    "start_first_token": ("s", "down"),
    "memory_before": ("bytes", "down"),
    "memory_loaded": ("bytes", "down"),
    "memory_peak": ("bytes", "down"),
    "memory_after": ("bytes", "down"),
}


@dataclass(frozen=True)
class Figure:
    """One figure of one target: `values` has one for each round, None where a round had no answer.

    `size` is the number of prompt tokens asked for, or of streams, or None for what has neither.
    """

    what: str
    target: str
    size: int | None
    values: tuple[float | None, ...]

    @property
    def key(self) -> tuple[str, str, int | None]:
        """What makes it the same figure in another run."""
        return (self.what, self.target, self.size)

    @property
    def known(self) -> list[float]:
        """The values that there are."""
        return [value for value in self.values if value is not None]

    @property
    def median(self) -> float:
        """The median; nan if there is no value."""
        return statistics.median(self.known) if self.known else float("nan")

    @property
    def low(self) -> float:
        """The lowest value."""
        return min(self.known, default=float("nan"))

    @property
    def high(self) -> float:
        """The highest value."""
        return max(self.known, default=float("nan"))

    @property
    def unit(self) -> str:
        """The values' unit."""
        return KINDS[self.what][0]

    def to_json(self) -> dict[str, Any]:
        """As a result's file has it."""
        return {
            "what": self.what,
            "target": self.target,
            "size": self.size,
            "unit": self.unit,
            "better": {"up": "higher", "down": "lower"}.get(KINDS[self.what][1]),
            "median": self.median if self.known else None,
            "low": self.low if self.known else None,
            "high": self.high if self.known else None,
            "values": [None if value is None else round(value, 6) for value in self.values],
        }

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Figure:
        """The figure of a file's row. Raises KeyError or TypeError for one that is none."""
        return cls(row["what"], row["target"], row["size"], tuple(row["values"]))


@dataclass(frozen=True)
class Relation:
    """Two targets' figures held against each other: `how` is "ratio" or "difference" (in the figure's unit)."""

    what: str
    size: int | None
    target: str
    base: str
    how: str
    values: tuple[float | None, ...]

    @property
    def figure(self) -> Figure:
        """Its median and spread."""
        return Figure(self.what, self.target, self.size, self.values)

    def to_json(self) -> dict[str, Any]:
        """As a result's file has it."""
        found = self.figure.to_json()
        unit = found["unit"] if self.how == "difference" else ""
        return {**found, "to": self.base, "how": self.how, "unit": unit, "better": None}


def relate(one: Figure, base: Figure, how: str = "ratio") -> Relation:
    """Hold a figure against another's, round by round: what a round's conditions did to both falls out."""
    pairs = zip(one.values, base.values, strict=False)
    values = tuple(
        None if a is None or b is None or (how == "ratio" and not b) else a / b if how == "ratio" else a - b
        for a, b in pairs
    )
    return Relation(one.what, one.size, one.target, base.target, how, values)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that so large a share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
