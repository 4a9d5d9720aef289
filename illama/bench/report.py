"""A result as tables and sentences: the same in a terminal and in a notebook.

Knows: which figures stand together, how each is written. Does not know: terminals, HTML.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from illama.bench.figures import KINDS, Figure, Relation
from illama.bench.result import Change, Result
from illama.cli import text

_WORDS = {
    "ttft_cold": "TTFT of a new prompt",
    "ttft_cached": "TTFT of the next turn",
    "cached_share": "next turn of new prompt",
    "prefill_rate": "prompt tokens/s",
    "prompt_tokens": "prompt tokens",
    "longest_step": "longest step of a prompt",
    "total_rate": "tokens/s in all",
    "decode_rate": "decode tokens/s a stream",
    "tpot": "TPOT",
    "ttft": "TTFT p50",
    "worst_gap": "worst gap",
    "cpu_per_token": "CPU a token",
    "cpu_engine": "the engine's CPU a token",
    "cpu_host": "the host's CPU a token",
    "cpu_gate": "the gate's CPU a token",
    "load_generator_cpu": "load generator's CPU a token",
    "gap_beside_prompt": "worst gap beside another's prompt",
    "load_first": "first load",
    "load_again": "load again",
    "switch_ready": "switch, until ready",
    "switch_first_token": "switch, until the first token",
    "start_ready": "bare process, until ready",
    "start_first_token": "bare process, until the first token",
    "memory_before": "memory before",
    "memory_loaded": "memory, loaded",
    "memory_peak": "memory at peak",
    "memory_after": "memory after unloading",
}
# Columns have less room than lines.
_HEADS = {
    "ttft_cold": "TTFT ms, NEW",
    "prefill_rate": "TOKENS/S READ",
    "ttft_cached": "TTFT ms, NEXT TURN",
    "cached_share": "NEXT ÷ NEW",
    "prompt_tokens": "ASKED",
    "total_rate": "TOKENS/S",
    "decode_rate": "DECODE/S EACH",
    "tpot": "TPOT ms",
    "ttft": "TTFT ms",
    "worst_gap": "WORST GAP ms",
    "cpu_per_token": "IN ALL",
    "cpu_engine": "ENGINE",
    "cpu_host": "HOST",
    "cpu_gate": "GATE",
    "load_generator_cpu": "LOAD'S OWN",
}
_PROMPTS = ("prompt_tokens", "ttft_cold", "prefill_rate", "ttft_cached", "cached_share")
_STREAMS = ("total_rate", "decode_rate", "tpot", "ttft", "worst_gap")
_CPU = ("cpu_per_token", "cpu_engine", "cpu_host", "cpu_gate", "load_generator_cpu")
_SINGLE = (
    "gap_beside_prompt",
    "longest_step",
    "load_first",
    "load_again",
    "switch_ready",
    "switch_first_token",
    "start_ready",
    "start_first_token",
    "memory_before",
    "memory_loaded",
    "memory_peak",
    "memory_after",
)


@dataclass(frozen=True)
class Section:
    """A table: its title, its head and its rows."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def title(result: Result) -> list[str]:
    """What was measured on what, in two or three lines."""
    about = result.about
    model, device, machine = (about.get(part) or {} for part in ("model", "device", "machine"))
    weights = f", {model['weight_format']}" if model.get("weight_format") else ""
    driver = f", driver {device['driver']}" if device.get("driver") else ""
    versions = ", ".join(f"{name} {version}" for name, version in (about.get("versions") or {}).items())
    load = ((about.get("conditions") or {}).get("load_average") or ["?"])[0]
    return [
        f"{model.get('name')}{weights} on {device.get('name', '?')} ({device.get('full_name', '?')}{driver})",
        f"{machine.get('cpu')}, {machine.get('cores')} cores, load {load}; {about.get('date')}",
        versions,
    ]


def sections(result: Result) -> list[Section]:
    """The tables of a result, without those that would be empty."""
    found = [
        _grid("Prompts: a new one, and the next turn of the same conversation", "TOKENS", _PROMPTS, result.figures),
        _grid("Streams at once", "STREAMS", _STREAMS, result.figures),
        _grid("Their CPU time, ms a token", "STREAMS", _CPU, result.figures),
        Section(
            "One after another",
            ("WHAT", "WHERE", "MEDIAN", "LOWEST TO HIGHEST"),
            [_single(f) for what in _SINGLE for f in result.figures if f.what == what and f.known],
        ),
        Section(
            "Against each other, round by round",
            ("WHAT", "WHERE", "AGAINST", "MEDIAN", "LOWEST TO HIGHEST"),
            [_related(relation) for relation in result.relations if relation.figure.known],
        ),
    ]
    return [section for section in found if section.rows]


