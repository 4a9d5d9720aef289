"""The grammar of `%illama` and `%%illama`: a line of text becomes typed arguments, or an error that shows the usage.

Knows: verbs, options, what a value may look like. Does not know: IPython, the model host, how anything is shown.
"""

from __future__ import annotations

import argparse
import keyword
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

FORMATS = ("md", "text")


class GrammarError(ValueError):
    """The line is not one that the magic understands. The text ends with the usage line."""


class HelpAsked(Exception):  # noqa: N818 - not an error: somebody asked
    """`--help` was given; the text is the help."""


@dataclass(frozen=True)
class Ask:
    """A question: `prompt` is what the user wrote, to the letter. None stands for the host's own default."""

    prompt: str
    model: str | None = None
    system: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    seed: int | None = None
    out: str | None = None
    format: str = "md"
    stream: bool = True


@dataclass(frozen=True)
class Pull:
    """A model to fetch: `source` as `illama pull` takes it."""

    source: str
    name: str | None = None
    device: str | None = None
    cancel: bool = False


@dataclass(frozen=True)
class List:
    """The models installed."""


@dataclass(frozen=True)
class Ps:
    """The models loaded."""


@dataclass(frozen=True)
class Doctor:
    """What is right and wrong with this machine."""


@dataclass(frozen=True)
class Stop:
    """A model to unload; None is the one that is loaded."""

    model: str | None = None
    force: bool = False


Command = Ask | Pull | List | Ps | Stop | Doctor

VERBS = {
    "pull": "fetch a model and make it ready to run",
    "list": "the models installed",
    "ps": "the models loaded, with their device and state",
    "run": "ask a model one question",
    "stop": "unload a model and free its memory",
    "doctor": "what is right and wrong with this machine, and what to do",
}
_OVERVIEW = (
    "usage: %illama VERB …     (%illama VERB --help says more)\n"
    + "\n".join(f"  {verb:6} {meaning}" for verb, meaning in VERBS.items())
    + "\n\n%%illama asks with the whole cell; %%illama --help says more."
)


class _Parser(argparse.ArgumentParser):
    """argparse that raises instead of printing and leaving."""

    def __init__(self, prog: str, description: str, **more: Any) -> None:
        if sys.version_info >= (3, 14):
            more["color"] = False
        super().__init__(
            prog=prog,
            description=description,
            add_help=False,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **more,
        )
        self.add_argument(
            "-h", "--help", action=_Help, nargs=0, default=argparse.SUPPRESS, help="show this and do nothing"
        )

    def error(self, message: str) -> NoReturn:
        raise GrammarError(f"{message}\n{self.format_usage().strip()}")


