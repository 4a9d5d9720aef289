"""Whether a model fits into what is free, and whether its memory came back.

Knows: what a model takes, what is refused and in which words. Does not know: where figures come from (`memory`), slots.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from illama.errors import LoadError
from illama.host.memory import Room

_GIB = 2**30
# What an engine takes beside weights and KV cache. Measured on a CPU with a model of 135 million parameters: 0.30 GiB,
# of which 0.06 are Python with OpenVINO GenAI, the rest the tokenizer's tables, the compiled graph, a step's buffers.
# The tenth of the weights is an allowance for what grows with a model, not measured: activations, repacked weights.
_ENGINE = int(0.35 * _GIB)
_PER_WEIGHTS = 0.1
# Memory that is not back to this exactness may be anybody's: a browser's tab, a desktop's window.
_TOLERANCE = 64 * 2**20
_TOLERANCE_SHARE = 0.05
# Seconds between two looks: soon at first, as the next load waits for this.
_FIRST_LOOK, _LAST_LOOK = 0.01, 0.25


@dataclass(frozen=True)
class Need:
    """What a model will take, in bytes.

    The KV cache counts in full also on a CPU, where its pages are taken only when they are first written: what was
    promised and is not there would be an engine killed in the middle of an answer. The weights count in full also where
    they are a mapped file: what is dropped of them would be read from the disk again for each token.
    """

    weights: int
    kv_cache: int
    overhead: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.kv_cache + self.overhead


@dataclass(frozen=True)
class Returned:
    """How a wait for memory ended: after so many seconds, with so many bytes `missing` (None: nobody tells)."""

    seconds: float
    missing: int | None


def need(weights: int, kv_cache: int) -> Need:
    """What a model with so many bytes of weights and KV cache will take."""
    return Need(weights, kv_cache, _ENGINE + int(weights * _PER_WEIGHTS))


def fits(model: str, needed: Need, room: Room) -> None:
    """Return if a model fits into what is free. Raises LoadError with the figures and what to do.

    Where nobody tells what is free, only what can never fit is refused.
    """
    limit = room.total if room.free is None else room.free
    if limit is None or needed.total <= limit:
        return
    parts = (
        f"weights {_gib(needed.weights)}, KV cache {_gib(needed.kv_cache)} and the engine {_gib(needed.overhead)} GiB"
    )
    if room.total is not None and needed.total > room.total:
        has = f"{room.where} is {_gib(room.total)} GiB in all"
        hint = "Pull a smaller model or weight format, or use a device with more memory (ILLAMA_DEVICE)."
    else:
        has = f"{'' if room.exact else 'at most '}{_gib(limit)} GiB of {room.where} are free"
        if room.total is not None:
            has += f", of {_gib(room.total)}"
        hint = (
            "End other programs that use it, unload models (`illama ps`, `illama stop MODEL`), "
            "or pull a smaller weight format."
        )
    raise LoadError(f"{model} does not fit: it needs {_gib(needed.total)} GiB ({parts}), but {has}.", hint=hint)


async def watch_return(
    before: int,
    held: int,
    read: Callable[[], Awaitable[int | None]],
    timeout: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Returned:
    """After an unload, wait until the memory is back, at most `timeout` seconds; the first look is at once.

    `before` is what was used of the device (`Room.used`) just before, `held` what the engine held of it (on a GPU
    `drm.Use.own`, on a CPU `Usage.private`); `read` tells what is used now, by whomever, or None if nobody tells. Back
    means: within 64 MiB or a twentieth of `held`, as others use the device too.
    """
    began, pause = clock(), _FIRST_LOOK
    goal = before - held
    tolerance = max(_TOLERANCE, int(held * _TOLERANCE_SHARE))
    while True:
        now = await read()
        seconds = clock() - began
        if now is None:
            return Returned(seconds, None)
        if now <= goal + tolerance:
            return Returned(seconds, 0)
        if seconds >= timeout:
            return Returned(seconds, now - goal)
        await sleep(min(pause, timeout - seconds))
        pause = min(pause * 2, _LAST_LOOK)


def _gib(count: int) -> str:
    return f"{count / _GIB:.1f}"
