"""What illama's widgets have in common: one activity at a time, an error told in place, a static form, an end.

Knows: ipywidgets, activities. Does not know: what the host is asked.

Traits change in the widgets' own thread, so they do while a cell runs, and their observers are called there. Clicks are
messages to the kernel: it takes them up when no cell runs, or while one awaits something.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Iterator
from concurrent.futures import wait
from functools import partial
from typing import Any, TypeVar

import ipywidgets
from traitlets import Unicode

from illama.client.session import ClientBase
from illama.errors import IllamaError
from illama.notebook import neutral
from illama.notebook.stopping import Stopped
from illama.widgets.feed import report
from illama.widgets.worker import Activity

T = TypeVar("T")

# ipywidgets' HTML has lines as high as a button.
_LINES = "line-height:1.5"
_VIEW = "application/vnd.jupyter.widget-view+json"


class Part(ipywidgets.VBox):
    """A widget of illama's. `state` is a word that says how it is, `error` what went wrong and what to do about it.

    `client` is an `illama.Client`, or None for the host that everybody here uses. `close()` ends all that the widget
    does, and its children.
    """

    state = Unicode("", help="how it is, in a word").tag(sync=True)
    error = Unicode("", help="what went wrong, and what to do about it").tag(sync=True)

    def __init__(self, children: list[Any], client: ClientBase | None, **layout: Any) -> None:
        self._client = client
        self._activity: Activity[Any] | None = None
        # The number of views, kept by the front end from here on: what nobody sees need not be up to date.
        super().__init__(children, _view_count=0, **layout)
        self._was_seen = False
        self.observe(self._viewed, "_view_count")

    @property
    def listening(self) -> bool:
        """Whether news are wanted: it is displayed, or never was (then its traits may be all that is used)."""
        return not self._was_seen or bool(self._view_count)

    def _viewed(self, change: Any) -> None:
        self._was_seen = self._was_seen or bool(change.new)

    def fallback(self) -> tuple[str, str]:
        """What is shown, as HTML and as text, where there are no widgets."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return self.fallback()[1]

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        html, plain = self.fallback()
        view = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        return {_VIEW: view, "text/html": html, "text/plain": plain}

    def close(self) -> None:
        """End what it does, and take it off the page."""
        if self._activity is not None:
            self._activity.cancel()
        for child in [*descendants(self), self.layout]:
            child.close()
        super().close()

    def _begin(self, work: Coroutine[Any, Any, T], ended: Callable[[Any, T | None, IllamaError | None], None]) -> None:
        """Have this done in the widgets' thread. `ended(self, result, problem)` is called there afterwards."""
        self._activity = Activity(work, partial(_ended, self, ended))

    def _settle(self, seconds: float) -> None:
        """Wait until what was begun has ended, however it has, but not longer than this."""
        if self._activity is not None:
            wait([self._activity.result], seconds)

    def stop(self) -> None:
        """Stop what it does. A widget that does nothing for long has nothing to stop."""

    def _result(self, timeout: float | None) -> Any:
        """Wait for what was begun; None if that was nothing, or the widget was closed.

        An interrupt of the cell stops it, and fails the cell with one line.
        """
        if self._activity is None:
            return None
        try:
            return self._activity.wait(timeout)
        except KeyboardInterrupt:
            self.stop()
            raise Stopped("stopped; the widget says how that came out.") from None

    def _awaited(self) -> Generator[Any, None, Any]:
        """The same for a cell that awaits the widget, which takes up clicks meanwhile."""
        if self._activity is None:
            return None
        try:
            # Shielded: whoever stops waiting has not ended what is waited for.
            return (yield from asyncio.shield(asyncio.wrap_future(self._activity.result)).__await__())
        except asyncio.CancelledError:
            self.stop()
            raise


def _ended(part: Part, ended: Callable[..., None], task: asyncio.Task[Any]) -> None:
    if part.comm is None or task.cancelled():
        return
    problem = task.exception()
    try:
        if problem is None:
            ended(part, task.result(), None)
        elif isinstance(problem, IllamaError):
            ended(part, None, problem)
        else:
            report(problem)
            name = type(problem).__name__
            ended(part, None, IllamaError(f"{name}: {problem}.", hint="The kernel's log has the whole of it."))
    except Exception as fault:  # noqa: BLE001 - an observer of the user's must not end the thread
        report(fault)


def teller(part: Part, method: Callable[..., None]) -> Callable[..., None]:
    """A function that calls this method of the widget, unless it is closed."""

    def tell(*values: Any) -> None:
        if part.comm is None:
            return
        try:
            method(*values)
        except Exception as problem:  # noqa: BLE001 - an observer of the user's must not end the work
            report(problem)

    return tell


def descendants(box: Any) -> Iterator[Any]:
    """The children of a box and theirs, with their layouts and styles, which are widgets too."""
    for child in getattr(box, "children", ()):
        if not isinstance(child, Part):  # that one sees to its own
            yield from descendants(child)
            yield from (part for part in (child.layout, getattr(child, "style", None)) if part is not None)
        yield child


def common(html: str) -> str:
    """HTML with the looks that the page gives to a cell's output, tables above all; wide ones scroll."""
    left = html.replace("<table>", '<table style="margin-left:0">')
    return f'<div class="jp-RenderedHTMLCommon" style="overflow-x:auto;{_LINES}">{left}</div>' if html else ""


def heading(text: str) -> str:
    """What a widget is about, as HTML."""
    return f'<div style="font-weight:bold;{_LINES}">{neutral.as_html(text)}</div>'


def trouble(text: str) -> str:
    """An error as HTML: said in words, not by colour alone."""
    style = f"color:var(--jp-error-color1,#b71c1c);{_LINES}"
    return f'<div role="alert" style="{style}">⚠ {neutral.as_html(text)}</div>' if text else ""


def quiet(text: str) -> str:
    """A remark as HTML."""
    return f'<div role="status" style="opacity:0.75;{_LINES}">{neutral.as_html(text)}</div>' if text else ""
