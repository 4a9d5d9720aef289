"""When a setting is better: the rule by which what was measured decides.

Knows: figures, and which of them a setting is for. Does not know: how they were measured, what a setting does.

The rule, in a sentence: a value is kept if in every round it is better than what is there in what it is for, by at
least 3 % at the median, and is not worse in the same sense in anything else.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from illama.bench.figures import KINDS, Figure, relate

# The least gain at the median that is worth a setting, as a share.
LEAST = 0.03
SPEED = ("decode_rate", "total_rate", "prefill_rate")
ALL = (*SPEED, "longest_step", "memory_peak")
STEP = "max_batched_tokens"
_WORDS = {
    "decode_rate": "one stream",
    "total_rate": "eight streams",
    "prefill_rate": "reading a prompt",
    "longest_step": "the longest step",
    "memory_peak": "memory",
}

# What was measured of one candidate, by the figure's name.
Outcome = Mapping[str, Figure]


@dataclass(frozen=True)
class Verdict:
    """Whether a value may be kept, why or why not, and how good it is among those that may."""

    good: bool
    why: str
    score: float = 0.0


def ratios(candidate: Figure, base: Figure) -> list[float]:
    """Round by round, how much better a candidate is: above 1 is better, whichever way its figure counts."""
    up = KINDS[candidate.what][1] == "up"
    known = [value for value in relate(candidate, base).values if value]
    return known if up else [1 / value for value in known]


def clear(candidate: Figure, base: Figure) -> int:
    """1 if the candidate is better in every round and by enough at the median, -1 if it is worse, 0 for neither."""
    found = ratios(candidate, base)
    if len(found) < 2:
        return 0
    middle = statistics.median(found)
    if min(found) > 1 and middle >= 1 + LEAST:
        return 1
    return -1 if max(found) < 1 and middle <= 1 / (1 + LEAST) else 0


def judge(option: str, candidate: Outcome, base: Outcome, limit: float) -> Verdict:
    """Hold a candidate for a setting against what is there; `limit` is the longest step that may be, in ms."""
    differs = {what: clear(candidate[what], base[what]) for what in ALL if what in candidate and what in base}
    if option == STEP:
        return _judge_step(differs, candidate, base, limit)
    worse = [_WORDS[what] for what, sign in differs.items() if sign < 0]
    better = [_WORDS[what] for what in SPEED if differs.get(what, 0) > 0]
    if worse:
        return Verdict(False, f"worse: {', '.join(worse)}")
    if not better:
        return Verdict(False, "no clear gain")
    return Verdict(True, f"better: {', '.join(better)}", _score(candidate, base, SPEED))


def _judge_step(differs: Mapping[str, int], candidate: Outcome, base: Outcome, limit: float) -> Verdict:
    """The step's size is for the prompt's reader, as long as the others' longest wait stays within the limit."""
    longest, before = candidate["longest_step"].median, base["longest_step"].median
    worse = [_WORDS[what] for what, sign in differs.items() if sign < 0 and what != "longest_step"]
    score = _score(candidate, base, ("prefill_rate",))
    if worse:
        return Verdict(False, f"worse: {', '.join(worse)}")
    if differs.get("prefill_rate", 0) > 0:
        if longest <= limit:
            return Verdict(True, "prompts are read faster", score)
        return Verdict(False, f"its longest step takes {longest:.0f} ms, and may take {limit:.0f}")
    if before > limit and differs.get("longest_step", 0) > 0:
        return Verdict(True, "others wait less, and prompts are read as fast", score)
    return Verdict(False, "no clear gain")


def confirmed(options: Sequence[str], after: Outcome, before: Outcome, limit: float) -> Verdict:
    """Hold all that is to be kept against where it began, measured anew."""
    found = [judge(option, after, before, limit) for option in options]
    return next((verdict for verdict in found if verdict.good), found[-1])


def best(judged: Sequence[tuple[Any, Verdict]]) -> Any | None:
    """The value with the highest score of those that may be kept; None if there is none."""
    good = [(verdict.score, at) for at, (_, verdict) in enumerate(judged) if verdict.good]
    return judged[max(good)[1]][0] if good else None


def _score(candidate: Outcome, base: Outcome, what: Sequence[str]) -> float:
    found = [statistics.median(known) for each in what if (known := ratios(candidate[each], base[each]))]
    return math.prod(found)
