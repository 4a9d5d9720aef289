"""One request from its place in the queue to its last token, whichever dialect asked for it.

Knows: leases, generations, usage and timings. Does not know: HTTP, either dialect's field names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from illama.engine.protocol import Facts
from illama.engine.work import Batch, Generation
from illama.errors import ContextLengthError
from illama.host import tasks
from illama.host.dispatcher import Dispatcher, Lease, Place
from illama.registry import Entry


class Run:
    """Opens a generation and follows it.

    `message` makes the engine's `generate` message, without op and id, once it is known what engine there is.
    Raises RequestError for a model that generates nothing.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        entry: Entry,
        message: Callable[[Facts], dict[str, Any]],
        keep_alive: float | None,
        device: str | None = None,
    ) -> None:
        tasks.demand(entry, *tasks.GENERATES)
        self.entry = entry
        self._dispatcher = dispatcher
        self._message = message
        self._keep_alive = keep_alive
        self._device = device
        self._place: Place | None = None
        self._lease: Lease | None = None
        self._generation: Generation | None = None

    async def open(self) -> None:
        """Wait until the engine has accepted the request. Raises what it is refused with.

        When the caller is cancelled, the place in the queue, or the request in the engine, is given back.
        """
        self._place = await self._dispatcher.enter(self.entry, self._keep_alive, self._device)
        lease = self._lease = await self._place.granted()
        try:
            assert lease.engine.facts is not None, "a lease is of a loaded engine"
            message = self._message(lease.engine.facts)
            _check_length(message, lease.engine.facts)
            generation = self._generation = lease.engine.submit(message)
        except BaseException:
            lease.release()
            raise
        # The lease ends when the engine is done, not when the reader has read.
        generation.when_ended(lease.release)
        try:
            await asyncio.shield(generation.accepted)
        except asyncio.CancelledError:
            generation.cancel()
            raise

    def describe(self) -> str:
        """What is being waited for."""
        if self._generation:
            accepted = self._generation.accepted
            tokens = accepted.result()["prompt_tokens"] if accepted.done() and not accepted.exception() else 0
            read = f" ({100 * self._generation.read // tokens} %)" if tokens and self._generation.read else ""
            return f"reading the prompt{read}"
        return self._place.describe() if self._place else "queued"

    async def news(self) -> None:
        """Wait until there is something to read: text, the end, or a failure."""
        assert self._generation is not None, "open() comes first"
        await self._generation.news()

    async def next(self) -> Batch | None:
        """The next text there is, or None at the end. Raises what the generation failed with."""
        assert self._generation is not None, "open() comes first"
        return await self._generation.next()

    def cancel(self) -> None:
        """The client has gone."""
        if self._generation:
            self._generation.cancel()

    @property
    def prompt_end(self) -> str:
        """The last characters of the prompt's text, after `open`."""
        assert self._generation is not None, "open() comes first"
        end: str = self._generation.accepted.result()["prompt_end"]
        return end

    @property
    def answered(self) -> bool:
        """Whether the engine has finished it, so that there are figures."""
        return self._generation is not None and self._generation.summary is not None

    @property
    def summary(self) -> dict[str, Any]:
        """The engine's summary, after the end."""
        assert self._generation is not None, "open() comes first"
        assert self._generation.summary is not None, "the end has been seen"
        return self._generation.summary

    def timings(self) -> dict[str, Any]:
        """Counts, milliseconds and rates of this request, after the end.

        `ttft_ms` is the time from the request's arrival at the host to its first token: queue, load and prompt.
        """
        assert self._lease is not None, "open() comes first"
        done, lease = self.summary, self._lease
        computed = done["prompt_tokens"] - done["cached_tokens"]
        # The first token comes with the prompt; the rate is that of those after it.
        later = max(done["completion_tokens"] - 1, 0)
        return {
            "prompt_n": done["prompt_tokens"],
            "cached_n": done["cached_tokens"],
            "predicted_n": done["completion_tokens"],
            "prompt_ms": done["prompt_ms"],
            "predicted_ms": done["predicted_ms"],
            "prompt_per_second": _rate(computed, done["prompt_ms"]),
            "predicted_per_second": _rate(later, done["predicted_ms"]),
            "queue_ms": round(lease.queue_ms, 3),
            "load_ms": round(lease.load_ms, 3),
            "ttft_ms": round(lease.queue_ms + lease.load_ms + done["prompt_ms"], 3),
            "device": lease.device,
        }


def _check_length(message: dict[str, Any], facts: Facts) -> None:
    """Refuse without tokenizing what cannot possibly fit. Raises ContextLengthError."""
    texts = [part["content"] or "" for part in message.get("messages", ())]
    characters = sum(map(len, texts)) + len(message.get("prompt", ""))
    if characters > facts["max_prompt_chars"]:
        limit = facts["context_length"]
        at_least = characters * limit // facts["max_prompt_chars"]
        raise ContextLengthError.of(limit, at_least, at_least=True)


def _rate(tokens: int, milliseconds: float) -> float:
    return round(tokens / milliseconds * 1000, 3) if milliseconds > 0 else 0.0
