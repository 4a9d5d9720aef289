"""Rounds: every measure at every target, in turns, so that what else the machine does hits all alike.

Knows: the order, what is read before and after, what is kept when it is interrupted. Does not know: what is measured.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from illama.bench.figures import Figure
from illama.bench.measures import Measure, Sample
from illama.bench.meters import Meter
from illama.bench.prompts import Sizes
from illama.bench.targets import Target
from illama.errors import IllamaError

Say = Callable[[str], None]
Step = tuple[Measure, Target]


@dataclass
class Rounds:
    """Carries out rounds and keeps what they gave.

    `others` are the processes that work for the measurement itself: their CPU time is nobody's, but no stranger's
    either. `apart`: engines that have no room side by side take turns by the round instead of by the measure; `awake`
    is called before a target of another engine is asked. `look` is called after each sample of a target.
    """

    targets: Sequence[Target]
    measures: Sequence[Measure]
    sizes: Sizes
    say: Say
    others: Callable[[], Mapping[str, list[int]]] = dict
    awake: Callable[[Target], None] | None = None
    look: Callable[[Target], None] | None = None
    samples: dict[tuple[Measure, str], list[Sample | None]] = field(default_factory=dict)
    errors: dict[str, list[str]] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    short: dict[str, int] = field(default_factory=dict)
    strangers: list[float] = field(default_factory=list)
    _seed: str = field(default_factory=lambda: secrets.token_hex(8))

    def warm_up(self) -> None:
        """Ask each target the smallest and the largest question of each kind, and forget the answers."""
        kept: dict[tuple[str, bool], Measure] = {}
        for measure in self.measures:  # each kind's come from the smallest to the largest
            kept.setdefault((measure.kind, True), measure)
            kept[measure.kind, False] = measure
        for measure, target in self._order(0, list(dict.fromkeys(kept.values()))):
            self.say(f"warming up: {target.name}, {_named(measure)}")
            if self.awake:
                self.awake(target)
            self._sample(measure, target, "warm-up")
        self.samples.clear()
        self.errors.clear()
        self.asked.clear()
        self.short.clear()
        self.strangers.clear()

    def run(self, count: int) -> None:
        """Carry out so many rounds. What an interrupt cuts off is left out; all before it is kept."""
        for number in range(count):
            for measure, target in self._order(number, self.measures):
                self.say(f"round {number + 1} of {count}: {target.name}, {_named(measure)}")
                if self.awake:
                    self.awake(target)
                sample = self._sample(measure, target, str(number))
                self.samples.setdefault((measure, target.name), []).append(sample)
                if self.look:
                    self.look(target)

    def figures(self) -> list[Figure]:
        """All figures so far."""
        return [
            figure for (measure, target), values in self.samples.items() for figure in measure.figures(target, values)
        ]

    def _order(self, number: int, measures: Sequence[Measure]) -> Iterator[Step]:
        """The targets turn from one round to the next, so that each is first as often, and so does the whole order."""
        turned = [*self.targets[number % len(self.targets) :], *self.targets[: number % len(self.targets)]]
        along = list(measures) if number % 2 == 0 else list(reversed(measures))
        if self.awake is None:
            return ((measure, target) for measure in along for target in turned)
        engines = dict.fromkeys(target.engine for target in turned)
        return (
            (measure, target) for engine in engines for measure in along for target in turned if target.engine == engine
        )

    def _sample(self, measure: Measure, target: Target, seed: str) -> Sample | None:
        def ask(requests: Sequence[dict[str, Any]]) -> dict[str, Any]:
            ours, others = target.processes(), self.others()
            meter = Meter({**others, **ours})
            meter.start()
            taken = target.run(requests)
            spent, share = meter.stop()
            self.strangers.append(share)
            if ours:
                taken["cpu"] = {party: spent[party] for party in ours}
            if "load generator" in others and target.engine != "raw":
                taken["load_cpu"] = spent["load generator"]
            self._note(target.name, requests, taken["answers"])
            return taken

        try:
            return measure.run(ask, f"{self._seed} {seed}", self.sizes)
        except IllamaError as problem:
            if target.engine in ("host", "raw"):
                raise
            self.errors.setdefault(target.name, []).append(problem.message)
            return None

    def _note(self, target: str, requests: Sequence[dict[str, Any]], answers: Sequence[dict[str, Any]]) -> None:
        self.asked[target] = self.asked.get(target, 0) + len(answers)
        for request, answer in zip(requests, answers, strict=True):
            if answer["error"]:
                self.errors.setdefault(target, []).append(str(answer["error"]))
            elif answer["completion_tokens"] < request["max_tokens"]:
                self.short[target] = self.short.get(target, 0) + 1


def _named(measure: Measure) -> str:
    return {
        "prompts": f"prompt of {measure.size} tokens",
        "streams": f"{measure.size} stream{'s' if measure.size > 1 else ''}",
        "beside": f"a stream beside a prompt of {measure.size} tokens",
    }[measure.kind]
