"""What can be set for an installed model, and which values it may have: the words of `illama set`.

Knows: the options' names, kinds and the tasks they are for. Does not know: how the engine obeys them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from illama.config import parse_device
from illama.errors import RequestError
from illama.registry.adapters import Placed
from illama.registry.entry import Entry

_TEXT, _VISION, _EMBED, _RERANK = "text-generation", "image-text-to-text", "embedding", "rerank"
_MAX_FACTOR = 1000
_ALL = (_TEXT, _VISION, _EMBED, _RERANK)
_GENERATE = (_TEXT, _VISION)
CORES = ("all", "performance", "efficient")
KV_PRECISIONS = ("u8", "f16", "bf16")


def _flag(raw: str) -> bool:
    if raw.lower() in {"1", "true", "yes", "on"}:
        return True
    if raw.lower() in {"0", "false", "no", "off"}:
        return False
    raise ValueError("0 or 1")


def _count(low: int, high: int) -> Callable[[str], int]:
    def parse(raw: str) -> int:
        if not raw.isdecimal() or not low <= int(raw) <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return int(raw)

    return parse


def _factor(raw: str) -> float:
    with suppress(ValueError):
        if 0 < float(raw) <= _MAX_FACTOR:
            return float(raw)
    raise ValueError(f"a number above 0, up to {_MAX_FACTOR}")


def _one_of(*allowed: str) -> Callable[[str], str]:
    def parse(raw: str) -> str:
        if raw not in allowed:
            raise ValueError(" or ".join(allowed))
        return raw

    return parse


@dataclass(frozen=True)
class Option:
    """One option: its parser, the tasks of the models that have it, and what it means."""

    parse: Callable[[str], Any]
    tasks: tuple[str, ...]
    meaning: str


OPTIONS: Mapping[str, Option] = {
    "device": Option(parse_device, _ALL, "the device it runs on, whatever ILLAMA_DEVICE says"),
    "pipeline": Option(
        _one_of("paged", "stateful"), (_TEXT,), "paged: many requests at once; stateful: one, where paged cannot serve"
    ),
    "prompt_lookup": Option(_flag, (_TEXT,), "1: guess the next tokens from the prompt; for answers that repeat it"),
    "draft": Option(str, (_TEXT,), "a smaller installed model of the same tokenizer that guesses the next tokens"),
    "draft_tokens": Option(_count(1, 16), (_TEXT,), "how many tokens are guessed at a time (4)"),
    "adapter": Option(str, (_TEXT,), "a LoRA adapter, the file or the folder that PEFT made; it is copied"),
    "adapter_scale": Option(_factor, (_TEXT,), "what the adapter is multiplied with (lora_alpha/r, else 1)"),
    "threads": Option(_count(1, 1024), _ALL, "threads of a CPU; OpenVINO's own choice is one for each core"),
    "cores": Option(_one_of(*CORES), _ALL, "which cores of a CPU that has two kinds"),
    "hyper_threading": Option(_flag, _ALL, "0: one thread for each core of a CPU, even if there are more threads"),
    "pinning": Option(_flag, _ALL, "0: threads are not bound to cores of the CPU"),
    "kv_precision": Option(
        _one_of(*KV_PRECISIONS), _GENERATE, "numbers in the KV cache: u8 (the default) or, in twice the room, f16, bf16"
    ),
    "kv_gib": Option(_factor, _GENERATE, "GiB that the KV cache takes at most; less leaves more to other programs"),
    "max_batched_tokens": Option(
        _count(32, 2**16), _GENERATE, "prompt tokens read in a step (256); more: prompts sooner, others' tokens later"
    ),
    "pooling": Option(_one_of("mean", "cls", "last"), (_EMBED,), "how one vector is made of a text's tokens"),
    "normalize": Option(_flag, (_EMBED,), "1: vectors of length 1"),
    "matryoshka": Option(_flag, (_EMBED,), "1: `dimensions` may cut its vectors, as its makers must say"),
    "max_length": Option(_count(8, 2**20), (_EMBED, _RERANK), "tokens that a text may have"),
    "query_instruction": Option(str, (_EMBED, _RERANK), "what is put before a query"),
    "embed_instruction": Option(str, (_EMBED,), "what is put before a document"),
}


def changed(
    entry: Entry,
    changes: Mapping[str, str],
    find: Callable[[str], Entry],
    place: Callable[[Entry, str], Placed] | None = None,
) -> Entry:
    """The entry with its options changed; an empty value takes an option back to what it was without.

    `find` looks a model up, `place` puts an adapter into a model's folder. Raises RequestError, which names the option,
    and what these two raise.
    """
    options, device = dict(entry.options), entry.device
    for name, raw in changes.items():
        value = _value(entry, name, raw)
        if name == "device":
            device = value
        elif value is None:
            options.pop(name, None)
        else:
            options[name] = value
    if options.get("draft") and changes.get("draft"):
        options["draft"] = _draft(entry, find(options["draft"])).name
    if options.get("draft") and options.get("prompt_lookup"):
        raise RequestError(
            "draft and prompt_lookup cannot be used together.",
            hint=f"Take one back: `illama set {entry.name} prompt_lookup=`.",
            param="draft",
        )
    if options.get("pipeline") == "stateful" and (options.get("draft") or options.get("prompt_lookup")):
        raise RequestError(
            "draft and prompt_lookup need the paged pipeline.",
            hint=f"Take the other back: `illama set {entry.name} pipeline=`.",
            param="pipeline",
        )
    files = dict(entry.files)
    if "adapter" in changes:
        files.pop(entry.options.get("adapter", ""), None)
        if not changes.get("adapter_scale"):
            options.pop("adapter_scale", None)
    if options.get("adapter") and options.get("draft"):
        raise RequestError(
            "draft and adapter cannot be used together.",
            hint=f"Take one back: `illama set {entry.name} draft=`.",
            param="adapter",
        )
    if options.get("adapter_scale") and not options.get("adapter"):
        raise RequestError("adapter_scale needs an adapter.", hint="Name its file as adapter.", param="adapter_scale")
    if changes.get("adapter"):
        if place is None:
            raise TypeError("an adapter needs a place")
        placed = place(entry, options["adapter"])
        options["adapter"] = placed.path
        files[placed.path] = placed.size
        if placed.scale is not None:
            options.setdefault("adapter_scale", placed.scale)
    return replace(entry, options=options, device=device, files=files)


def available(task: str) -> dict[str, Option]:
    """The options of models of this task."""
    return {name: option for name, option in OPTIONS.items() if task in option.tasks}


def _value(entry: Entry, name: str, raw: str) -> Any:
    option = available(entry.task).get(name)
    if option is None:
        known = ", ".join(available(entry.task))
        why = f"it is for other models than those for {entry.task}" if name in OPTIONS else "there is no such option"
        raise RequestError(f"{name} cannot be set for {entry.name}: {why}.", hint=f"It has: {known}.", param=name)
    if not raw:
        return None
    try:
        return option.parse(raw)
    except ValueError as problem:
        raise RequestError(f"{name} is {raw!r}, but must be {problem}.", param=name) from None


def _draft(entry: Entry, draft: Entry) -> Entry:
    if draft.name == entry.name:
        raise RequestError(f"{entry.name} cannot be its own draft.", hint="Name a smaller model.", param="draft")
    if draft.task != _TEXT:
        raise RequestError(f"{draft.name} is a model for {draft.task} and cannot draft text.", param="draft")
    return draft
