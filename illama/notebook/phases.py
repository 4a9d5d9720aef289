"""The phases of a pull as a person reads them: how far each is, how fast it goes, how long it may still take.

Knows: the events of a pull (`status`, `phase`, `completed`, `total` in bytes), HTML. Does not know: where the events
come from, or where this is shown.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from illama.cli import text
from illama.notebook import neutral

# Seconds over which the rate is taken, and how long a phase has to run before there is one.
_WINDOW = 5.0
_ENOUGH = 0.5
_LEFT = 'style="text-align:left"'
# Figures that change ten times a second must not make a line now one and now two lines high.
_STYLES = (_LEFT, _LEFT, 'style="text-align:left;white-space:nowrap;font-variant-numeric:tabular-nums"')


class Phases:
    """The phases of one pull in their order, the last one under way until `end` is called."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._phases: dict[str, dict[str, Any]] = {}
        self._seen: deque[tuple[float, int]] = deque()
        self._running = True
        self._last = ""

    @property
    def current(self) -> str:
        """The name of the latest phase; empty before the first event."""
        return next(reversed(self._phases), "")

    def add(self, event: Mapping[str, Any]) -> None:
        """Take the next event; not the last one, which says that the pull has gone well."""
        before = self.current
        # Events without a phase are remarks on the phase under way; before the first they are a phase of their own.
        phase = str(event.get("phase") or before or "start")
        known = self._phases.pop(phase, {})  # a phase that comes again is the latest one again
        if phase != before or event.get("status") != known.get("status"):
            self._seen.clear()
        self._phases[phase] = {**known, **event}
        completed = event.get("completed")
        if completed is not None:
            self._count(int(completed))

    def _count(self, completed: int) -> None:
        now = self._clock()
        if self._seen and completed < self._seen[-1][1]:
            self._seen.clear()
        self._seen.append((now, completed))
        while len(self._seen) > 2 and now - self._seen[0][0] > _WINDOW:
            self._seen.popleft()

    def end(self, words: str, *, well: bool) -> None:
        """No more comes; `words` say why. If it went well, the last phase has come to its end too."""
        self._running = False
        self._last = words
        if well:
            self._phases = {name: {**event, "over": True} for name, event in self._phases.items()}

    @property
    def rate(self) -> float | None:
        """Bytes per second of the phase under way; None while nobody can tell."""
        if not self._running or len(self._seen) < 2:
            return None
        (first, had), (last, has) = self._seen[0], self._seen[-1]
        return (has - had) / (last - first) if last - first >= _ENOUGH and has > had else None

    @property
    def seconds_left(self) -> float | None:
        """How long the phase under way may still take; None while nobody can tell."""
        total, rate = self._phases.get(self.current, {}).get("total"), self.rate
        return max(0, total - self._seen[-1][1]) / rate if total and rate else None

    def html(self) -> str:
        """A table with a bar for each phase, and what was said at the end."""
        rows = "".join(self._row(name) for name in self._phases)
        table = f"<table>{rows}</table>" if rows else ""
        return table + (f"<div>{neutral.as_html(self._last)}</div>" if self._last else "")

    def plain(self) -> str:
        """The same in lines of text."""
        lines = [f"{event.get('status', '')}  {self._amount(name)}".rstrip() for name, event in self._phases.items()]
        return neutral.plain("\n".join([*lines, *([self._last] if self._last else [])]))

    def _over(self, name: str) -> bool:
        return name != self.current or bool(self._phases[name].get("over"))

    def _row(self, name: str) -> str:
        event = self._phases[name]
        status = neutral.as_html(str(event.get("status", "")))
        cells = (status, f'<progress aria-label="{status}"{self._extent(name)}></progress>', self._amount(name))
        return (
            "<tr>" + "".join(f"<td {style}>{cell}</td>" for cell, style in zip(cells, _STYLES, strict=True)) + "</tr>"
        )

    def _extent(self, name: str) -> str:
        event = self._phases[name]
        if self._over(name):
            return ' value="1" max="1"'
        if event.get("total") and event.get("completed") is not None:
            return f' value="{int(event["completed"])}" max="{int(event["total"])}"'
        return "" if self._running else ' value="0" max="1"'

    def _amount(self, name: str) -> str:
        event = self._phases[name]
        total, completed = event.get("total"), event.get("completed")
        if self._over(name):
            return f"{text.size(total)}, done" if total else "done"
        if completed is None:
            return ""
        parts = [f"{text.size(completed)} of {text.size(total)}" if total else text.size(completed)]
        if total:
            parts.append(f"{100 * int(completed) // int(total)} %")
        if self.rate is not None:
            parts.append(f"{text.size(self.rate)}/s")
        if self.seconds_left is not None:
            parts.append(f"{text.duration(self.seconds_left)} left")
        return " · ".join(parts)


def finished(event: Mapping[str, Any]) -> str:
    """What a pull's last event says."""
    name = event.get("name", "The model")
    return f"{name} was here already." if event.get("existing") else f"{name} is ready."
