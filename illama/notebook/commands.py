"""What a line of `%illama` or `%%illama` asks for, as plain values.

Knows: nothing but the fields. Does not know: how a line is read (`grammar`), or what is done then (`magics`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from illama.bench.options import Options
from illama.tune.options import Options as TuneOptions


@dataclass(frozen=True)
class Ask:
    """A question: `prompt` is what the user wrote, to the letter. None stands for the default.

    `variables` and `out` are names of the user's variables, `images` too, or files; `schema` is an expression.
    `format` is one of `arguments.FORMATS`; None is "json" where there is a schema, else "md".
    """

    prompt: str
    model: str | None = None
    system: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    seed: int | None = None
    schema: str | None = None
    format: str | None = None
    out: str | None = None
    variables: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    thread: str | None = None
    stream: bool = True


@dataclass(frozen=True)
class Chat:
    """A conversation in the cell, question by question."""

    model: str | None = None
    system: str | None = None
    thread: str = "chat"


@dataclass(frozen=True)
class Pull:
    """A model to fetch: `source` as `illama pull` takes it."""

    source: str
    name: str | None = None
    device: str | None = None
    weight_format: str | None = None
    trust_remote_code: bool = False
    yes: bool = False
    cancel: bool = False


@dataclass(frozen=True)
class List:
    """The models installed."""


@dataclass(frozen=True)
class Ps:
    """The models loaded."""


@dataclass(frozen=True)
class Show:
    """A model, with all that is known about it."""

    model: str


@dataclass(frozen=True)
class Stop:
    """A model to unload; None is the one that is loaded."""

    model: str | None = None
    force: bool = False


@dataclass(frozen=True)
class Remove:
    """Models to remove from the registry."""

    models: list[str]
    force: bool = False


@dataclass(frozen=True)
class Use:
    """The model that this notebook asks where none is named; None only asks which one it is."""

    model: str | None = None
    device: str | None = None
    default: bool = False


@dataclass(frozen=True)
class Thread:
    """What to do with the conversations: `action` is "list", "show" or "clear"."""

    action: str = "list"
    name: str | None = None


@dataclass(frozen=True)
class Panel:
    """The panel; `here`: in the cell's output."""

    here: bool = False


@dataclass(frozen=True)
class Doctor:
    """What is right and wrong with this machine."""


@dataclass(frozen=True)
class Bench(Options):
    """What this machine does with a model, to be measured."""


@dataclass(frozen=True)
class Tune(TuneOptions):
    """The settings with which this machine runs a model best, to be found and kept."""


@dataclass(frozen=True)
class Logs:
    """The last lines of a log: "host", "engine" or "pull"."""

    log: str = "host"
    lines: int = 50


@dataclass(frozen=True)
class Url:
    """The way to the models for other programs. `key` names an inference key to make; `at` is how others come."""

    key: str | None = None
    show_key: bool = False
    at: str | None = None
    host: bool = False


@dataclass(frozen=True)
class OpenAI(Url):
    """The same as settings to paste; `programs` are those whose settings are wanted, all of them if it is empty."""

    programs: tuple[str, ...] | list[str] = ()


Command = (
    Ask
    | Chat
    | Pull
    | List
    | Ps
    | Show
    | Stop
    | Remove
    | Use
    | Thread
    | Panel
    | Doctor
    | Bench
    | Tune
    | Logs
    | Url
    | OpenAI
)
