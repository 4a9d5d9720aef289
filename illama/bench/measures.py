"""What is measured in a round, and the figures that come of it.

Knows: the questions of a measure, and how its figures follow from what came back. Does not know: whom it asks.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from illama.bench import prompts
from illama.bench.figures import Figure
from illama.bench.prompts import Sizes

# What one target gave in one round: for each of a measure's questions what load.py or raw.py reports, and the CPU time
# of the parties in seconds. None stands for a round without a good answer.
Sample = list[dict[str, Any]]
Ask = Callable[[Sequence[dict[str, Any]]], dict[str, Any]]

# Tokens that a running stream has given when another's long prompt comes.
_UNDER_WAY = 4
STREAM_PROMPT = 64
# Whose CPU time is told apart.
_PARTIES = ("engine", "host", "gate")


@dataclass(frozen=True)
class Measure:
    """A measure: `kind` is one of `options.PARTS` that is measured in rounds, `size` its prompt tokens or streams."""

    kind: str
    size: int
    tokens: int = 2

    def run(self, ask: Ask, seed: str, sizes: Sizes) -> Sample:
        """Ask one target."""
        seed = f"{seed} {self.kind} {self.size}"
        if self.kind == "prompts":
            text = prompts.text(seed, sizes.words(self.size))
            turns = (prompts.first_turn(text), prompts.second_turn(text))
            return [ask([{"messages": turn, "max_tokens": self.tokens}]) for turn in turns]
        if self.kind == "streams":
            return [ask([self._stream(f"{seed} {i}", sizes, self.tokens) for i in range(self.size)])]
        running = self._stream(seed, sizes, self.tokens)
        text = prompts.text(seed, sizes.words(self.size))
        after = {"request": 0, "pieces": _UNDER_WAY}
        return [ask([running, {"messages": prompts.first_turn(text), "max_tokens": 2, "after": after}])]

    def _stream(self, seed: str, sizes: Sizes, tokens: int) -> dict[str, Any]:
        text = prompts.text(seed, sizes.words(STREAM_PROMPT))
        return {"messages": prompts.first_turn(text), "max_tokens": tokens}

    def figures(self, target: str, rounds: Sequence[Sample | None]) -> list[Figure]:
        """The figures of one target, from the samples of all rounds."""
        of = {"prompts": _prompt_figures, "streams": _stream_figures, "beside": _beside_figures}[self.kind]
        good = [_good(sample) for sample in rounds]
        values = [None if sample is None else of(sample) for sample in good]
        names = {name: None for each in values if each for name in each}
        return [
            Figure(name, target, self.size, tuple(each.get(name) if each else None for each in values))
            for name in names
        ]


def planned(
    parts: Sequence[str], sizes: Sequence[int], streams: Sequence[int], tokens: int, room: int
) -> list[Measure]:
    """The measures of a round, those left out whose prompt has no room in a context of `room` tokens."""
    fitting = [size for size in sizes if size + 64 <= room]
    measures = [Measure("prompts", size) for size in fitting] if "prompts" in parts else []
    if "streams" in parts:
        measures += [Measure("streams", count, tokens) for count in streams]
    long = [size for size in fitting if size <= 2048]
    if "beside" in parts and long:
        measures.append(Measure("beside", max(long), 2 * tokens))
    return measures


def _good(sample: Sample | None) -> Sample | None:
    """The sample, if all of its answers are there: half of the streams is another load than all of them."""
    if not sample or any(answer["error"] for taken in sample for answer in taken["answers"]):
        return None
    return sample


def _prompt_figures(sample: Sample) -> dict[str, float | None]:
    cold, cached = sample[0]["answers"][0], sample[1]["answers"][0]
    found: dict[str, float | None] = {
        "ttft_cold": cold["ttft"] * 1000,
        "ttft_cached": cached["ttft"] * 1000,
        "cached_share": cached["ttft"] / cold["ttft"],
        "prompt_tokens": cold["prompt_tokens"],
    }
    if cold["prompt_tokens"]:
        found["prefill_rate"] = cold["prompt_tokens"] / cold["ttft"]
    if "longest_step" in sample[0]:
        found["longest_step"] = sample[0]["longest_step"] * 1000
    return found


def _stream_figures(sample: Sample) -> dict[str, float | None]:
    taken = sample[0]
    answers = taken["answers"]
    tokens = sum(answer["completion_tokens"] for answer in answers)
    # Seconds for each token after the first, of each stream.
    spans = [
        answer["span"] / (answer["completion_tokens"] - 1)
        for answer in answers
        if answer["span"] and answer["completion_tokens"] > 1
    ]
    found: dict[str, float | None] = {
        "total_rate": tokens / taken["seconds"],
        "ttft": statistics.median([answer["ttft"] * 1000 for answer in answers]),
        "worst_gap": max(answer["worst"] for answer in answers) * 1000,
    }
    if spans:
        found["tpot"] = statistics.median(spans) * 1000
        found["decode_rate"] = 1 / statistics.median(spans)
    if taken.get("cpu"):
        cpu = {party: seconds / tokens * 1000 for party, seconds in taken["cpu"].items()}
        found["cpu_per_token"] = sum(cpu.values())
        found.update({f"cpu_{party}": cpu[party] for party in _PARTIES if party in cpu})
    if taken.get("load_cpu") is not None:
        found["load_generator_cpu"] = taken["load_cpu"] / tokens * 1000
    return found


def _beside_figures(sample: Sample) -> dict[str, float | None]:
    return {"gap_beside_prompt": sample[0]["answers"][0]["worst"] * 1000}