class _Help(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        raise HelpAsked(parser.format_help().strip())


def _identifier(raw: str) -> str:
    if not raw.isidentifier() or keyword.iskeyword(raw):
        raise argparse.ArgumentTypeError(f"{raw!r} is not a name that a Python variable can have")
    return raw


def _positive(raw: str) -> int:
    if not raw.isascii() or not raw.isdigit() or int(raw) < 1:
        raise argparse.ArgumentTypeError(f"{raw!r} is not a whole number from 1")
    return int(raw)


def _temperature(raw: str) -> float:
    try:
        value = float(raw)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 2:
        raise argparse.ArgumentTypeError(f"{raw!r} is not a number from 0 to 2")
    return value


def _add_question_options(parser: _Parser) -> None:
    parser.add_argument("-s", "--system", metavar="SYSTEM", help="the system message")
    parser.add_argument("-n", "--max-tokens", metavar="MAX", type=_positive, help="longest answer, in tokens")
    parser.add_argument(
        "-t", "--temperature", metavar="TEMP", type=_temperature, help="0 is the likeliest word, always; up to 2"
    )
    parser.add_argument("--seed", metavar="N", type=int, help="makes a random choice repeatable")
    parser.add_argument(
        "-o", "--out", metavar="VAR", type=_identifier, help="puts the whole answer (an illama Reply) into VAR"
    )
    parser.add_argument(
        "-f", "--format", choices=FORMATS, default="md", help="md: Markdown (the default); text: as it is"
    )
    parser.add_argument(
        "--no-stream", dest="stream", action="store_false", help="shows the answer when it is complete, not before"
    )


def _cell_parser() -> _Parser:
    parser = _Parser(
        "%%illama",
        "Ask a model with the whole cell. The cell's text is sent as it is: braces, $ and quotes mean nothing here.\n"
        "In the first line, {name} is a variable's value, as in every IPython magic.",
        usage="%%%%illama [MODEL] [-s SYSTEM] [-n MAX] [-t TEMP] [--seed N] [-o VAR] [-f md|text] [--no-stream]",
    )
    parser.add_argument("model", metavar="MODEL", nargs="?", help="default: the one loaded, or the newest installed")
    _add_question_options(parser)
    return parser


def _run_parser() -> _Parser:
    parser = _Parser(
        "%illama run",
        "Ask a model one question. Everything after MODEL and the options is the prompt; quotes are not needed.",
        usage="%%illama run MODEL [-s SYSTEM] [-n MAX] [-t TEMP] [--seed N] [-o VAR] [-f md|text] [--no-stream] PROMPT",
    )
    parser.add_argument("model", metavar="MODEL", help="a name from %%illama list")
    _add_question_options(parser)
    return parser


def _pull_parser() -> _Parser:
    parser = _Parser("%illama pull", "Fetch a model and make it ready to run.")
    parser.add_argument("source", metavar="SOURCE", help="smollm2, or any other source that `illama pull` takes")
    parser.add_argument("--name", help="the name to keep it under")
    parser.add_argument("--device", help="the device that it shall always run on")
    parser.add_argument("--cancel", action="store_true", help="cancel that pull, whoever waits for it")
    return parser


def _stop_parser() -> _Parser:
    parser = _Parser("%illama stop", "Unload a model and free its memory. Answers under way are finished first.")
    parser.add_argument("model", metavar="MODEL", nargs="?", help="default: the one that is loaded")
    parser.add_argument("--force", action="store_true", help="do not wait for answers under way")
    return parser


def parse_cell(line: str, body: str) -> Ask:
    """Read `%%illama`'s first line; `body` is the prompt. Raises GrammarError or HelpAsked."""
    parser = _cell_parser()
    arguments = vars(parser.parse_args(_words(line, parser)))
    if not body.strip():
        parser.error("the cell is empty: write the question below the first line")
    return Ask(prompt=body.removesuffix("\n"), **arguments)


def parse_line(line: str) -> Command:
    """Read what follows `%illama`. Raises GrammarError or HelpAsked."""
    verb, rest = [*line.split(maxsplit=1), "", ""][:2]
    if verb in ("", "-h", "--help", "help"):
        raise HelpAsked(_OVERVIEW)
    if verb not in _PARSERS:
        raise GrammarError(f"%illama has no verb {verb!r}.\n{_OVERVIEW}")
    return _PARSERS[verb](rest)


def _parse_run(rest: str) -> Ask:
    parser = _run_parser()
    head, prompt = _split_prompt(rest, parser)
    arguments = vars(parser.parse_args(head))
    if not prompt:
        parser.error("there is no PROMPT")
    return Ask(prompt=prompt, **arguments)


def _parse_pull(rest: str) -> Pull:
    parser = _pull_parser()
    return Pull(**vars(parser.parse_args(_words(rest, parser))))


def _parse_list(rest: str) -> List:
    parser = _Parser("%illama list", "The models installed. The result is a table with .to_dataframe().")
    parser.parse_args(_words(rest, parser))
    return List()


def _parse_ps(rest: str) -> Ps:
    parser = _Parser("%illama ps", "The models loaded. The result is a table with .to_dataframe().")
    parser.parse_args(_words(rest, parser))
    return Ps()


def _parse_doctor(rest: str) -> Doctor:
    parser = _Parser(
        "%illama doctor",
        "What is right and wrong with this machine, and what to do. It changes nothing.\n"
        "The result is a table with .to_dataframe().",
    )
    parser.parse_args(_words(rest, parser))
    return Doctor()


def _parse_stop(rest: str) -> Stop:
    parser = _stop_parser()
    return Stop(**vars(parser.parse_args(_words(rest, parser))))


_PARSERS: dict[str, Callable[[str], Command]] = {
    "pull": _parse_pull,
    "list": _parse_list,
    "ps": _parse_ps,
    "run": _parse_run,
    "stop": _parse_stop,
    "doctor": _parse_doctor,
}


def _words(line: str, parser: _Parser) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        parser.error("a quote is opened and never closed")


# One word as a shell would read it: bare characters, quoted stretches and escaped characters, in any mixture.
_WORD = re.compile(r"""\s*((?:[^\s"'\\]|"(?:[^"\\]|\\.)*"|'[^']*'|\\.)+)""")
_VALUED = {"-s", "--system", "-n", "--max-tokens", "-t", "--temperature", "--seed", "-o", "--out", "-f", "--format"}


def _split_prompt(rest: str, parser: _Parser) -> tuple[list[str], str]:
    """Split `MODEL [options] PROMPT`: the words before the prompt, and the prompt as it was written.

    The prompt is not read as shell words, so that an apostrophe in it is an apostrophe.
    """
    head: list[str] = []
    position, model, value = 0, False, False
    while match := _WORD.match(rest, position):
        word = match.group(1)
        if value:
            value = False
        elif word.startswith("-") and len(word) > 1:
            value = word in _VALUED
        elif not model:
            model = True
        else:
            break
        head += _words(word, parser)
        position = match.end()
    return head, _unquoted(rest[position:].strip())


def _unquoted(prompt: str) -> str:
    if len(prompt) > 1 and prompt[0] in "\"'" and prompt[-1] == prompt[0] and prompt[0] not in prompt[1:-1]:
        return prompt[1:-1]
    return prompt
