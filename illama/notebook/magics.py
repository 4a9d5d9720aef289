"""The magics `%illama` and `%%illama`: each verb is a call of the client, and something to show.

Knows: IPython's magics, the client. Does not know: HTTP, how a line is read (`grammar`), how a question is asked
(`asking`), how things look (`display`, `tables`, `progress`).
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher
from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class

from illama.config import Settings, parse_device
from illama.errors import EngineError, IllamaError, ModelNotFoundError
from illama.notebook import commands, completion, grammar
from illama.notebook.arguments import GrammarError, HelpAsked
from illama.notebook.asking import Asker
from illama.notebook.preferences import Illama
from illama.notebook.stopping import Stopped, interruptible
from illama.notebook.threads import Threads
from illama.paths import private

T = TypeVar("T")
_UNCHANGED = "nothing was changed."


@magics_class
class IllamaMagics(Magics):
    """`%illama VERB …` and `%%illama`. One client serves the whole kernel."""

    def __init__(self, shell: Any, client: Any = None) -> None:
        super().__init__(shell=shell)
        self._client = client
        self._warned: set[str] = set()
        self.chosen = Illama(parent=shell)
        self.threads = Threads()
        self._asker = Asker(shell, lambda: self.client, self.chosen, self.threads)
        if shell is not None:
            shell.configurables.append(self.chosen)
            shell.Completer.custom_matchers.append(self._complete)
        self._verbs: dict[type, Callable[[Any], Any]] = {
            commands.Ask: self._asker.ask,
            commands.Bench: self._bench,
            commands.Chat: self._asker.chat,
            commands.Doctor: self._doctor,
            commands.List: self._list,
            commands.Logs: self._logs,
            commands.OpenAI: self._openai,
            commands.Panel: self._panel,
            commands.Ps: self._ps,
            commands.Pull: self._pull,
            commands.Remove: self._remove,
            commands.Show: self._show,
            commands.Stop: self._stop,
            commands.Thread: self._thread,
            commands.Tune: self._tune,
            commands.Url: self._url,
            commands.Use: self._use,
        }

    @property
    def client(self) -> Any:
        """The kernel's one `illama.Client`, made at first use."""
        if self._client is None:
            from illama.client import Client

            self._client = Client()
        return self._client

    @line_magic("illama")
    def line(self, line: str) -> Any:
        """`%illama VERB …`: local language models. `%illama --help` lists the verbs."""
        command = _read(lambda: grammar.parse_line(line))
        return self._carry_out(command) if command else None

    @cell_magic("illama")
    def cell(self, line: str, cell: str) -> None:
        """`%%illama [MODEL] [options]`: ask a model with the whole cell. `%%illama --help` says more."""
        command = _read(lambda: grammar.parse_cell(line, cell))
        if command:
            self._carry_out(command)

    def _carry_out(self, command: commands.Command) -> Any:
        try:
            return self._verbs[type(command)](command)
        finally:
            self._show_warnings()

    def _pull(self, pull: commands.Pull) -> Any:
        from illama.notebook import progress

        given = {
            "name": pull.name,
            "device": pull.device,
            "weight_format": pull.weight_format,
            "trust_remote_code": pull.trust_remote_code,
            "make_environment": pull.yes,
        }
        if pull.cancel:
            stopped = self.client.stop_pull(pull.source, name=pull.name)
            print(private(stopped.sentence("%illama")))  # noqa: T201
            return None
        place = progress.place(self.shell, live=Settings.load().stream)
        events = self.client.pull(pull.source, **{name: value for name, value in given.items() if value})
        last: dict[str, Any] = {}
        try:
            with events:
                for last in events:
                    place.show(last)
        except KeyboardInterrupt:
            stopped = events.stopped
            place.stopped("stopped" if stopped and stopped.state == "cancelled" else "no longer watched")
            raise Stopped(stopped.sentence("%illama") if stopped else "the pull may go on.") from None
        except IllamaError:
            place.stopped("failed")
            raise
        return self._show(commands.Show(str(last["name"])))

    def _stop(self, stop: commands.Stop) -> None:
        model = stop.model or self._loaded()
        interruptible(lambda: self.client.unload(model, force=stop.force), f"{model} may still be unloading.")
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

    def _remove(self, remove: commands.Remove) -> None:
        from illama.cli import text

        client = self.client
        for model in remove.models:
            call = partial(client.delete, model, force=remove.force)
            freed = interruptible(call, f"{model} may still be removed.")
            print(f"Removed {model}: {text.size(freed)} are free again.")  # noqa: T201

    def _bench(self, options: commands.Bench) -> Any:
        from illama.bench.result import compare, read
        from illama.bench.run import run
        from illama.notebook.benching import Benchmark, progress

        before = read(options.compare) if options.compare else None
        say = progress(self.shell, live=Settings.load().stream)
        found = interruptible(lambda: run(options, self.client, say), "nothing was measured.")
        compared = (*compare(before, found), str(before.about.get("date"))) if before else ()
        if options.json:
            found.write(options.json)
        return _ended(Benchmark(found, *compared), "what was measured so far is shown.", "The benchmark broke off.")

    def _tune(self, options: commands.Tune) -> Any:
        from illama.notebook.benching import progress
        from illama.notebook.tuning import Tuned
        from illama.tune.run import reset, run

        settings = Settings.load()
        if options.reset:
            print(f"{reset(options, settings).name} is loaded as without tuning from now on.")  # noqa: T201
            return None
        say = progress(self.shell, live=settings.stream)
        found = interruptible(lambda: run(options, settings, say), "nothing was measured, and nothing changed.")
        if options.json:
            found.write(options.json)
        return _ended(Tuned(found), "the model is as it was.", "The tuning broke off; the model is as it was.")

    def _doctor(self, _: commands.Doctor) -> Any:
        from illama.notebook import tables

        return tables.examined(interruptible(_examine, _UNCHANGED))

    def _panel(self, panel: commands.Panel) -> Any:
        from illama.notebook.panel import panel as shown

        return shown(dock=False if panel.here else None)

    def _list(self, _: commands.List) -> Any:
        from illama.notebook import tables

        return tables.installed(interruptible(self.client.list, _UNCHANGED))

    def _ps(self, _: commands.Ps) -> Any:
        from illama.notebook import tables

        client = self.client
        return tables.loaded(*interruptible(lambda: (client.ps(), client.jobs()), _UNCHANGED))

    def _show(self, show: commands.Show) -> Any:
        from illama.notebook import tables

        return tables.model(interruptible(lambda: self.client.show(show.model)["entry"], _UNCHANGED))

    def _use(self, use: commands.Use) -> None:
        chosen = self.chosen
        if use.default:
            chosen.model = chosen.device = ""
        if use.device:
            try:
                chosen.device = parse_device(use.device)
            except ValueError as problem:
                raise UsageError(f"{use.device!r} is no device: it must be {problem}.") from None
        if use.model:
            chosen.model = self.client.show(use.model)["entry"]["name"]
        model = chosen.model or self.client.default_model()
        how = "" if chosen.model else ", as none is chosen"
        print(f"Questions go to {model}{f' on {chosen.device}' if chosen.device else ''}{how}.")  # noqa: T201

    def _thread(self, thread: commands.Thread) -> Any:
        if thread.action == "list":
            return self.threads.table()
        if thread.action == "show":
            return self.threads.find(str(thread.name))
        gone = self.threads.clear(thread.name)
        print(f"Forgotten: {', '.join(gone)}." if gone else "There was no thread.")  # noqa: T201
        return None

    def _logs(self, logs: commands.Logs) -> None:
        from illama.cli.logs import tail

        for line in tail(Settings.load(), logs.log, logs.lines):
            print(line)  # noqa: T201

    def _url(self, url: commands.Url) -> Any:
        from illama.notebook import recipes

        return recipes.Address(*interruptible(lambda: recipes.find(self.client, url), _UNCHANGED))

    def _openai(self, openai: commands.OpenAI) -> Any:
        from illama.notebook import recipes

        found = interruptible(lambda: recipes.find(self.client, openai), _UNCHANGED)
        try:
            model = self.chosen.model or self.client.default_model()
        except ModelNotFoundError:
            model = "MODEL"
        return recipes.Recipes(*found, openai.programs or grammar.PROGRAMS, model)

    @context_matcher()
    def _complete(self, context: CompletionContext) -> SimpleMatcherResult:
        """What Tab offers in a line of ours, and nothing that Python would say to it."""
        line = context.text_until_cursor
        found = completion.candidates(
            line, {"models": self._installed, "variables": self._variables, "threads": self.threads.names}
        )
        return {
            "completions": [SimpleCompletion(word) for word in found],
            "matched_fragment": line.rpartition(" ")[2],
            "suppress": bool(found),
            "ordered": True,
        }

    def _installed(self) -> Iterable[str]:
        """The names of the models. A look starts no host, and never fails."""
        from illama.cli.models import installed_models

        try:
            return [str(model["name"]) for model in installed_models(Settings.load())]
        except IllamaError:
            return []

    def _variables(self) -> Iterable[str]:
        return [name for name in self.shell.user_ns if not name.startswith("_")]

    def _show_warnings(self) -> None:
        if self._client is None:
            return
        for warning in self._client.warnings:
            if warning not in self._warned:
                self._warned.add(warning)
                print(private(f"illama: {warning}"), file=sys.stderr)  # noqa: T201


def _examine() -> list[dict[str, Any]]:
    from concurrent.futures import ThreadPoolExecutor

    from illama.doctor.examine import examine
    from illama.doctor.judge import judge

    # In a thread: the kernel's own has an event loop, which the question for OpenVINO's devices would not get.
    with ThreadPoolExecutor(max_workers=1) as thread:
        machine = thread.submit(examine, Settings.load(lenient=True)).result()
    return [dataclasses.asdict(each) for each in judge(machine)]


def _ended(shown: Any, stopped: str, broke_off: str) -> Any:
    """What a cell returns of a run of measurements. One that was stopped or broke off is shown, and fails the cell."""
    result = shown.result
    if not result.interrupted and not result.problem:
        return shown
    from IPython.display import display

    display(shown)
    if result.interrupted:
        raise Stopped(stopped)
    raise EngineError(broke_off, hint=result.problem)


def _read(parse: Callable[[], T]) -> T | None:
    """Parse a line; None if it asked for help, which is then printed."""
    try:
        return parse()
    except HelpAsked as help_text:
        print(help_text)  # noqa: T201
        return None
    except GrammarError as problem:
        raise UsageError(str(problem)) from None