def lines(result: Result) -> str:
    """All of it as text."""
    parts = ["\n".join(title(result))]
    parts += [f"{section.title}\n{text.table(section.head, section.rows)}" for section in sections(result)]
    parts += [f"Each figure is the median of {rounds(result)}, with the lowest and the highest."]
    parts += ["\n".join(f"- {text.harmless(note)}" for note in result.notes)] if result.notes else []
    if result.interrupted:
        parts.append("It was interrupted: this is what was measured so far.")
    if result.problem:
        parts.append(f"It broke off: {text.harmless(result.problem)}")
    return "\n\n".join(parts)


def rounds(result: Result) -> str:
    """How many rounds there were, in words."""
    count = (result.about.get("options") or {}).get("rounds", 1)
    return f"{count} round{'' if count == 1 else 's'}"


def comparison(changes: Sequence[Change], differences: Sequence[str], when: str) -> str:
    """A comparison as text."""
    section = compared(changes)
    parts = [
        f"Compared with {when}\n{text.table(section.head, section.rows)}" if section.rows else "Nothing to compare."
    ]
    parts += ["\n".join(f"- {text.harmless(each)}" for each in differences)] if differences else []
    return "\n\n".join(parts)


def compared(changes: Sequence[Change]) -> Section:
    """A comparison's table."""
    return Section("Compared", ("WHAT", "WHERE", "SIZE", "THEN", "NOW", "RATIO", ""), [_change(c) for c in changes])


def _grid(name: str, size: str, kinds: Sequence[str], figures: Iterable[Figure]) -> Section:
    """A table of a row for each size and target, and a column for each kind that anybody has."""
    # A kind tells the table: `ttft` is of streams, whatever their number.
    mine = [figure for figure in figures if figure.what in kinds and figure.known]
    kinds = [kind for kind in kinds if any(figure.what == kind for figure in mine)]
    places = list(dict.fromkeys((figure.size, figure.target) for figure in mine))
    order = list(dict.fromkeys(target for _, target in places))
    by_key = {figure.key: figure for figure in mine}
    rows = []
    for number, target in sorted(places, key=lambda place: (place[0] or 0, order.index(place[1]))):
        cells = [by_key.get((kind, target, number)) for kind in kinds]
        rows.append([str(number), target, *("-" if cell is None else _spread(cell) for cell in cells)])
    return Section(name, [size, "WHERE", *(_HEADS[kind] for kind in kinds)], rows)


def _unit(kind: str) -> str:
    unit = KINDS[kind][0]
    return f", {unit}" if unit in ("ms", "s") else ""


def _spread(figure: Figure) -> str:
    write = _writer(figure.what)
    if len(figure.known) < 2 or figure.what == "prompt_tokens":
        return write(figure.median)
    return f"{write(figure.median)} ({write(figure.low)}-{write(figure.high)})"


def _writer(what: str) -> Callable[[float], str]:
    unit = KINDS[what][0]
    if unit == "bytes":
        return text.size
    if unit == "s" or unit == "of cold" or what in _CPU:
        return lambda value: f"{value:.2f}"
    return lambda value: f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def _single(figure: Figure) -> list[str]:
    write, unit = _writer(figure.what), _unit(figure.what)
    words = _WORDS[figure.what] + (f" of {figure.size} tokens" if figure.size else "") + unit
    return [words, figure.target, write(figure.median), f"{write(figure.low)} to {write(figure.high)}"]


def _related(relation: Relation) -> list[str]:
    figure = relation.figure
    write: Callable[[float], str] = lambda value: f"{value:.2f}"  # noqa: E731 - one of two
    how = "÷"
    words = _WORDS[relation.what]
    if relation.how == "difference":
        how, unit = "minus", KINDS[relation.what][0]
        words += f", {unit}" if unit in ("ms", "s") else ""
        if unit == "bytes":
            write = lambda value: f"{'-' if value < 0 else ''}{text.size(abs(value))}"  # noqa: E731
    if relation.size is not None:
        words += f", {relation.size}"
    against = {
        "gap_beside_prompt": "raw's longest step",
        "switch_ready": "a bare process's start",
        "switch_first_token": "a bare process's first token",
        "memory_after": "before",
    }.get(relation.what, relation.base)
    spread = f"{write(figure.low)} to {write(figure.high)}"
    return [words, relation.target, f"{how} {against}", write(figure.median), spread]


def _change(change: Change) -> list[Any]:
    now, before = change.now, change.before
    write = _writer(now.what)
    if not change.clear:
        verdict = "within the spread" if len(now.known) > 1 and len(before.known) > 1 else "one value has no spread"
    else:
        verdict = {True: "better", False: "worse", None: "changed"}[change.better]
    words = _WORDS[now.what] + _unit(now.what)
    size = "" if now.size is None else str(now.size)
    return [words, now.target, size, write(before.median), write(now.median), f"{change.ratio:.2f}", verdict]
