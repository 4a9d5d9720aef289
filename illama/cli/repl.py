"""The conversation of `illama run MODEL` in a terminal.

Knows: the line editor, the commands that begin with a slash, what was said so far. Does not know: HTTP, models.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs
from prompt_toolkit import PromptSession
from prompt_toolkit.history import FileHistory

from illama.cli import text
from illama.cli.models import describe
from illama.cli.run import answer, timings
from illama.config import Settings
from illama.errors import ContextLengthError, IllamaError

if TYPE_CHECKING:
    from illama.client import Client, Reply

HELP = '''\
/bye                    leave; so does Ctrl-D
/clear                  forget the conversation
/set                    show the settings
/set NAME VALUE         set system, temperature, top_p, seed, max_tokens or verbose (on, off)
/set NAME               back to the default
/show                   show the model and the settings
"""                     begin and end a text of several lines
Ctrl-C                  stop the answer; what has come of it stays in the conversation'''
QUOTES = '"""'

PARSERS: dict[str, Any] = {
    "system": str,
    "temperature": float,
    "top_p": float,
    "seed": int,
    "max_tokens": int,
    "verbose": lambda typed: {"on": True, "1": True, "true": True, "off": False, "0": False, "false": False}[typed],
}


class Repl:
    """One conversation with one model. `options` go with every question."""

    def __init__(
        self,
        client: Client,
        model: str,
        options: dict[str, Any],
        settings: Settings,
        *,
        system: str | None = None,
        verbose: bool = False,
    ) -> None:
        self.client = client
        self.model = model
        self.messages: list[dict[str, Any]] = []
        self.fixed = {name: value for name, value in options.items() if name not in PARSERS}
        self.chosen = {name: value for name, value in options.items() if name in PARSERS}
        self.chosen.update({k: v for k, v in (("system", system), ("verbose", verbose or None)) if v is not None})
        self.session: PromptSession[str] = PromptSession(history=FileHistory(str(history_file(settings))))

    def run(self) -> int:
        """Ask and answer until the user leaves. Returns the exit code."""
        print(f"{self.model}: ask anything; /? lists the commands, Ctrl-D leaves.")
        while True:
            try:
                typed = self.read()
            except EOFError:
                return 0
            except KeyboardInterrupt:
                print("Ctrl-D or /bye leaves.")
                continue
            try:
                if typed.startswith("/"):
                    if self.command(typed) == "bye":
                        return 0
                elif typed.strip():
                    self.ask(typed)
            except IllamaError as error:
                text.fail(error)
                if isinstance(error, ContextLengthError):
                    print("/clear forgets the conversation so far.", file=sys.stderr)

    def read(self) -> str:
        """One line, or several between triple quotes."""
        typed = self.session.prompt(">>> ").strip()
        if not typed.startswith(QUOTES):
            return typed
        lines = [typed.removeprefix(QUOTES)]
        while not lines[-1].rstrip().endswith(QUOTES):
            lines.append(self.session.prompt("... "))
        lines[-1] = lines[-1].rstrip().removesuffix(QUOTES)
        # What is quoted is a question, also if it begins with a slash.
        return " " + "\n".join(lines).strip()

    def ask(self, question: str) -> None:
        """Ask within the conversation. A question that fails leaves it as it was."""
        said = {"role": "user", "content": question.strip()}
        options = {name: value for name, value in self.chosen.items() if name != "verbose"}
        partial: list[Reply] = []
        try:
            reply = answer(self.client, [*self.messages, said], keep=partial, model=self.model, **self.fixed, **options)
        except KeyboardInterrupt:
            print("(stopped)")
            if not partial or not partial[0].text:
                return
            reply = partial[0]
        self.messages += [said, reply.message]
        if reply.finish_reason == "length":
            print("(cut: the answer reached its limit of tokens; /set max_tokens N)", file=sys.stderr)
        if self.chosen.get("verbose") and reply.timings:
            print(timings(reply), file=sys.stderr)

    def command(self, typed: str) -> str:
        """Obey a command. Returns its name."""
        name, _, rest = typed[1:].strip().partition(" ")
        if name in {"?", "help"}:
            print(HELP)
        elif name == "clear":
            self.messages.clear()
            print("The conversation is forgotten.")
        elif name == "set":
            self.set(rest.strip())
        elif name == "show":
            print(describe(self.client.show(self.model)["entry"]))
            self.set("")
        elif name in {"bye", "exit", "quit"}:
            return "bye"
        else:
            print(f"There is no command /{name}; /? lists them.")
        return name

    def set(self, typed: str) -> None:
        """Change, reset or (with nothing) show the settings of the conversation."""
        name, _, value = typed.partition(" ")
        if not name:
            for each in PARSERS:
                shown = self.chosen.get(each, "(default)")
                print(f"{each:<11} {'on' if shown is True else 'off' if shown is False else shown}")
            return
        if name not in PARSERS:
            print(f"There is no setting {name}; there are {', '.join(PARSERS)}.")
            return
        if not value.strip():
            self.chosen.pop(name, None)
            print(f"{name} has its default again.")
            return
        try:
            self.chosen[name] = PARSERS[name](value.strip())
        except (ValueError, KeyError):
            print(f"{value.strip()} is not a value for {name}.")


def history_file(settings: Settings) -> Path:
    """The file of what was typed before (0600), made if it is not there."""
    folder = settings.home or platformdirs.user_data_path("illama", appauthor=False)
    folder.mkdir(parents=True, exist_ok=True)
    path: Path = folder / "history"
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    return path
