"""How a pull tells what it is doing, and how it hears that nobody wants it any more.

Knows: lines of progress, their rate, cancelling. Does not know: where the lines go, or what is being done.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from illama.errors import CancelledError

INTERVAL_SEC = 0.1
HEARTBEAT_SEC = 1.0


class Progress:
    """Sends lines such as {"status", "phase", "completed", "total"} to `emit`: at most ten a second of one status, and
    one a second where there is nothing to count.

    `cancel` may be called from any thread; the next report then raises CancelledError. Whatever takes long reports
    often, so a pull stops within a fraction of a second.
    """

    def __init__(self, emit: Callable[[dict[str, Any]], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._emit = emit
        self._clock = clock
        self._cancelled = threading.Event()
        self._last: tuple[str, float] = ("", 0.0)

    def cancel(self) -> None:
        """Make the next report raise CancelledError."""
        self._cancelled.set()

    def check(self) -> None:
        """Raise CancelledError if the pull was cancelled."""
        if self._cancelled.is_set():
            raise CancelledError("The pull was stopped.", hint="Nothing half-made was kept; pull again when you like.")

    def wait(self, seconds: float) -> None:
        """Pause. Raises CancelledError at once when the pull is cancelled."""
        self._cancelled.wait(seconds)
        self.check()

    def report(self, phase: str, status: str, completed: int | None = None, total: int | None = None) -> None:
        """Send a line, unless one of the same status went out just before. Bytes, where there is something to count.

        Raises CancelledError.
        """
        self.check()
        now = self._clock()
        finished = completed is not None and completed == total
        interval = HEARTBEAT_SEC if completed is None else INTERVAL_SEC
        if self._last[0] == status and now - self._last[1] < interval and not finished:
            return
        self._last = (status, now)
        counts = {} if completed is None or total is None else {"completed": completed, "total": total}
        self._emit({"status": status, "phase": phase, **counts})
