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
        self._phases: dict[str, dict[str, Any]] = {}
        self._last = ""

    def show(self, event: Mapping[str, Any]) -> None:
        """See `Place`."""
        if event.get("status") == "success":
            self._last = finished(event)
        else:
            # Events without a phase are remarks on the phase under way; before the first they are a phase of their own.
            phase = str(event.get("phase") or next(reversed(self._phases), "start"))
            self._phases[phase] = {**self._phases.get(phase, {}), **event}
        self._draw(over=bool(self._last))

    def stopped(self, reason: str) -> None:
        """See `Place`."""
        if self._area.shown:
            self._last = reason
            self._draw(over=False)

    def _draw(self, *, over: bool) -> None:
        current = None if over else next(reversed(self._phases), None)
        running = current if not self._last else None
        rows = [_row(event, name == current, name == running) for name, event in self._phases.items()]
        table = f"<table>{''.join(rows)}</table>" if rows else ""
        words = [_words(event) for event in self._phases.values()]
        self._area.show(
            {
                "text/html": table + (f"<div>{neutral.as_html(self._last)}</div>" if self._last else ""),
                "text/plain": neutral.plain("\n".join([*words, *([self._last] if self._last else [])])),
            }
        )


def _row(event: Mapping[str, Any], current: bool, running: bool) -> str:
    total, completed = event.get("total"), event.get("completed")
    if not current:
        bar = '<progress value="1" max="1"></progress>'
    elif total and completed is not None:
        bar = f'<progress value="{int(completed)}" max="{int(total)}"></progress>'
    else:
        bar = "<progress></progress>" if running else '<progress value="0" max="1"></progress>'
    cells = (neutral.as_html(str(event.get("status", ""))), bar, neutral.as_html(_amount(event)))
    return "<tr>" + "".join(f'<td style="text-align:left">{cell}</td>' for cell in cells) + "</tr>"


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


def finished(event: Mapping[str, Any]) -> str:
    """What a pull's last event says."""
    name = event.get("name", "The model")
    return f"{name} was here already." if event.get("existing") else f"{name} is ready."


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
