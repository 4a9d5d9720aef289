"""What people read in a terminal: sizes, times, tables, one line about what goes on, and failures.

Knows: how things are written. Does not know: where they come from.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import TextIO

from illama.errors import IllamaError
from illama.paths import private

# A model's text may hold what a terminal takes for a command: all controls but the tab and the line feed.
_CONTROLS = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}


def size(count: int | float | None) -> str:
    """A number of bytes in decimal units, three digits: `98.4 MB`."""
    if count is None:
        return "-"
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.0f} {units[0]}" if units[0] == "B" or value >= 99.95 else f"{value:.1f} {units[0]}"


def duration(seconds: float) -> str:
    """A time in its largest unit: `9 minutes`."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'s' if count > 1 else ''}"
    count = round(max(seconds, 0))
    return f"{count} second{'' if count == 1 else 's'}"


def ago(moment: str | None, now: datetime | None = None) -> str:
    """How long ago an ISO 8601 time was: `2 hours ago`. What is no time is shown as it is."""
    try:
        then = datetime.fromisoformat((moment or "").replace("Z", "+00:00"))
    except ValueError:
        return moment or "-"
    if then.tzinfo is None:
        then = then.replace(tzinfo=timezone.utc)
    return duration(((now or datetime.now(timezone.utc)) - then).total_seconds()) + " ago"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns, as wide as their widest cell, three spaces apart."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join("   ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def dimmed(text: str) -> str:
    """The text as a terminal shows it with less weight."""
    return f"\x1b[2m{text}\x1b[22m"


def harmless(text: str) -> str:
    """The text without what a terminal would obey."""
    return text.translate(_CONTROLS)


def fail(error: IllamaError) -> None:
    """Say what went wrong, and on a second line what to do."""
    print("Error:", " ".join(private(harmless(error.message)).split()), file=sys.stderr)
    if error.hint:
        print(" ".join(private(harmless(error.hint)).split()), file=sys.stderr)


def warn(sentences: Iterable[str]) -> None:
    """Print warnings on stderr."""
    for sentence in sentences:
        print("Warning:", private(sentence), file=sys.stderr)


def say(what: str) -> None:
    """Print a line on stderr at once: how far a long run has come, where a StatusLine shows nothing."""
    print(what, file=sys.stderr, flush=True)


class StatusLine:
    """One line on stderr that says what is being waited for, and goes away. Only a terminal shows it."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._shown = False

    def show(self, what: str) -> None:
        """Replace the line."""
        if self._stream.isatty():
            self._shown = True
            self._stream.write(f"\r\x1b[K{' '.join(harmless(what).split())}")
            self._stream.flush()

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            self._shown = False
            self._stream.write("\r\x1b[K")
            self._stream.flush()


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Where a long run says how far it has come: a StatusLine, or lines where stderr is no terminal."""
    status = StatusLine()
    try:
        yield status.show if sys.stderr.isatty() else say
    finally:
        status.clear()
