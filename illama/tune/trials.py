"""Engines with different settings, measured in turns: what each does with one stream, eight, and a long prompt.

Knows: the processes, the rounds, what an engine takes of the memory. Does not know: which settings, or which is best.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from illama.bench import meters, prompts
from illama.bench.figures import Figure
from illama.bench.measures import Measure
from illama.bench.parties import OWN_PID
from illama.bench.prompts import Sizes
from illama.bench.rounds import Rounds
from illama.bench.targets import Raw, Target
from illama.config import Settings
from illama.errors import EngineError, IllamaError
from illama.tune.choose import Outcome

STREAMS = 8
# What each engine is asked once, greedily, to see whether a setting changes the text.
_TEXTS = (
    "What is the capital of France, and what is it known for?",
    "Explain in a few sentences why the sky is blue.",
    "Write a short story about a lighthouse keeper and a whale.",
    "List the planets of the solar system and one fact about each.",
)
_TEXT_TOKENS = 48
# Tokens of an answer that only warms up.
_WARM_UP = 4
# What is told of an engine, by the name in `measures`, and the number of streams where it depends on that.
_TOLD = {"decode_rate": 1, "total_rate": STREAMS, "prefill_rate": None, "longest_step": None, "cpu_per_token": STREAMS}


class Trial(Raw):
    """Bare GenAI in a process of its own, as the engine would load the model with these options besides."""

    def __init__(self, settings: Settings, message: Mapping[str, Any], name: str, options: Mapping[str, Any]) -> None:
        super().__init__(settings, {**message, "options": {**message["options"], **options}})
        self.name = self.engine = name
        self.title = f"The engine with {name}"
        self.running = False

    def start(self) -> float:
        """See `Raw`. Raises EngineError if it cannot be loaded so."""
        seconds = super().start()
        self.running = True
        return seconds

    def processes(self) -> dict[str, list[int]]:
        """See `Target`."""
        return {self.name: super().processes()["raw"]}

    def close(self) -> None:
        """See `Target`."""
        super().close()
        self.running = False

    def texts(self) -> list[list[int]]:
        """The tokens of the greedy answers to a few fixed questions, one request at a time."""
        asked = [{"messages": prompts.first_turn(text), "max_tokens": _TEXT_TOKENS} for text in _TEXTS]
        return [self.run([request])["answers"][0]["ids"] for request in asked]


def compare_texts(one: Sequence[Sequence[int]], other: Sequence[Sequence[int]]) -> str:
    """How many answers are the same, in words."""
    same = sum(list(a) == list(b) for a, b in zip(one, other, strict=True))
    if same == len(one):
        return f"the same greedy text in {same} of {len(one)} answers"
    first = min(
        next((at for at, pair in enumerate(zip(a, b, strict=False)) if pair[0] != pair[1]), min(len(a), len(b)))
        for a, b in zip(one, other, strict=True)
        if list(a) != list(b)
    )
    return f"the same greedy text in {same} of {len(one)} answers (the first difference after {first} tokens)"


def sizes(trial: Trial) -> Sizes:
    """How many tokens words have."""
    counted = []
    for words in (40, 160):
        asked = {"messages": prompts.first_turn(prompts.text("count", words)), "max_tokens": 1}
        counted.append((words, int(trial.run([asked])["answers"][0]["prompt_tokens"])))
    return Sizes.of(*counted)


@dataclass
class Turns:
    """Measures engines in interleaved rounds. `apart`: they have no room side by side, so each is loaded anew."""

    trials: Sequence[Trial]
    prompt: int
    tokens: int
    sizes: Sizes
    apart: bool
    say: Callable[[str], None]
    strangers: list[float] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    _memory: dict[str, list[float]] = field(default_factory=dict)

    def run(self, count: int) -> dict[str, Outcome]:
        """What each engine did in so many rounds; why those are not among them that gave no answer is in `failed`.

        Raises EngineError if the first of them gave none, against which the others are held.
        """
        plan = [
            Measure("streams", 1, self.tokens),
            Measure("streams", STREAMS, self.tokens),
            Measure("prompts", self.prompt),
        ]
        rounds = Rounds(
            self.trials, plan, self.sizes, self.say, self._processes, self._wake if self.apart else None, self._look
        )
        if not self.apart:
            for trial in self.trials:
                self._warm_up(trial)
        rounds.run(count)
        self.strangers += rounds.strangers
        self.failed = {name: errors[0] for name, errors in rounds.errors.items()}
        if self.trials[0].name in self.failed:
            raise EngineError(f"{self.trials[0].title} gave no answer: {self.failed[self.trials[0].name]}")
        figures, good = rounds.figures(), [trial.name for trial in self.trials if trial.name not in self.failed]
        return {name: self._outcome(name, figures, len(plan)) for name in good}

    def _outcome(self, name: str, figures: Sequence[Figure], measures: int) -> Outcome:
        found = {
            figure.what: figure
            for figure in figures
            if figure.target == name and figure.what in _TOLD and _TOLD[figure.what] in (None, figure.size)
        }
        # What a round's last measure left it with.
        taken = tuple(self._memory[name][measures - 1 :: measures])
        return {**found, "memory_peak": Figure("memory_peak", name, None, taken)}

    def _processes(self) -> dict[str, list[int]]:
        found = {"bench": [OWN_PID]}
        for trial in self.trials:
            found.update(trial.processes())
        return found

    def _wake(self, target: Target) -> None:
        for trial in self.trials:
            if trial is target and not trial.running:
                self._all_but(trial)
                with suppress(IllamaError):
                    trial.start()
                self._warm_up(trial)

    def _all_but(self, kept: Trial) -> None:
        for trial in self.trials:
            if trial is not kept:
                trial.close()

    def _warm_up(self, trial: Trial) -> None:
        """What is compiled late, and the memory that a first prompt takes, are nobody's figures."""
        self.say(f"warming up: {trial.name}")
        with suppress(IllamaError):  # it fails again when it is asked, and that is told
            for measure in (Measure("streams", STREAMS, _WARM_UP), Measure("prompts", self.prompt)):
                measure.run(trial.run, "warm-up", self.sizes)

    def _look(self, target: Target) -> None:
        pid = next(iter(target.processes()[target.name]), None)
        self._memory.setdefault(target.name, []).append(float(meters.memory_of(pid)[0]) if pid else 0.0)
