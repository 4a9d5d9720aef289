"""One embedding or rerank request from its place in the queue to its result, whichever dialect asked for it.

Knows: leases, the engine's calls, times. Does not know: HTTP, either dialect's field names.
"""

from __future__ import annotations

import array
import base64
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from illama.engine.protocol import Facts
from illama.host.dispatcher import Dispatcher
from illama.registry import Entry


@dataclass(frozen=True)
class Encoded:
    """What the engine made: `vectors` in base64 of little-endian float32 or `scores`, and each text's tokens.

    Times are in seconds: of the load that was waited for, and of all from the request's arrival on.
    """

    vectors: list[str]
    scores: list[float]
    tokens: list[int]
    load: float
    total: float

    @property
    def timings(self) -> dict[str, Any]:
        """The figures for the metrics, in the names of a chat's."""
        return {"prompt_n": sum(self.tokens), "cached_n": 0, "predicted_n": 0}


async def encode(
    dispatcher: Dispatcher,
    entry: Entry,
    message: Callable[[Facts], dict[str, Any]],
    keep_alive: float | None,
    device: str | None,
) -> Encoded:
    """Have a request worked on; `message` makes the engine's, without id, once it is known what engine there is.

    When the caller is cancelled, the place in the queue, or what the engine has not begun, is given back.
    """
    began = time.monotonic()
    place = await dispatcher.enter(entry, keep_alive, device)
    lease = await place.granted()
    try:
        assert lease.engine.facts is not None, "a lease is of a loaded engine"
        call = lease.engine.call(message(lease.engine.facts))
    except BaseException:
        lease.release()
        raise
    # The lease ends when the engine is done, not when the client has gone.
    call.when_ended(lease.release)
    result = await call.result()
    total = time.monotonic() - began
    vectors, scores = result.get("vectors", []), result.get("scores", [])
    return Encoded(vectors, scores, result["tokens"], lease.load_ms / 1000, total)


def floats(packed: str) -> list[float]:
    """The numbers of a vector in base64."""
    numbers = array.array("f", base64.b64decode(packed))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()
