"""A pull as its client sees it: progress to iterate over, and what becomes of the pull when one leaves.

Knows: lines of progress, interrupts, what is said about them. Does not know: connections; `sync` and `aio` open them.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from illama.errors import HostError, IllamaError, NotFoundError

# A kernel that is shut down is interrupted first, and is told why a moment later. Seconds that this may take.
_TOLD_WITHIN = 1.0


@dataclass(frozen=True)
class Stopped:
    """How a stop came out. `state` is "cancelled", "running" (`others` still watch), "over", "unknown" or "left"."""

    source: str
    state: str
    others: int = 0
    problem: str = ""

    def sentence(self, command: str = "illama") -> str:
        """What happened, and how to see or stop the pull later, by a command's or a magic's name."""
        see = f"`{command} ps` shows it, `{command} pull --cancel {self.source}` stops it for all."
        if self.state == "cancelled":
            kept = f"what was fetched is kept, and `{command} pull {self.source}` goes on from there"
            return f"The pull of {self.source} is cancelled; {kept}."
        if self.state == "running":
            who = "another one waits" if self.others == 1 else f"{self.others} others wait"
            return f"The pull of {self.source} goes on, as {who} for it. {see}"
        if self.state == "over":
            return f"The pull of {self.source} had ended already: `{command} list` shows what is installed."
        if self.state == "left":
            return f"The pull of {self.source} goes on in the host. {see}"
        return f"The host could not be told to stop the pull of {self.source}: {self.problem} {see}"


class Pulling:
    """A pull's progress: iterate over it, once. Each item is one of `Client.pull`'s.

    Whoever leaves has only stopped watching, and the pull goes on in the host; `stop()` asks the host to cancel it,
    which it does if nobody else watches. An interrupt (Ctrl-C, a notebook's stop button) while it is iterated over, or
    within its `with` block, calls `stop()`; `stopped` then says how that came out.
    """

    def __init__(
        self, source: str, lines: Generator[dict[str, Any], None, None], ask: Callable[[], dict[str, Any] | None]
    ) -> None:
        self._source, self._lines, self._ask = source, lines, ask
        self.stopped: Stopped | None = None

    def __iter__(self) -> Pulling:
        return self

    def __next__(self) -> dict[str, Any]:
        try:
            return next(self._lines)
        except KeyboardInterrupt:
            self.stop()
            raise

    def __enter__(self) -> Pulling:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self.stop()
        self.close()

    def close(self) -> None:
        """Stop watching. The pull goes on."""
        self._lines.close()

    def stop(self) -> Stopped:
        """Ask the host to cancel the pull, which it does unless somebody else watches it. Raises nothing."""
        if self.stopped is None:
            self.stopped = Stopped(self._source, "left") if _is_ending() else stopping(self._source, self._ask)
            with contextlib.suppress(ValueError):  # another thread is reading: it comes to the end by itself
                self.close()
        return self.stopped


def stopping(source: str, ask: Callable[[], dict[str, Any] | None]) -> Stopped:
    """Ask the host, by a call that gives its answer or None if it has gone, and say how that came out."""
    try:
        told = ask()
    except NotFoundError:
        return Stopped(source, "over")
    except IllamaError as problem:
        return Stopped(source, "unknown", problem=problem.message)
    return read(source, told)


def broke_off(source: str) -> HostError:
    """The error for a pull whose end was never told."""
    return HostError(
        f"The connection to the host broke off in the middle of the pull of {source}.",
        hint="Pull again: that joins it if it goes on, and else goes on from what has come.",
    )


def read(source: str, told: dict[str, Any] | None) -> Stopped:
    """What the host's answer to a stop means; None is that of a host that has gone, and its pulls with it."""
    state = str(told.get("state")) if told else "cancelled"
    if state in {"success", "failed"}:
        state = "over"
    others = told.get("watchers") if told else 0
    return Stopped(source, state, others if isinstance(others, int) else 0)


def _is_ending() -> bool:
    """Whether this is a notebook's kernel that is being shut down or restarted: then nobody has pressed stop.

    Jupyter interrupts a kernel before it asks it to end, so that a busy one listens; by that alone the two cannot be
    told apart.
    """
    module = sys.modules.get("ipykernel.kernelapp")
    if module is None or not module.IPKernelApp.initialized():
        return False
    kernel = module.IPKernelApp.instance().kernel
    until = time.monotonic() + _TOLD_WITHIN
    while time.monotonic() < until:
        if getattr(kernel, "_shutdown_message", None) is not None:
            return True
        time.sleep(0.02)
    return False
