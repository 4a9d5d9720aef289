"""Pieces of a streamed answer, written at once and without a task, a timer or a future for those that fit.

Knows: Tornado's connections, chunks of HTTP/1.1, the patience with slow readers. Does not know: what is written.

Tornado's own `flush` makes futures and a turn of the loop for each piece; a stream of tokens is nothing but pieces.
Here a piece goes straight into the socket. Only what the socket does not take waits, and only then there is a timer.
"""

from __future__ import annotations

import asyncio
from typing import Any

from tornado import iostream, web

# Seconds that a reader may take to make room for more, before it is taken for gone.
WRITE_PATIENCE = 120.0


async def push(handler: web.RequestHandler, data: bytes) -> bool:
    """Write a piece of the body. False: the client reads so slowly that it might as well have gone.

    Raises StreamClosedError if it has gone.
    """
    stream = _chunked(handler)
    if stream is None:
        handler.write(data)
        flushed = handler.flush()
        # A first token must not wait for the acknowledgement of the headers.
        first = getattr(handler.request.connection, "stream", None)
        if isinstance(first, iostream.IOStream) and not first.closed():
            first.set_nodelay(True)
    else:
        left = _send(stream, b"%x\r\n%b\r\n" % (len(data), data)) if data else b""
        if not left:
            return True
        flushed = stream.write(left)
    if not flushed.done():
        await asyncio.wait({flushed}, timeout=WRITE_PATIENCE)
    if flushed.done():
        flushed.result()
        return True
    return False


def _chunked(handler: web.RequestHandler) -> Any:
    """The stream of an answer whose headers are out and whose body is chunked and nothing else; None for others."""
    connection = handler.request.connection
    # Tornado keeps to itself what it decided of an answer. Whoever does not know these names gets the usual way.
    told = getattr(handler, "_headers_written", False) and getattr(connection, "_chunking_output", False)
    if not told or getattr(handler, "_transforms", True):
        return None
    return getattr(connection, "stream", None)


def _send(stream: iostream.IOStream, data: bytes) -> bytes:
    """Give the socket what it takes; return the rest."""
    if stream.closed():
        raise iostream.StreamClosedError
    if stream.writing():
        return data
    try:
        return data[stream.write_to_fd(memoryview(data)) :]
    except BlockingIOError:
        return data
    except OSError as problem:
        stream.close((type(problem), problem, problem.__traceback__))
        raise iostream.StreamClosedError(real_error=problem) from problem
