"""The magics `%illama` and `%%illama`: each verb is a call of the client, and something to show.

Knows: IPython's magics, the client. Does not know: HTTP, how a line is read (`grammar`), how things look (`display`,
`tables`, `progress`).
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class

from illama.config import Settings
from illama.errors import IllamaError, ModelNotFoundError
from illama.notebook import display, grammar

T = TypeVar("T")


class Stopped(KeyboardInterrupt):
    """The user interrupted the cell. It fails, so that "Run all" stops here, and shows one line instead of a stack."""

    def _render_traceback_(self) -> list[str]:
        return [f"KeyboardInterrupt: {self}"]


@magics_class
class IllamaMagics(Magics):
    """`%illama VERB …` and `%%illama`. One client serves the whole kernel."""

    def __init__(self, shell: Any, client: Any = None) -> None:
        super().__init__(shell=shell)
        self._client = client
        self._warned: set[str] = set()

    @property
    def client(self) -> Any:
        """The kernel's one `illama.Client`, made at first use."""
        if self._client is None:
            from illama.client import Client

            self._client = Client()
        return self._client

    @line_magic("illama")
    def line(self, line: str) -> Any:
        """`%illama pull|list|ps|run|stop|doctor`: local language models. `%illama VERB --help` says more."""
        command = _read(lambda: grammar.parse_line(line))
        return self._carry_out(command) if command else None

    @cell_magic("illama")
    def cell(self, line: str, cell: str) -> None:
        """`%%illama [MODEL] [options]`: ask a model with the whole cell. `%%illama --help` says more."""
        command = _read(lambda: grammar.parse_cell(line, cell))
        if command:
            self._carry_out(command)

    def _carry_out(self, command: grammar.Command) -> Any:
        try:
            if isinstance(command, grammar.Ask):
                return self._ask(command)
            if isinstance(command, grammar.Pull):
                return self._pull(command)
            if isinstance(command, grammar.Stop):
                return self._stop(command)
            return self._table(command)
        finally:
            self._show_warnings()

    def _ask(self, ask: grammar.Ask) -> None:
        streaming = Settings.load().stream
        place = display.answer(self.shell, ask.format, live=streaming and ask.stream)
        options = {
            "model": ask.model,
            "system": ask.system,
            "max_tokens": ask.max_tokens,
            "temperature": ask.temperature,
            "seed": ask.seed,
        }
        given = {name: value for name, value in options.items() if value is not None}
        try:
            with self.client.stream(ask.prompt, on_note=place.note, **given) as stream:
                for piece in stream:
                    place.add(piece)
                reply = stream.reply
        except KeyboardInterrupt:
            place.stopped("stopped")
            raise Stopped("stopped; the host has been told, and generates no further.") from None
        except IllamaError:
            place.stopped("broken off")
            raise
        # Numbers differ from run to run: with ILLAMA_STREAM=0 a notebook's output is to be compared, so it has none.
        place.done(display.summary(reply) if streaming else "")
        if ask.out:
            self.shell.user_ns[ask.out] = reply

    def _pull(self, pull: grammar.Pull) -> None:
        from illama.notebook import progress

        given = {name: value for name, value in (("name", pull.name), ("device", pull.device)) if value is not None}
        if pull.cancel:
            stopped = self.client.stop_pull(pull.source, name=pull.name)
            print(stopped.sentence("%illama"))  # noqa: T201
            return
        place = progress.place(self.shell, live=Settings.load().stream)
        events = self.client.pull(pull.source, **given)
        try:
            with events:
                for event in events:
                    place.show(event)
        except KeyboardInterrupt:
            stopped = events.stopped
            place.stopped("stopped" if stopped and stopped.state == "cancelled" else "no longer watched")
            raise Stopped(stopped.sentence("%illama") if stopped else "the pull may go on.") from None
        except IllamaError:
            place.stopped("failed")
            raise

    def _stop(self, stop: grammar.Stop) -> None:
        model = stop.model or self._loaded()
        _interruptible(lambda: self.client.unload(model, force=stop.force), f"{model} may still be unloading.")
        print(f"{model} is unloaded.")  # noqa: T201

    def _loaded(self) -> str:
        names = [model["name"] for model in self.client.ps()]
        if len(names) == 1:
            return str(names[0])
        if not names:
            raise ModelNotFoundError("No model is loaded.", hint="%illama list shows those that are installed.")
        raise ModelNotFoundError(
            f"{len(names)} models are loaded: {', '.join(names)}.", hint="Say which one: %illama stop MODEL."
        )

    def _table(self, command: grammar.Command) -> Any:
        from illama.notebook import tables

        if isinstance(command, grammar.Doctor):
            return tables.examined(_interruptible(_examine, "nothing was changed."))
        if isinstance(command, grammar.Ps):
            client = self.client
            return tables.loaded(*_interruptible(lambda: (client.ps(), client.jobs()), "nothing was changed."))
        return tables.installed(_interruptible(self.client.list, "nothing was changed."))

    def _show_warnings(self) -> None:
        if self._client is None:
            return
        for warning in self._client.warnings:
            if warning not in self._warned:
                self._warned.add(warning)
                print(f"illama: {warning}", file=sys.stderr)  # noqa: T201


def _examine() -> list[dict[str, Any]]:
    from illama.doctor.examine import examine
    from illama.doctor.judge import judge

    # In a thread: the kernel's own has an event loop, which the question for OpenVINO's devices would not get.
    with ThreadPoolExecutor(max_workers=1) as thread:
        machine = thread.submit(examine, Settings.load()).result()
    return [dataclasses.asdict(each) for each in judge(machine)]


def _read(parse: Callable[[], T]) -> T | None:
    """Parse a line; None if it asked for help, which is then printed."""
    try:
        return parse()
    except grammar.HelpAsked as help_text:
        print(help_text)  # noqa: T201
        return None
    except grammar.GrammarError as problem:
        raise UsageError(str(problem)) from None


def _interruptible(call: Callable[[], T], after: str) -> T:
    try:
        return call()
    except KeyboardInterrupt:
        raise Stopped(after) from None
