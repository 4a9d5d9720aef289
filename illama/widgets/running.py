"""`RunBox`: a question in, the answer as it comes.

Knows: a chat of one question, its buttons, how often a page may be redrawn. Does not know: HTTP. What a model writes is
made harmless by `illama.notebook.neutral`, as in the magics.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator
from typing import Any

import ipywidgets
from traitlets import Any as Anything
from traitlets import Unicode, link, observe

from illama.client import AsyncClient, Reply
from illama.client.session import ClientBase
from illama.errors import IllamaError
from illama.notebook import neutral, replies
from illama.widgets.base import Part, quiet, teller, trouble
from illama.widgets.feed import feed_of, sharing
from illama.widgets.picker import ModelPicker

# Seconds between two updates; each carries the whole text, so long answers are redrawn less often.
_PAUSE, _PAUSE_PER_CHARACTER = 0.1, 1e-5
_BUSY = {"waiting", "answering"}


class RunBox(Part):
    """Ask a model: a question, Run and Stop, the answer as Markdown, and its figures.

    `model` is a name, a `ModelPicker` to follow, or None for a picker of its own; `prompt` and `system` are what is
    asked; `options` may have what `Client.stream` takes, such as `max_tokens`. `run()`, or the button, asks; `wait()`
    blocks and `await` waits for the answer, an `illama.client.Reply`, which is in `reply` too. `answer` is the text so
    far; `state` is "idle", "waiting", "answering", "done", "stopped" or "failed".
    """

    model = Unicode(None, allow_none=True, help="the model that is asked").tag(sync=True)
    prompt = Unicode("", help="the question").tag(sync=True)
    system = Unicode("", help="the system prompt").tag(sync=True)
    answer = Unicode("", help="the answer's text so far")
    reply = Anything(None, allow_none=True, help="the whole answer, an illama.client.Reply")

    def __init__(
        self,
        prompt: str = "",
        *,
        model: str | ModelPicker | None = None,
        system: str = "",
        client: ClientBase | None = None,
        **options: Any,
    ) -> None:
        self._options = options
        self._pieces: list[str] = []
        self._drawn = 0.0
        own = ModelPicker(client=client) if model is None else None
        wide = ipywidgets.Layout(width="auto")
        self._question = ipywidgets.Textarea(
            prompt, description="Question", placeholder="Ask something", tooltip="The question", rows=3, layout=wide
        )
        self._orders = ipywidgets.Textarea(
            system,
            description="System",
            placeholder="How the model shall answer",
            rows=2,
            layout=wide,
            tooltip="The system prompt",
        )
        self._go = ipywidgets.Button(
            description="Run", icon="play", button_style="primary", tooltip="Ask the model (Tab, then Enter)"
        )
        self._halt = ipywidgets.Button(description="Stop", icon="stop", tooltip="Stop the answer", disabled=True)
        self._note = ipywidgets.HTML()
        self._shown = ipywidgets.Output()
        more = ipywidgets.Accordion([self._orders], titles=("System prompt",), selected_index=0 if system else None)
        row = ipywidgets.HBox([self._go, self._halt], layout=ipywidgets.Layout(flex_flow="row wrap"))
        parts = [*([own] if own else []), self._question, more, row, self._note, self._shown]
        super().__init__(parts, client)
        self.state, self.prompt, self.system = "idle", prompt, system
        if isinstance(model, str):
            self.model = model
        else:
            link((own or model, "value"), (self, "model"))
        for name, field in (("prompt", self._question), ("system", self._orders)):
            field.observe(lambda change, name=name: setattr(self, name, change.new), "value")
        self._go.on_click(lambda _: self.run())
        self._halt.on_click(lambda _: self.stop())

    def run(self) -> RunBox:
        """Ask. An answer that is under way goes on as it is."""
        if self.state in _BUSY:
            return self
        if not self.prompt.strip():
            self._over("failed", IllamaError("There is no question yet.", hint="Write one, then Run."))
            return self
        client = sharing(self._client)
        options = {"model": self.model, "system": self.system.strip() or None, **self._options}
        self._pieces, self._drawn = [], 0.0
        self.answer, self.error, self.reply = "", "", None
        self._shown.outputs = ()
        self._note.value = quiet("Asking …")
        self.state = "waiting"
        work = _answer(client, self.prompt, options, teller(self, self._noted), teller(self, self._came))
        self._begin(work, RunBox._ended)
        return self

    def stop(self) -> None:
        """Stop the answer. What has come of it stays."""
        if self._activity is not None and self.state in _BUSY:
            self._activity.cancel()

    def wait(self, timeout: float | None = None) -> Reply | None:
        """Block until the answer has ended, and return it; None if nothing was asked.

        Raises what the host refuses with, and TimeoutError after `timeout` seconds. An interrupt stops the answer.
        """
        reply: Reply | None = self._result(timeout)
        return reply

    def __await__(self) -> Generator[Any, None, Reply | None]:
        return self._awaited()

    def fallback(self) -> tuple[str, str]:
        """See `Part`."""
        asked = f"{self.model or 'the default model'}: {self.prompt}"
        end = replies.summary(self.reply) if self.reply is not None else self.error or self.state
        plain = neutral.plain("\n\n".join(part for part in (asked, self.answer, f"[{end}]") if part))
        body = f'<div style="white-space:pre-wrap">{neutral.as_html(self.answer)}</div>' if self.answer else ""
        return f"<p><b>{neutral.as_html(asked)}</b></p>{body}<small>{neutral.as_html(end)}</small>", plain

    def _noted(self, note: str) -> None:
        self._note.value = quiet(f"⏳ {note}")

    def _came(self, piece: str) -> None:
        self._pieces.append(piece)
        if self.state == "waiting":
            self.state = "answering"
            self._note.value = quiet("Answering …")
        if time.monotonic() >= self._drawn:
            self._draw()

    def _draw(self) -> None:
        self.answer = "".join(self._pieces)
        bundle = {"text/markdown": neutral.markdown(self.answer), "text/plain": neutral.plain(self.answer)}
        output = {"output_type": "display_data", "data": bundle, "metadata": {}}
        self._shown.outputs = (output,) if self.answer else ()
        self._drawn = time.monotonic() + _PAUSE + _PAUSE_PER_CHARACTER * len(self.answer)

    def _ended(self, reply: Reply | None, problem: IllamaError | None) -> None:
        self._draw()
        self.reply = reply
        stopped = reply is not None and reply.finish_reason == "cancelled"
        self._over("failed" if problem else "stopped" if stopped else "done", problem)

    def _over(self, state: str, problem: IllamaError | None) -> None:
        self.error = problem.one_line() if problem else ""
        words = replies.summary(self.reply) if self.reply is not None else ""
        self._note.value = trouble(self.error) if problem else quiet(f"■ {words}" if state == "stopped" else words)
        self.state = state
        feed_of(self._client).wake()

    @observe("prompt", "system")
    def _worded(self, change: Any) -> None:
        field = self._question if change.name == "prompt" else self._orders
        field.value = change.new

    @observe("state")
    def _switch(self, change: Any) -> None:
        self._go.disabled = change.new in _BUSY
        self._halt.disabled = change.new not in _BUSY


async def _answer(
    client: AsyncClient,
    prompt: str,
    options: dict[str, Any],
    on_note: Callable[[str], None],
    on_piece: Callable[[str], None],
) -> Reply:
    """Ask, and return the answer; of one that is cancelled, what had come."""
    async with client:
        stream = client.stream(prompt, on_note=on_note, **options)
        try:
            async with stream:
                async for piece in stream:
                    on_piece(piece)
        except asyncio.CancelledError:
            pass  # the stop button; the connection is closed, and so the host generates no further
        return stream.reply
