"""A question of a cell, from the command to the answer that is shown and kept.

Knows: which of a cell's options go into the request, what becomes of an answer. Does not know: HTTP, how an answer is
drawn (`display`), how a line is read (`grammar`).
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from typing import Any

from IPython.core.error import StdinNotImplementedError, UsageError

from illama.config import Settings
from illama.errors import IllamaError
from illama.notebook import display, replies, values
from illama.notebook.code import code_of
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
        form = ask.format or ("json" if ask.schema else "md")
        thread = self._threads.get(ask.thread or "")
        question = values.put(ask.prompt, {name: self._variable(name) for name in ask.variables})
        messages = thread.with_question(self._with_images(question, ask.images), ask.system)
        temperature = self._chosen.temperature if ask.temperature is None else ask.temperature
        options = {
            "model": ask.model or thread.model or self._chosen.model or None,
            "max_tokens": ask.max_tokens,
            "temperature": temperature,
            # Drawn here rather than by the engine, so that the reply knows what it takes to have the same again.
            "seed": random.getrandbits(31) if ask.seed is None and temperature != 0 else ask.seed,
            "response_format": self._evaluated(ask.schema) if ask.schema else "json" if form == "json" else None,
            "device": self._chosen.device or None,
        }
        given = {name: value for name, value in options.items() if value is not None}
        streaming = Settings.load().stream
        live = streaming and self._chosen.stream and ask.stream
        place = display.answer(self._shell, "md" if form == "code" else form, live=live)
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
        stamp = replies.stamp(reply) if self._chosen.stamp else None
        # Numbers differ from run to run: with ILLAMA_STREAM=0 a notebook's output is to be compared, so it has none.
        place.done(replies.summary(reply) if streaming else "", stamp)
        if ask.thread:
            self._threads.keep(thread, messages, reply)
        if ask.out:
            self._shell.user_ns[ask.out] = reply
        if form == "code":
            self._next_cell(reply.text)
        _ = reply.parsed  # what does not fit its schema fails the cell

    def _with_images(self, question: str, names: list[str]) -> str | list[dict[str, Any]]:
        """The question as OpenAI's parts, the pictures behind the words; just the words if there are none."""
        if not names:
            return question
        from illama.notebook.pictures import data_url

        urls = [data_url(self._shell.user_ns.get(name, name), name) for name in names]
        return [{"type": "text", "text": question}, *({"type": "image_url", "image_url": {"url": u}} for u in urls)]

    def _variable(self, name: str) -> Any:
        if name not in self._shell.user_ns:
            raise UsageError(f"There is no variable {name}.")
        return self._shell.user_ns[name]

    def _evaluated(self, expression: str) -> Any:
        try:
            return self._shell.ev(expression)
        except Exception as problem:  # noqa: BLE001 - it is the user's own expression
            raise UsageError(f"--json {expression}: {type(problem).__name__}: {problem}") from None

    def _next_cell(self, answer: str) -> None:
        code = code_of(answer)
        if code:
            self._shell.set_next_input(code)
        else:
            print("illama: there is no code in the answer.", file=sys.stderr)  # noqa: T201

    def chat(self, chat: Chat) -> None:
        """Ask what is typed below the cell, until an empty line. Raises UsageError where nobody can type."""
        system = chat.system
        print("An empty line or /bye leaves, /clear forgets what was said.")  # noqa: T201
        while True:
            try:
                typed = input(f"{chat.thread}> ")
            except (EOFError, KeyboardInterrupt):
                break
            except StdinNotImplementedError:
                raise UsageError(
                    "%illama chat asks for what you type, and here nobody can: use %%illama --thread NAME."
                ) from None
            command = typed.strip()
            if command in ("", "/bye", "/exit", "/quit"):
                break
            if command.startswith("/"):
                self._obey(command, chat.thread)
                system = chat.system if command == "/clear" else system
                continue
            try:
                self.ask(Ask(typed, model=chat.model, system=system, thread=chat.thread))
            except Stopped:
                continue
            system = None
        if chat.thread in self._threads.names():
            print(f"%illama thread show {chat.thread} shows the conversation.")  # noqa: T201

    def _obey(self, command: str, thread: str) -> None:
        """Do what is asked of the conversation, and not of the model."""
        if command == "/clear":
            if thread in self._threads.names():
                self._threads.clear(thread)
            print("The conversation is forgotten.")  # noqa: T201
        elif command in ("/?", "/help"):
            print("/clear forgets what was said, /bye or an empty line leaves. All else is a question.")  # noqa: T201
        else:
            print(f"There is no command {command.split()[0]}; /? lists them.")  # noqa: T201
