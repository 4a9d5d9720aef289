"""A question of a cell, from the command to the answer that is shown and kept.

Knows: which of a cell's options go into the request, what becomes of an answer. Does not know: HTTP, how an answer is
drawn (`display`), how a line is read (`grammar`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from IPython.core.error import StdinNotImplementedError, UsageError

from illama.config import Settings
from illama.errors import IllamaError
from illama.notebook import display
from illama.notebook.commands import Ask, Chat
from illama.notebook.preferences import Illama
from illama.notebook.stopping import Stopped
from illama.notebook.threads import Threads


class Asker:
    """Asks in the name of one kernel, whose choices and conversations it has. `client` gives its `illama.Client`."""

    def __init__(self, shell: Any, client: Callable[[], Any], chosen: Illama, threads: Threads) -> None:
        self._shell = shell
        self._client = client
        self._chosen = chosen
        self._threads = threads

    def ask(self, ask: Ask) -> None:
        """Ask, and show the answer while it comes.

        Raises Stopped if the cell is interrupted, and what the host refuses with; what had come stays, marked.
        """
        thread = self._threads.get(ask.thread or "")
        messages = thread.with_question(ask.prompt, ask.system)
        options = {
            "model": ask.model or thread.model or self._chosen.model or None,
            "max_tokens": ask.max_tokens,
            "temperature": self._chosen.temperature if ask.temperature is None else ask.temperature,
            "seed": ask.seed,
            "device": self._chosen.device or None,
        }
        given = {name: value for name, value in options.items() if value is not None}
        streaming = Settings.load().stream
        place = display.answer(self._shell, ask.format, live=streaming and self._chosen.stream and ask.stream)
        stream = self._client().stream(messages, on_note=place.note, **given)
        try:
            with stream:
                for piece in stream:
                    place.add(piece)
        except KeyboardInterrupt:
            place.stopped("stopped")
            if ask.thread and stream.reply.text:
                # What was read stays in the conversation, as it stays on the page.
                self._threads.keep(thread, messages, stream.reply)
            raise Stopped("stopped; the host has been told, and generates no further.") from None
        except IllamaError:
            place.stopped("broken off")
            raise
        reply = stream.reply
        # Numbers differ from run to run: with ILLAMA_STREAM=0 a notebook's output is to be compared, so it has none.
        place.done(display.summary(reply) if streaming else "")
        if ask.thread:
            self._threads.keep(thread, messages, reply)
        if ask.out:
            self._shell.user_ns[ask.out] = reply

    def chat(self, chat: Chat) -> None:
        """Ask what is typed below the cell, until an empty line. Raises UsageError where nobody can type."""
        system = chat.system
        while True:
            try:
                typed = input(f"{chat.thread}> ")
            except (EOFError, KeyboardInterrupt):
                break
            except StdinNotImplementedError:
                raise UsageError(
                    "%illama chat asks for what you type, and here nobody can: use %%illama --thread NAME."
                ) from None
            if not typed.strip():
                break
            try:
                self.ask(Ask(typed, model=chat.model, system=system, thread=chat.thread))
            except Stopped:
                continue
            system = None
        if chat.thread in self._threads.names():
            print(f"%illama thread show {chat.thread} shows the conversation.")  # noqa: T201
