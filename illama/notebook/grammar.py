"""The grammar of `%illama` and `%%illama`: a line of text becomes typed arguments, or an error that shows the usage.

Knows: verbs, options, what a value may look like. Does not know: IPython, the model host, how anything is shown.
"""

from __future__ import annotations

import argparse
import difflib
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from illama.bench.options import add_arguments
from illama.notebook import commands, kinds
from illama.notebook.arguments import GrammarError, HelpAsked, Parser, question
from illama.notebook.commands import Ask, Command
from illama.tune.options import add_arguments as tune_arguments

PROGRAMS = ("openai", "langchain", "open-webui", "curl")
CELL = "%%illama"


def _cell_parser() -> Parser:
    parser = Parser(
        CELL,
        "Ask a model with the whole cell. The cell's text is sent as it is: braces, $ and quotes mean nothing here,\n"
        "but for {NAME} of a --var NAME. In the first line, {name} is a variable's value, as in every IPython magic.",
    )
    parser.add_argument("model", metavar="MODEL", nargs="?", help="default: %%illama use's, else the one loaded")
    question(parser)
    return parser


def _run(parser: Parser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a name from %%illama list")
    question(parser)


def _chat(parser: Parser) -> None:
    parser.add_argument("model", metavar="MODEL", nargs="?", help="default: %%illama use's, else the one loaded")
    parser.add_argument("-s", "--system", metavar="SYSTEM", help="the system message")
    parser.add_argument("--thread", metavar="NAME", default="chat", help="the conversation's name; chat, unless given")


def _pull(parser: Parser) -> None:
    parser.add_argument("source", metavar="SOURCE", help="smollm2, or any other source that `illama pull` takes")
    parser.add_argument("--name", metavar="NEW", help="the name to keep it under")
    parser.add_argument("--device", metavar="DEVICE", help="the device that it shall always run on")
    parser.add_argument(
        "--weight-format",
        metavar="FORMAT",
        choices=("int4", "int8", "fp16", "auto"),
        help="what a checkpoint's weights become: int4, int8, fp16 or auto",
    )
    parser.add_argument("--trust-remote-code", action="store_true", help="run the code that its repository brings")
    parser.add_argument("--yes", action="store_true", help="make the converter's environment, if it is needed")
    parser.add_argument("--cancel", action="store_true", help="cancel that pull, whoever waits for it")


def _nothing(parser: Parser) -> None:
    """No arguments."""


def _show(parser: Parser) -> None:
    parser.add_argument("model", metavar="MODEL", help="its name, or another name that it goes by")


def _stop(parser: Parser) -> None:
    parser.add_argument("model", metavar="MODEL", nargs="?", help="default: the one that is loaded")
    parser.add_argument("--force", action="store_true", help="do not wait for answers under way")


def _rm(parser: Parser) -> None:
    parser.add_argument("models", metavar="MODEL", nargs="+", help="the models to remove")
    parser.add_argument("--force", action="store_true", help="do not wait for answers under way")


def _use(parser: Parser) -> None:
    parser.add_argument("model", metavar="MODEL", nargs="?", help="without one: says which model is used now")
    parser.add_argument("--device", metavar="DEVICE", help="ask for it on this device: CPU, GPU, GPU.1, NPU, AUTO")
    parser.add_argument("--default", action="store_true", help="back to the model that is loaded, or the newest")


def _thread(parser: Parser) -> None:
    parser.add_argument(
        "action", metavar="list|show|clear", choices=("list", "show", "clear"), nargs="?", default="list"
    )
    parser.add_argument("name", metavar="THREAD", nargs="?", help="whose; `clear` without one forgets all")


def _panel(parser: Parser) -> None:
    parser.add_argument("--here", action="store_true", help="in the cell's output, not beside the notebook")


def _logs(parser: Parser) -> None:
    parser.add_argument(
        "log",
        metavar="host|engine|pull",
        nargs="?",
        choices=("host", "engine", "pull"),
        default="host",
        help="host, unless given",
    )
    parser.add_argument(
        "-n", dest="lines", metavar="N", type=kinds.positive, default=50, help="how many; 50 unless given"
    )


def _program(raw: str) -> str:
    if raw not in PROGRAMS:
        raise argparse.ArgumentTypeError(f"{raw!r} is none of {', '.join(PROGRAMS)}")
    return raw


def _url(parser: Parser) -> None:
    add = parser.add_argument
    add("--key", metavar="KEY", help="make an inference key of this name, and show it this once")
    add("--show-key", action="store_true", help="show the key that is there: Jupyter's, or the host's")
    add("--at", metavar="ADDRESS", help="how others reach this Jupyter, such as https://hub.example")
    add("--host", action="store_true", help="the model host's own address, not the one through Jupyter")


def _openai(parser: Parser) -> None:
    parser.add_argument(
        "programs", metavar="PROGRAM", nargs="*", type=_program, help=f"{', '.join(PROGRAMS)}; all unless given"
    )
    _url(parser)


@dataclass(frozen=True)
class Verb:
    """One verb: what the overview says, the rest of its help, its arguments, and the command that they make."""

    short: str
    more: str
    add: Callable[[Parser], None]
    make: Callable[..., Command]


_TABLE = "The result is a table with .to_dataframe()."
VERBS = {
    "pull": Verb("fetch a model and make it ready to run", "The result is what `show` gives.", _pull, commands.Pull),
    "list": Verb("the models installed", _TABLE, _nothing, commands.List),
    "ps": Verb("the models loaded, with their device and state", _TABLE, _nothing, commands.Ps),
    "show": Verb("all that is known about a model", _TABLE, _show, commands.Show),
    "run": Verb(
        "ask a model one question",
        "Everything after MODEL and the options is the prompt. Quotes are not needed, but at the end of a line\n"
        "IPython takes a ? for its own help: put a question in quotes. Options may follow a prompt in quotes.",
        _run,
        Ask,
    ),
    "chat": Verb(
        "talk to a model in this cell, question by question",
        "An empty line or /bye ends it, /clear forgets what was said; the conversation stays in its thread.",
        _chat,
        commands.Chat,
    ),
    "thread": Verb(
        "the conversations of this kernel: list, show, clear",
        "%%illama --thread NAME adds to one.",
        _thread,
        commands.Thread,
    ),
    "use": Verb(
        "choose the model, and device, for this notebook", "The same as %config Illama.model.", _use, commands.Use
    ),
    "stop": Verb("unload a model and free its memory", "Answers under way are finished first.", _stop, commands.Stop),
    "rm": Verb("remove models from the registry", "Answers under way are finished first.", _rm, commands.Remove),
    "panel": Verb(
        "models, the device and a chat, live beside the notebook",
        'It needs pip install "illama[lab]". The same as illama.panel().',
        _panel,
        commands.Panel,
    ),
    "doctor": Verb(
        "what is right and wrong with this machine, and what to do",
        f"It changes nothing. {_TABLE}",
        _nothing,
        commands.Doctor,
    ),
    "bench": Verb(
        "measure what this machine does with a model",
        "Interrupt the cell to end it: what was measured so far is shown. The result has .to_dataframe() and .plot().",
        add_arguments,
        commands.Bench,
    ),
    "tune": Verb(
        "find and keep the settings with which this machine runs a model best",
        "Interrupt the cell to end it: the model is as it was then. The result has .to_dataframe().",
        tune_arguments,
        commands.Tune,
    ),
    "logs": Verb(
        "the last lines of the host's log, or the engines', or the pulls'",
        "No prompts, answers or keys are in it.",
        _logs,
        commands.Logs,
    ),
    "url": Verb(
        "the API's address and key, for other programs",
        "The result has .base_url and .api_key.",
        _url,
        commands.Url,
    ),
    "openai": Verb(
        "settings to paste: openai SDK, LangChain, Open WebUI, curl",
        "The result has .base_url and .api_key.",
        _openai,
        commands.OpenAI,
    ),
}
ALIASES = {"ls": "list"}  # as Ollama has it
_OVERVIEW = (
    "usage: %illama VERB …     (%illama VERB --help says more)\n"
    + "\n".join(f"  {name:7} {verb.short}" for name, verb in VERBS.items())
    + "\n\n%%illama asks with the whole cell; %%illama --help says more."
)


def parser_of(verb: str | None) -> Parser | None:
    """The parser of a verb, or, for None, of `%%illama`'s first line. None if there is no such verb."""
    if verb is None:
        return _cell_parser()
    if verb not in VERBS:
        return None
    found = VERBS[verb]
    parser = Parser(f"%illama {verb}", f"{found.short[0].upper()}{found.short[1:]}.\n{found.more}".strip())
    found.add(parser)
    return parser


def parse_cell(line: str, body: str) -> Ask:
    """Read `%%illama`'s first line; `body` is the prompt. Raises GrammarError or HelpAsked."""
    parser = _cell_parser()
    arguments = vars(parser.parse_args(words(line, parser)))
    if not body.strip():
        parser.error("the cell is empty: write the question below the first line")
    return Ask(prompt=body.removesuffix("\n"), **arguments)


def parse_line(line: str) -> Command:
    """Read what follows `%illama`. Raises GrammarError or HelpAsked."""
    verb, rest = [*line.split(maxsplit=1), "", ""][:2]
    verb = ALIASES.get(verb, verb)
    if verb in ("", "-h", "--help", "help"):
        raise HelpAsked(_OVERVIEW)
    parser = parser_of(verb)
    if parser is None:
        near = difflib.get_close_matches(verb, VERBS, 1, 0.7)
        more = f" Did you mean {near[0]}? %illama --help lists the verbs." if near else f"\n{_OVERVIEW}"
        raise GrammarError(f"%illama has no verb {verb!r}.{more}")
    if verb == "run":
        head, prompt = _split_prompt(rest, parser)
        arguments = {**vars(parser.parse_args(head)), "prompt": prompt}
        if not prompt:
            parser.error("there is no PROMPT")
    else:
        arguments = vars(parser.parse_args(words(rest, parser)))
        _check(verb, arguments, parser)
    return VERBS[verb].make(**arguments)


def _check(verb: str, arguments: dict[str, Any], parser: Parser) -> None:
    """What argparse cannot say."""
    if verb == "thread":
        if arguments["action"] == "show" and not arguments["name"]:
            parser.error("show which THREAD?")
        if arguments["action"] == "list" and arguments["name"]:
            parser.error("list takes no THREAD")
    if verb == "use" and arguments["default"] and (arguments["model"] or arguments["device"]):
        parser.error("--default stands alone")


def words(line: str, parser: Parser) -> list[str]:
    """The line as a shell would cut it into words."""
    try:
        return shlex.split(line)
    except ValueError:
        parser.error("a quote is opened and never closed")


# One word as a shell would read it: bare characters, quoted stretches and escaped characters, in any mixture.
_WORD = re.compile(r"""\s*((?:[^\s"'\\]|"(?:[^"\\]|\\.)*"|'[^']*'|\\.)+)""")


# A prompt in quotes and the option behind it.
_QUOTED = re.compile(r"""(?P<prompt>"[^"]*"|'[^']*')\s+(?P<option>-[^\s=]+)""", re.DOTALL)


def _split_prompt(rest: str, parser: Parser) -> tuple[list[str], str]:
    """Split `MODEL [options] PROMPT [options]`: the words around the prompt, and the prompt as it was written.

    The prompt is not read as shell words, so that an apostrophe in it is an apostrophe.
    """
    head: list[str] = []
    position, model, value = 0, False, False
    while match := _WORD.match(rest, position):
        word = match.group(1)
        if value:
            value = False
        elif word.startswith("-") and len(word) > 1:
            value = parser.valued(word) is not None
        elif not model:
            model = True
        else:
            break
        head += words(word, parser)
        position = match.end()
    prompt = rest[position:].strip()
    quoted = _QUOTED.match(prompt)
    if quoted and parser.is_option(quoted["option"]):
        return head + words(prompt[quoted.start("option") :], parser), quoted["prompt"][1:-1]
    return head, _unquoted(prompt)


def _unquoted(prompt: str) -> str:
    if len(prompt) > 1 and prompt[0] in "\"'" and prompt[-1] == prompt[0] and prompt[0] not in prompt[1:-1]:
        return prompt[1:-1]
    return prompt
