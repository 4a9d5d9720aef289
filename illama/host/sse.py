"""A handler that answers with an event stream: its headers, its comments while it waits, its frames.

Knows: server-sent events as OpenAI's clients read them. Does not know: what the frames hold.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from illama.errors import IllamaError
from illama.host.base import Handler
from illama.host.schema import ChatRequest
from illama.registry import Entry

# Seconds between two comments in a stream that waits.
PING_EVERY = 2.0
DONE = b"data: [DONE]\n\n"


def frame(body: object) -> bytes:
    """One event."""
    return b"data: " + msgspec.json.encode(body) + b"\n\n"


class EventStream(Handler):
    """Opens the stream when the engine has accepted, or when the client has waited long enough for a status."""

    def begin_events(self) -> None:
        """Set the headers of an event stream."""
        self.set_header("Content-Type", "text/event-stream; charset=utf-8")
        self.set_header("Cache-Control", "no-cache")
        self.set_header("X-Accel-Buffering", "no")  # reverse proxies that buffer know this header

    async def images_embedded(self, request: ChatRequest, entry: Entry) -> bool:
        """Fetch the images that a chat names by address, where that is allowed. False: the client has gone."""
        if not self.host.settings.image_urls:
            return True
        # Imported here: it brings an HTTP client, for which the start of a host that fetches nothing need not wait.
        from illama.host.remote_images import Fetcher

        return bool(await self.while_here(Fetcher().embed(request, entry)))

    async def pinging(self, work: Awaitable[None], wait: float, describe: Callable[[], str]) -> bool:
        """Await something, telling the client what it waits for. False, with `work` cancelled: the client has gone.

        `wait` is the number of seconds before the first comment, which opens the stream if it is not open yet.
        """
        task, gone = asyncio.ensure_future(work), asyncio.ensure_future(self.gone.wait())
        either: set[asyncio.Future[Any]] = {task, gone}
        try:
            while True:
                await asyncio.wait(either, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
                if task.done():
                    task.result()
                    return True
                if self.gone.is_set():
                    return False
                self.begin_events()
                if not await self.push(f": {describe()}\n\n".encode()):
                    return False
                wait = min(PING_EVERY, max(wait, 0.1) * 2)
        finally:
            gone.cancel()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, IllamaError):
                await task

    async def fail_stream(self, error: IllamaError) -> None:
        """End a stream that has begun with an error. Raises the error if it has not: it gets a status of its own."""
        if not self.streaming:
            raise error
        await self.push(frame(self.shape(error)) + DONE)
