"""`HostStatus`: whether a host runs, what it has loaded and what it does.

Knows: the feed, tables. Does not know: HTTP. It only looks: the one thing that it does is to start the host.
"""

from __future__ import annotations

from typing import Any

import ipywidgets
from traitlets import Int, Tuple, Unicode, observe

from illama.cli import columns
from illama.client.session import ClientBase
from illama.errors import IllamaError
from illama.notebook import neutral, tables
from illama.widgets import worker
from illama.widgets.base import Part, common, heading, quiet, trouble
from illama.widgets.feed import News, feed_of, sharing
from illama.widgets.picker import connect

# Seconds that making one may wait for the host's first answer.
_WAIT = 5.0


class HostStatus(Part):
    """The host, the models that it has loaded, and its pulls; it follows them, over the host's restart too.

    `state` is "asking", "starting", "up" or "down"; `models` are the names of those installed, `loaded` of those loaded
    or on their way in or out, `jobs` the sources of the pulls under way; `running` and `queued` count requests;
    `version` is the host's. `rows` and `pulls` are the whole of it, as `Client.ps()` and `Client.jobs()` give it. It
    never starts a host by itself, and keeps no model loaded.
    """

    version = Unicode("", help="the host's version").tag(sync=True)
    models = Tuple(help="the models that are installed").tag(sync=True)
    loaded = Tuple(help="the models that are loaded").tag(sync=True)
    jobs = Tuple(help="the pulls under way").tag(sync=True)
    running = Int(0, help="requests at work").tag(sync=True)
    queued = Int(0, help="requests that wait").tag(sync=True)
    rows = Tuple(help="the loaded models, each with all that is known")
    pulls = Tuple(help="the pulls, each with all that is known")

    def __init__(self, *, client: ClientBase | None = None, **layout: Any) -> None:
        self._head, self._table, self._note = ipywidgets.HTML(), ipywidgets.HTML(), ipywidgets.HTML()
        self._start = ipywidgets.Button(description="Start the host", icon="power-off", tooltip="Start the model host")
        super().__init__([self._head, self._table, self._note, self._start], client, **layout)
        self._start.on_click(lambda _: self.start())
        self.state = "asking"
        self._feed = feed_of(client)
        self._feed.join(self)
        if not worker.here():
            self._feed.refresh(_WAIT)

    def start(self) -> HostStatus:
        """Start the host, unless one runs."""
        if self.state != "up" and (self._activity is None or self._activity.over):
            self.state, self.error = "starting", ""
            self._begin(connect(sharing(self._client)), HostStatus._started)
        return self

    def wait(self, timeout: float | None = None) -> None:
        """Block until the start that was asked for is over. Raises HostError if that failed."""
        self._result(timeout)

    def fallback(self) -> tuple[str, str]:
        """See `Part`."""
        words = neutral.plain("\n".join(part for part in (self._words(), self._lists()[1], self.error) if part))
        return self._head.value + self._table.value + self._note.value, words

    def close(self) -> None:
        """See `Part`."""
        self._feed.leave(self)
        super().close()

    def hear(self, news: News) -> None:
        """Take what the host says: see `illama.widgets.feed`."""
        if news.state == "down" and self._activity is not None and not self._activity.over:
            return  # it is being started
        self.models = tuple(str(model["name"]) for model in news.models)
        self.rows, self.pulls = news.loaded, tuple(columns.worth_showing(news.jobs))
        self.loaded = tuple(str(model["name"]) for model in news.loaded)
        self.jobs = tuple(str(job["source"]) for job in news.jobs if job.get("state") == "running")
        self.running = sum(int(model.get("running") or 0) for model in news.loaded)
        self.queued = sum(int(model.get("queued") or 0) for model in news.loaded)
        self.version = news.version if news.state == "up" else ""
        self.error = news.problem.one_line() if news.problem else ""
        self.state = news.state
        self._draw()

    def _started(self, _: None, problem: IllamaError | None) -> None:
        if problem:
            self.error = problem.one_line()
            self.state = "down"
        self._feed.wake()

    def _words(self) -> str:
        if self.state != "up":
            words = {"asking": "looking for it …", "starting": "starting …", "down": "not running"}
            return f"Model host: {words[self.state]}"
        has = f"{len(self.models)} installed, {len(self.loaded)} loaded"
        name = f"Model host {self.version}".strip()
        return f"{name}: running · {has} · {self.running} at work, {self.queued} waiting"

    def _lists(self) -> tuple[str, str]:
        """The tables of models and pulls, as HTML and as text."""
        if self.state != "up" or not (self.rows or self.pulls):
            return "", ""
        shown = tables.loaded(self.rows, self.pulls)
        return shown._repr_html_(), repr(shown)

    @observe("state", "error")
    def _changed(self, change: Any) -> None:
        self._draw()

    def _draw(self) -> None:
        self._head.value = heading(self._words())
        self._table.value = common(self._lists()[0])
        idle = self.state == "up" and not self.rows
        self._note.value = trouble(self.error) or quiet(
            "Nothing is loaded: a question loads its model." if idle else ""
        )
        self._start.layout.display = "" if self.state == "down" else "none"
