"""What `%illama url` and `%illama openai` show: an address, and settings that can be pasted into other programs.

Knows: the settings of the openai SDK, LangChain, Open WebUI and curl, which stand in the panel's static/programs.js.
Does not know: how the connection was found.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from illama import transport
from illama.connection import Connection, through_jupyter
from illama.errors import ConfigError
from illama.host.keys import InferenceKeys
from illama.notebook.commands import Url

HIDDEN = "YOUR-KEY"

# The panel shows the same texts: they stand in a module of its, as plain JSON.
_FILE = Path(__file__).parent / "static" / "programs.js"


@dataclass(frozen=True)
class Program:
    """A program that can use the models: its title, and what to paste with {url}, {key} and {model} to be filled in."""

    title: str
    code: str

    def filled(self, values: Mapping[str, str]) -> str:
        """The text with these values."""
        return re.sub(r"\{(url|key|model)\}", lambda found: values[found[1]], self.code)


def _read() -> dict[str, Program]:
    text = _FILE.read_text(encoding="utf-8")
    listed = json.loads(text[text.index("\n[\n") : text.index("\n]\n") + 2])
    return {each["name"]: Program(each["title"], "\n".join(each["code"])) for each in listed}


PROGRAMS = _read()
# Its 36 built-in tools go along with every question, which a small model reads for longer than it answers.
OPEN_WEBUI_MODELS = PROGRAMS["open-webui"].code.partition("DEFAULT_MODEL_METADATA='")[2].partition("'")[0]


def find(client: Any, asked: Url) -> tuple[Connection, list[str], bool]:
    """The connection that is asked for, what there is to say about it, and whether its key is to be shown.

    Makes an inference key if one is asked for.

    Raises ConfigError or RequestError for a key or an address that cannot be, HostError if there is no host.
    """
    jupyter = None if asked.host else through_jupyter(at=asked.at)
    notes = []
    if jupyter and jupyter.problem and not (asked.key and jupyter.takes_inference_keys):
        notes.append(f"{jupyter.url} does not work: {jupyter.problem}.")
        jupyter = None
    found = jupyter or Connection(
        client.base_url, client.api_key, "the host's own key, which may do everything", "host"
    )
    notes += found.notes
    if asked.key:
        keys = InferenceKeys.of(client.session.settings)
        made = keys.add(asked.key)
        if found.refuses(made):
            keys.remove(asked.key)
            raise ConfigError(
                "This Jupyter server's gate leads to another model host than yours, which would not know the key.",
                hint="Ask who runs that host for one; `illama key add NAME` makes it there.",
            )
        found = replace(found, key=made, key_is=f"the inference key {asked.key}")
        notes.append("It is shown this once: clear this output before you share the notebook.")
        notes.append(f"`illama key rm {asked.key}` revokes it.")
    else:
        notes.append("For another program make an inference key, which can use models and nothing else: `--key NAME`.")
    if found.through == "host" and transport.is_loopback(found.url):
        notes.append("This address is for programs on this machine.")
    return found, notes, asked.show_key or asked.key is not None


class Address:
    """The result of `%illama url`: `base_url`, `api_key`, and a text that has the key only if it was asked for."""

    def __init__(self, connection: Connection, notes: Sequence[str], show_key: bool) -> None:
        self.base_url = connection.base_url
        self.api_key = connection.key
        self._connection = connection
        self._show_key = show_key and connection.key is not None
        self._notes = list(notes)

    def _lines(self) -> list[tuple[str, str]]:
        key = self._connection.key_is
        if self._show_key:
            key = f"{self._connection.key}   ({key})"
        elif self.api_key is not None:
            key += ", hidden: --show-key shows it"
        return [("URL", self.base_url), ("Key", key)]

    def __repr__(self) -> str:
        return "\n".join([*(f"{name}: {value}" for name, value in self._lines()), *self._notes])

    def _repr_html_(self) -> str:
        lines = [f"<div>{name}: <code>{html.escape(value)}</code></div>" for name, value in self._lines()]
        return "".join([*lines, *(f"<div>{html.escape(note)}</div>" for note in self._notes)])


class Recipes(Address):
    """The result of `%illama openai`: the same, and for each program what to paste."""

    def __init__(
        self, connection: Connection, notes: Sequence[str], show_key: bool, programs: Sequence[str], model: str
    ) -> None:
        super().__init__(connection, notes, show_key)
        values = {"url": self.base_url, "key": (self.api_key or HIDDEN) if self._show_key else HIDDEN, "model": model}
        self._recipes = [(PROGRAMS[name].title, PROGRAMS[name].filled(values)) for name in programs]

    def __repr__(self) -> str:
        parts = [f"{title}:\n\n{_indented(code)}" for title, code in self._recipes]
        return "\n\n".join([*parts, super().__repr__()])

    def _repr_html_(self) -> str:
        parts = [f"<div>{html.escape(title)}</div><pre>{html.escape(code)}</pre>" for title, code in self._recipes]
        return "".join([*parts, super()._repr_html_()])


def _indented(code: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in code.splitlines())
