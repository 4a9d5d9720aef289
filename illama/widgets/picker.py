"""`ModelPicker`: choose one of the models that are installed.

Knows: a drop-down list, the feed of models. Does not know: HTTP, what the choice is for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import ipywidgets
from traitlets import TraitError, Tuple, Unicode, observe, validate

from illama.cli import text
from illama.client import AsyncClient
from illama.client.session import ClientBase
from illama.client.wire import choose
from illama.errors import IllamaError, ModelNotFoundError
from illama.notebook import neutral
from illama.widgets import worker
from illama.widgets.base import Part, quiet, trouble
from illama.widgets.feed import News, feed_of, sharing

GENERATE = ("text-generation", "image-text-to-text")
NONE = 'No model is installed: PullProgress("smollm2") or `%illama pull smollm2` fetches a small one (98 MB).'
# Seconds that making a picker may wait for the host, which it may have to start.
_WAIT = 30.0


class ModelPicker(Part):
    """A list of the installed models to choose from; it follows what is pulled and removed.

    `value` is the chosen model's name, or None; `options` are the names to choose from; `state` is "up" or "down", as
    the host is. `value` may be given in any case of letters, and before the host is known. `tasks` are those of the
    models that are listed. Making one starts the host, as `%illama list` does; what it asks later starts none.
    """

    value = Unicode(None, allow_none=True, help="the chosen model").tag(sync=True)
    options = Tuple(help="the models to choose from").tag(sync=True)

    def __init__(
        self,
        value: str | None = None,
        *,
        tasks: Sequence[str] = GENERATE,
        description: str = "Model",
        client: ClientBase | None = None,
        **layout: Any,
    ) -> None:
        self._tasks = frozenset(tasks)
        self._rows: dict[str, Any] = {}
        self._loaded: dict[str, Any] = {}
        self._setting = False
        self._why = ""  # why the host could not be started
        self._list = ipywidgets.Dropdown(
            description=description, tooltip="The installed models", layout=ipywidgets.Layout(width="auto")
        )
        self._note = ipywidgets.HTML()
        super().__init__([self._list, self._note], client, **layout)
        self._list.observe(self._chosen, "value")
        self.value = value
        self._feed = feed_of(client)
        self._begin(connect(sharing(client)), ModelPicker._connected)
        if worker.here():
            self._feed.join(self)
            return
        self._settle(_WAIT)
        self._feed.join(self)
        self._feed.refresh(_WAIT)

    def fallback(self) -> tuple[str, str]:
        """See `Part`."""
        names = ", ".join(self.options) or "none"
        plain = f"Model: {self.value or '-'} (of {names})"
        return f"<div>{neutral.as_html(plain)}</div>{self._note.value}", neutral.plain(plain)

    def close(self) -> None:
        """See `Part`."""
        self._feed.leave(self)
        super().close()

    def hear(self, news: News) -> None:
        """Take what the host says: see `illama.widgets.feed`."""
        if news.state == "up":
            self._why = ""
            models = [model for model in news.models if (model.get("task") or GENERATE[0]) in self._tasks]
            self._rows = {str(model["name"]): model for model in models}
            self._loaded = {str(model["name"]): model for model in news.loaded}
            self._offer(tuple(sorted(self._rows, key=str.casefold)))
        self.state = news.state
        problem = self._why or (news.problem.one_line() if news.problem else "")
        self.error = "" if news.state == "up" else problem
        self._remark()

    def _connected(self, _: None, problem: IllamaError | None) -> None:
        self._why = problem.one_line() if problem else ""

    def _offer(self, names: tuple[str, ...]) -> None:
        """Let these be chosen from; the choice stays if it can."""
        wanted = self.value and _among(self.value, names)
        if not wanted and names:
            with contextlib.suppress(ModelNotFoundError):
                wanted = choose(list(self._loaded.values()), list(self._rows.values()))
        chosen = wanted if wanted in names else next(iter(names), None)
        self._setting = True
        try:
            if names != self.options:
                with self._list.hold_sync():
                    self._list.options = names
                    self._list.value = chosen
            self.options = names
            self.value = self._list.value = chosen
        finally:
            self._setting = False

    def _chosen(self, change: Any) -> None:
        if not self._setting:
            self.value = change.new

    @validate("value")
    def _known(self, proposal: Any) -> Any:
        if proposal.value is None or not self.options:
            return proposal.value
        found = _among(proposal.value, self.options)
        if found is None:
            raise TraitError(f"{proposal.value!r} is not one of the models: {', '.join(self.options)}.")
        return found

    @observe("value")
    def _show(self, change: Any) -> None:
        if self.options and not self._setting:
            self._list.value = change.new
        self._remark()

    def _remark(self) -> None:
        """What is to be said about the choice."""
        if self.error:
            self._note.value = trouble(self.error)
            return
        if not self.options:
            self._note.value = quiet(NONE if self.state == "up" else "")
            return
        model, loaded = self._rows.get(self.value or "", {}), self._loaded.get(self.value or "")
        facts = [
            text.size(model["size"]) if model.get("size") else "",
            str(model.get("weight_format") or ""),
            f"context {model['context_length']}" if model.get("context_length") else "",
            f"{loaded.get('state', 'ready')} on {loaded.get('device')}" if loaded else "not loaded",
        ]
        self._note.value = quiet(" · ".join(fact for fact in facts if fact) if model else "")


async def connect(client: AsyncClient) -> None:
    """Find or start the host. Raises HostError."""
    async with client:
        await client.connect()


def _among(name: str, names: Sequence[str]) -> str | None:
    """The name as it stands among these, in whatever case of letters it was given."""
    return name if name in names else next((each for each in names if each.casefold() == name.casefold()), None)
