"""What an interrupt of a cell becomes: one line instead of a stack.

Knows: KeyboardInterrupt, how IPython shows an exception. Does not know: what was interrupted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from illama.paths import private

T = TypeVar("T")


class Stopped(KeyboardInterrupt):
    """The user interrupted the cell. It fails, so that "Run all" stops here, and shows one line instead of a stack."""

    def _render_traceback_(self) -> list[str]:
        return [private(f"KeyboardInterrupt: {self}")]


def interruptible(call: Callable[[], T], after: str) -> T:
    """What the call returns. An interrupt becomes a `Stopped` that says how things are after it."""
    try:
        return call()
    except KeyboardInterrupt:
        raise Stopped(after) from None
