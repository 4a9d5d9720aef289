"""Shows a pull while it runs: in a cell and in a terminal one bar for each phase, elsewhere plain lines.

Knows: the events of a pull (`status`, `phase`, `completed`, `total` in bytes). Does not know: where they come from.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Protocol

from illama.cli import text
from illama.notebook import neutral
from illama.notebook.display import Area, in_notebook
from illama.notebook.phases import Phases, finished

_TENTHS = 10


class Place(Protocol):
    """A place where one pull is shown."""

    def show(self, event: Mapping[str, Any]) -> None:
        """Show the next event."""

    def stopped(self, reason: str) -> None:
        """Say that there is no more to come, and why."""


def place(shell: Any, *, live: bool) -> Place:
    """The place for a pull in this shell. Unless `live`, there is one line for each phase and no numbers."""
    if live and in_notebook(shell):
        return Bars(Area(shell))
    if live and sys.stderr.isatty():
        return TerminalBars()
    return Lines(numbers=live)


class Bars:
    """One HTML table in one display: a row with a bar for each phase."""

    def __init__(self, area: Area) -> None:
        self._area = area
        self._phases = Phases()

    def show(self, event: Mapping[str, Any]) -> None:
        """See `Place`."""
        if event.get("status") == "success":
            self._phases.end(finished(event), well=True)
        else:
            self._phases.add(event)
        self._draw()

    def stopped(self, reason: str) -> None:
        """See `Place`."""
        if self._area.shown:
            self._phases.end(reason, well=False)
            self._draw()

    def _draw(self) -> None:
        self._area.show({"text/html": self._phases.html(), "text/plain": self._phases.plain()})


class TerminalBars:
    """The command's bars: one for each phase, on stderr."""

    def __init__(self) -> None:
        from illama.cli.pull import Progress

        self._bars = Progress()

    def show(self, event: Mapping[str, Any]) -> None:
        """See `Place`."""
        self._bars.show(dict(event))
        if event.get("status") == "success":
            self._bars.close()
            print(finished(event))  # noqa: T201

    def stopped(self, reason: str) -> None:
        """See `Place`."""
        self._bars.close()
        print(reason)  # noqa: T201


class Lines:
    """Plain lines: one when a phase begins, and with `numbers` one for each further tenth of it."""

    def __init__(self, *, numbers: bool) -> None:
        self._numbers = numbers
        self._seen: tuple[Any, int] | None = None

    def show(self, event: Mapping[str, Any]) -> None:
        """See `Place`."""
        if event.get("status") == "success":
            print(finished(event))  # noqa: T201
            return
        total, completed = event.get("total"), event.get("completed")
        tenth = int(_TENTHS * completed / total) if self._numbers and total and completed else 0
        seen = (event.get("phase") or event.get("status"), tenth)
        if seen != self._seen:
            self._seen = seen
            print(neutral.plain(_words(event) if self._numbers else str(event.get("status", ""))), flush=True)  # noqa: T201

    def stopped(self, reason: str) -> None:
        """See `Place`."""
        if self._seen:
            print(reason)  # noqa: T201


def _words(event: Mapping[str, Any]) -> str:
    amount = _amount(event)
    return f"{event.get('status', '')}{'  ' + amount if amount else ''}"


def _amount(event: Mapping[str, Any]) -> str:
    total, completed = event.get("total"), event.get("completed")
    if completed is None:
        return ""
    if not total:
        return text.size(completed)
    return f"{text.size(completed)} of {text.size(total)}"
