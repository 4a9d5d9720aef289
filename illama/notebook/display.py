"""Shows an answer while it is written: in a notebook's cell one display that is updated, in a terminal plain text.

Knows: IPython's display messages, Markdown and plain text, how often a page may be redrawn. Does not know: the model
host, the magics' grammar. A model's text is made harmless by `illama.notebook.neutral` before it gets here.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from illama.notebook import neutral

# Seconds between two updates: 12 a second look steady. Each carries the whole text, so long answers are redrawn less
# often: 0.08 s at first, 0.28 s at 20,000 characters.
_PAUSE = 0.08
_PAUSE_PER_CHARACTER = 1e-5
_QUIET = "opacity:0.65"


class Answer(Protocol):
    """A place where one answer is shown. `done` or `stopped` ends it."""

    def note(self, text: str) -> None:
        """Say what is being waited for; the answer's first piece replaces it."""

    def add(self, piece: str) -> None:
        """Show a further piece of the answer."""

    def done(self, summary: str, stamp: Mapping[str, Any] | None = None) -> None:
        """Show the whole answer, and a line about it unless `summary` is empty.

        Where the place is a cell, `stamp` goes into the output's metadata.
        """

    def stopped(self, reason: str) -> None:
        """Show what there is of the answer, if anything, marked with the reason why there is no more."""


def answer(shell: Any, form: str, *, live: bool) -> Answer:
    """The place for an answer in this shell: a cell's output or the terminal. `form` is "md", "text" or "json".

    Unless `live`, nothing is shown before the end, and then only once.
    """
    if in_notebook(shell):
        return CellAnswer(Area(shell), form, live=live)
    return TerminalAnswer(live=live)


def in_notebook(shell: Any) -> bool:
    """Whether the shell is a kernel, whose output is a page's, rather than a terminal."""
    return getattr(shell, "kernel", None) is not None


class Area:
    """One display of a cell: shown once, then updated in place."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._publisher = shell.display_pub
        self._id = uuid.uuid4().hex
        self.shown = False

    def show(self, bundle: Mapping[str, Any], metadata: Mapping[str, Any] | None = None) -> None:
        """Replace what the display shows by this bundle of MIME types."""
        self._publisher.publish(
            data=dict(bundle),
            metadata=dict(metadata or {}),
            transient={"display_id": self._id},
            update=self.shown,
        )
        self.shown = True

    def another(self) -> Area:
        """A display of its own below this one."""
        return Area(self._shell)


class CellAnswer:
    """An answer in a cell's output: Markdown or preformatted text, with a quiet line below it."""

    def __init__(
        self, area: Area, form: str, *, live: bool = True, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._area = area
        self._tree = form == "json"
        self._bundle = _markdown_bundle if form == "md" else _text_bundle
        self._live = live
        self._clock = clock
        self._pieces: list[str] = []
        self._length = 0
        self._due = 0.0

    def note(self, text: str) -> None:
        """See `Answer`."""
        if self._live and not self._pieces:
            self._draw(f"⏳ {text}")

    def add(self, piece: str) -> None:
        """See `Answer`."""
        self._pieces.append(piece)
        self._length += len(piece)
        if self._live and self._clock() >= self._due:
            self._draw("")

    def done(self, summary: str, stamp: Mapping[str, Any] | None = None) -> None:
        """See `Answer`."""
        metadata = {"illama": dict(stamp)} if stamp else {}
        value = _parsed("".join(self._pieces)) if self._tree else None
        if value is None:
            self._draw(summary, metadata)
            return
        # A tree has no room for the line below it, so that is a display of its own.
        plain = json.dumps(value, indent=2, ensure_ascii=False)
        bundle = {"application/json": value, "text/plain": neutral.plain(plain)}
        self._area.show(bundle, {"application/json": {"expanded": True}, **metadata})
        if summary:
            self._area.another().show(_text_bundle("", summary))

    def stopped(self, reason: str) -> None:
        """See `Answer`."""
        if self._pieces or self._area.shown:
            self._draw(f"■ {reason}")

    def _draw(self, line: str, metadata: Mapping[str, Any] | None = None) -> None:
        self._area.show(self._bundle("".join(self._pieces), line), metadata)
        self._due = self._clock() + _PAUSE + _PAUSE_PER_CHARACTER * self._length


def _parsed(text: str) -> Any:
    """The object or array that a text is, or None."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict | list) else None


def _markdown_bundle(text: str, line: str) -> dict[str, str]:
    small = f'<small style="{_QUIET}">{neutral.entities(line)}</small>' if line else ""
    shown = "\n\n".join(part for part in (neutral.markdown(text), small) if part)
    return {"text/markdown": shown, "text/plain": _plain(text, line)}


def _text_bundle(text: str, line: str) -> dict[str, str]:
    body = f'<pre style="white-space:pre-wrap">{neutral.as_html(text)}</pre>' if text else ""
    small = f'<small style="{_QUIET}">{neutral.as_html(line)}</small>' if line else ""
    return {"text/html": body + small, "text/plain": _plain(text, line)}


def _plain(text: str, line: str) -> str:
    return "\n\n".join(part for part in (neutral.plain(text), f"[{line}]" if line else "") if part)


class TerminalAnswer:
    """An answer in terminal IPython: pieces are written as they come, the rest of what is said goes to stderr."""

    def __init__(self, *, live: bool = True) -> None:
        self._live = live
        self._pieces: list[str] = []
        self._note = ""

    def note(self, text: str) -> None:
        """See `Answer`."""
        if self._live and not self._pieces and text != self._note:
            self._note = text
            print(f"({neutral.plain(text)})", file=sys.stderr, flush=True)  # noqa: T201

    def add(self, piece: str) -> None:
        """See `Answer`."""
        self._pieces.append(piece)
        if self._live:
            sys.stdout.write(neutral.plain(piece))
            sys.stdout.flush()

    def done(self, summary: str, stamp: Mapping[str, Any] | None = None) -> None:
        """See `Answer`."""
        self._end(summary)

    def stopped(self, reason: str) -> None:
        """See `Answer`."""
        if self._pieces:
            self._end(f"■ {reason}")

    def _end(self, line: str) -> None:
        if not self._live:
            sys.stdout.write(neutral.plain("".join(self._pieces)))
        sys.stdout.write("\n")
        sys.stdout.flush()
        if line:
            print(f"[{line}]", file=sys.stderr, flush=True)  # noqa: T201
