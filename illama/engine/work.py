"""The requests that an engine works on, as the host follows them.

Knows: what has come of them and who waits for it. Does not know: the process, its pipe, HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from illama.errors import CancelledError, IllamaError


@dataclass
class Batch:
    """What has come since the last look: text, the number of tokens it is made of, and their log probabilities."""

    text: str = ""
    tokens: int = 0
    logprobs: list[list[Any]] = field(default_factory=list)


class Generation:
    """One request under way in an engine.

    Its text is kept until it is read, so a slow reader holds up nobody; the answer's own limit bounds what is kept.
    `accepted` resolves when the engine took the request in, and raises what it was refused with.
    """

    def __init__(self, id: int, cancel: Callable[[int], None]) -> None:
        self.id = id
        self.summary: dict[str, Any] | None = None
        self.error: IllamaError | None = None
        self.accepted: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.read = 0  # tokens of the prompt, as far as the engine tells
        self._cancel = cancel
        self._batch = Batch()
        self._waiters: list[asyncio.Future[None]] = []
        self._on_end: list[Callable[[], None]] = []

    @property
    def ended(self) -> bool:
        """Whether the engine is done with it."""
        return self.summary is not None or self.error is not None

    def when_ended(self, callback: Callable[[], None]) -> None:
        """Call back once the engine is done with it, or at once if it is."""
        if self.ended:
            callback()
        else:
            self._on_end.append(callback)

    def cancel(self) -> None:
        """Ask the engine to drop it; it ends within a step."""
        if not self.ended:
            self._cancel(self.id)

    async def news(self) -> None:
        """Wait until `next` has something to say."""
        while not (self._batch.tokens or self._batch.text or self.ended):
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    async def next(self) -> Batch | None:
        """Wait for text and return all there is; None when the answer is complete. Raises what it failed with."""
        await self.news()
        if self._batch.tokens or self._batch.text:
            batch, self._batch = self._batch, Batch()
            return batch
        if self.error:
            raise self.error
        if self.summary and self.summary["finish_reason"] == "cancelled":
            raise CancelledError("The request was cancelled.")
        return None

    def add(self, text: str, tokens: int, logprobs: list[list[Any]] | None) -> None:
        """Note what a step brought."""
        self._batch.text += text
        self._batch.tokens += tokens
        if logprobs:
            self._batch.logprobs.extend(logprobs)
        self._wake()

    def _wake(self) -> None:
        if self._waiters:
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)
            self._waiters.clear()

    def end(self, *, summary: dict[str, Any] | None = None, error: IllamaError | None = None) -> None:
        """Note how it ended. Only the first end counts."""
        if self.ended:
            return
        self.summary, self.error = summary, error
        if error and not self.accepted.done():
            self.accepted.set_exception(error)
            self.accepted.exception()  # read here, so that nobody's not asking is no warning
        self._wake()
        for callback in self._on_end:
            callback()


class Call:
    """One `embed` or `rerank` under way in an engine. `result()` waits for the engine's answer to it."""

    def __init__(self, id: int, cancel: Callable[[int], None]) -> None:
        self.id = id
        self._cancel = cancel
        self._ended = False
        self._on_end: list[Callable[[], None]] = []
        self._future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

    async def result(self) -> dict[str, Any]:
        """The engine's `result` message. Raises what it was refused with; when cancelled, the engine drops it."""
        try:
            return await self._future
        except asyncio.CancelledError:
            # The engine may be at work on it: it ends when the engine says so.
            if not self._ended:
                self._cancel(self.id)
            raise

    def when_ended(self, callback: Callable[[], None]) -> None:
        """Call back once the engine is done with it, or at once if it is."""
        if self._ended:
            callback()
        else:
            self._on_end.append(callback)

    def end(self, *, summary: dict[str, Any] | None = None, error: IllamaError | None = None) -> None:
        """Note how it ended. Only the first end counts."""
        if self._ended:
            return
        self._ended = True
        if self._future.done():  # cancelled: nobody waits any more
            pass
        elif error:
            self._future.set_exception(error)
            self._future.exception()  # read here, so that nobody's not asking is no warning
        elif summary is not None:
            self._future.set_result(summary)
        for callback in self._on_end:
            callback()
