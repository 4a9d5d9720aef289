"""`PullProgress`: fetch a model, and see how far it is.

Knows: a pull's events, its buttons. Does not know: what a pull does; the host does it, and goes on when nobody looks.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ipywidgets
from traitlets import Int, Unicode, observe

from illama.client import AsyncClient
from illama.client.pulling import Stopped
from illama.client.session import ClientBase
from illama.errors import CancelledError, ConverterNeededError, IllamaError, NotFoundError
from illama.notebook import neutral
from illama.notebook.phases import Phases, finished
from illama.pull.sources import localize
from illama.widgets.base import Part, common, quiet, teller, trouble
from illama.widgets.feed import feed_of, sharing

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from illama.client.wire import Wanted


@dataclass
class _Pull:
    """What is to be pulled, and whether it shall be cancelled when the watching ends."""

    source: str
    wanted: dict[str, Any]
    stopping: bool = False
    watcher: str = field(default_factory=lambda: secrets.token_hex(8))


class PullProgress(Part):
    """A pull with a bar for each phase, its rate and the time left, and a button that cancels it.

    `source` is what `illama pull` takes; `start()`, or the button, begins, or joins a pull that is under way. `wait()`
    blocks and `await` waits until it has ended. `state` is "idle", "running", "done", "cancelled", "left" (others wait
    for it, so it goes on) or "failed"; `phase`, `completed` and `total` are those of the latest event, in bytes;
    `name` is the model's name once it is there. `wanted` may have what `Client.pull` takes.

    Who closes the widget stops watching; the pull goes on.
    """

    source = Unicode("", help="what is pulled").tag(sync=True)
    name = Unicode("", help="the model's name, once it is there").tag(sync=True)
    phase = Unicode("", help="the phase under way").tag(sync=True)
    completed = Int(0, help="bytes of this phase").tag(sync=True)
    total = Int(0, help="bytes that this phase has; 0 if nobody knows").tag(sync=True)

    def __init__(self, source: str = "", *, client: ClientBase | None = None, **wanted: Unpack[Wanted]) -> None:
        self._wanted = dict(wanted)
        self._pull: _Pull | None = None
        self._phases = Phases()
        self._field = ipywidgets.Text(
            description="Pull", placeholder="smollm2", tooltip="A catalogue name, a repository, a file or a folder"
        )
        self._go = ipywidgets.Button(description="Pull", icon="download", tooltip="Fetch this model, or join its pull")
        self._cancel = ipywidgets.Button(
            description="Cancel", icon="times", tooltip="Cancel this pull, unless others wait for it", disabled=True
        )
        self._bars, self._note = ipywidgets.HTML(), ipywidgets.HTML()
        row = ipywidgets.HBox([self._field, self._go, self._cancel], layout=ipywidgets.Layout(flex_flow="row wrap"))
        super().__init__([row, self._bars, self._note], client)
        self.state = "idle"
        self.source = source
        self._field.value = source
        self._field.observe(self._typed, "value")
        self._go.on_click(self._clicked)
        self._cancel.on_click(lambda _: self.stop())

    def start(self) -> PullProgress:
        """Begin, or join the pull that is under way. What is running goes on as it is."""
        if self.state == "running":
            return self
        source = self.source.strip()
        if not source:
            self._over("failed", "There is nothing to pull yet: write a model's name, such as smollm2.")
            return self
        client = sharing(self._client)
        self._phases, self._pull = Phases(), _Pull(localize(source) if client.session.own else source, self._wanted)
        self.phase, self.completed, self.total, self.name, self.error = "", 0, 0, "", ""
        self._bars.value, self._note.value = "", quiet(f"Asking the host for {source} …")
        self.state = "running"
        self._begin(_pull(client, self._pull, teller(self, self._told)), PullProgress._ended)
        return self

    def stop(self) -> None:
        """Ask the host to cancel the pull, which it does unless others watch it. `state` says how that came out."""
        if self._pull is not None and self._activity is not None and self.state == "running":
            self._pull.stopping = True
            self._note.value = quiet("Cancelling …")
            self._activity.cancel()

    def wait(self, timeout: float | None = None) -> str:
        """Block until the pull has ended, and return the model's name; empty if it was not pulled in the end.

        Raises what it failed with, and TimeoutError after `timeout` seconds. An interrupt cancels the pull.
        """
        self._result(timeout)
        return self.name

    def __await__(self) -> Generator[Any, None, str]:
        yield from self._awaited()
        return self.name

    def fallback(self) -> tuple[str, str]:
        """See `Part`."""
        head = f"Pull of {self.source or 'a model'}: {self.state}"
        plain = "\n".join(
            part for part in (neutral.plain(head), self._phases.plain(), neutral.plain(self.error)) if part
        )
        return f"<div>{neutral.as_html(head)}</div>{self._bars.value}{self._note.value}", plain

    def _told(self, event: dict[str, Any]) -> None:
        if event.get("status") != "success":
            self._phases.add(event)
            self.phase = self._phases.current
            self.completed, self.total = int(event.get("completed") or 0), int(event.get("total") or 0)
            self._note.value = ""
            self._bars.value = common(self._phases.html())

    def _ended(self, result: dict[str, Any] | Stopped | None, problem: IllamaError | None) -> None:
        if isinstance(problem, ConverterNeededError):
            self._over("failed", f"{problem.message} The button makes an environment for that, once, and pulls.")
            self._wanted["make_environment"] = True
            self._go.description = "Make it and pull"
        elif problem is not None:
            self._over("failed", problem.one_line())
        elif isinstance(result, Stopped):
            state = {"cancelled": "cancelled", "running": "left", "over": "left"}.get(result.state, "failed")
            words = result.sentence("%illama")
            self._over(state, words if state == "failed" else "", words)
        elif result is not None:
            self.name = str(result.get("name") or self.source)
            self._over("done", "", finished(result))

    def _over(self, state: str, error: str, words: str = "") -> None:
        self._phases.end(words if state == "done" else state, well=state == "done")
        self._bars.value = common(self._phases.html()) if self.phase or state == "done" else ""
        self._note.value = trouble(error) if error else quiet(words) if state != "done" else ""
        self.error = error
        self.state = state
        feed_of(self._client).wake()

    def _clicked(self, _: Any) -> None:
        self.start()

    def _typed(self, change: Any) -> None:
        self.source = change.new

    @observe("source")
    def _named(self, change: Any) -> None:
        self._field.value = change.new

    @observe("state")
    def _switch(self, change: Any) -> None:
        running = change.new == "running"
        self._go.disabled = self._field.disabled = running
        self._cancel.disabled = not running
        self._go.description = "Pull again" if change.new in {"failed", "cancelled", "left"} else "Pull"


async def _pull(client: AsyncClient, pull: _Pull, tell: Callable[[dict[str, Any]], None]) -> dict[str, Any] | Stopped:
    """Watch a pull to its end: its last event, or how it was stopped."""
    last: dict[str, Any] = {}
    async with client:
        try:
            events = client.pull(pull.source, watcher=pull.watcher, **pull.wanted)
            async with contextlib.aclosing(events):
                async for last in events:
                    tell(last)
        except CancelledError:
            return Stopped(pull.source, "cancelled")  # somebody else has cancelled it
        except asyncio.CancelledError:
            if not pull.stopping:
                raise
            return await _stop(client, pull)
    return last


async def _stop(client: AsyncClient, pull: _Pull) -> Stopped:
    if client.session.known() is None:
        return Stopped(pull.source, "cancelled")  # with the host that had it
    try:
        return await client.stop_pull(pull.source, name=pull.wanted.get("name"), watcher=pull.watcher)
    except NotFoundError:
        return Stopped(pull.source, "over")
    except IllamaError as problem:
        return Stopped(pull.source, "unknown", problem=problem.message)
