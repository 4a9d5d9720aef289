"""The arguments of the magics' lines: a parser that raises, the options of a question.

Knows: argparse. Does not know: verbs (`grammar` does), IPython.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any, NoReturn

from illama.notebook import kinds

FORMATS = ("md", "text", "code", "json")


class GrammarError(ValueError):
    """The line is not one that the magic understands. The text ends with the usage line."""


class HelpAsked(Exception):  # noqa: N818 - not an error: somebody asked
    """`--help` was given; the text is the help."""


class Parser(argparse.ArgumentParser):
    """argparse that raises instead of printing and leaving, and that tells what may come next."""

    def __init__(self, prog: str, description: str) -> None:
        more: dict[str, Any] = {"color": False} if sys.version_info >= (3, 14) else {}
        super().__init__(
            prog=prog,
            description=description,
            add_help=False,
            allow_abbrev=False,
            formatter_class=_format,
            **more,
        )
        self.add_argument(
            "-h", "--help", action=_Help, nargs=0, default=argparse.SUPPRESS, help="show this and do nothing"
        )

    def error(self, message: str) -> NoReturn:
        """Raise instead of leaving."""
        raise GrammarError(f"{message}\n{self.format_usage().strip()}")

    def options(self) -> list[str]:
        """All options, the long names of those that have one."""
        return [max(action.option_strings, key=len) for action in self._actions if action.option_strings]

    def valued(self, word: str) -> argparse.Action | None:
        """The option of this name, if a value follows it."""
        action = self._option_string_actions.get(word)
        return action if action is not None and action.nargs != 0 else None

    def is_option(self, word: str) -> bool:
        """Whether there is an option of this name."""
        return word in self._option_string_actions

    def positional(self, number: int) -> argparse.Action | None:
        """The positional argument that the word of this number, from 0, is for."""
        found = [action for action in self._actions if not action.option_strings]
        if found and number >= len(found):
            return found[-1] if found[-1].nargs in ("*", "+") else None
        return found[number] if found else None


def _format(prog: str) -> argparse.HelpFormatter:
    # Not as wide as a terminal that a kernel does not have, but as a notebook's cell.
    return argparse.RawDescriptionHelpFormatter(prog, width=100)


class _Help(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        raise HelpAsked(parser.format_help().strip())


def question(parser: Parser) -> None:
    """Add the options of a question."""
    add = parser.add_argument
    add("-s", "--system", metavar="SYSTEM", help="the system message")
    add("-n", "--max-tokens", metavar="MAX", type=kinds.positive, help="longest answer, in tokens")
    add("-t", "--temperature", metavar="TEMP", type=kinds.temperature, help="0 is the likeliest word, always; up to 2")
    add("--seed", metavar="N", type=int, help="makes a random choice repeatable")
    add(
        "--json",
        dest="schema",
        metavar="SCHEMA",
        type=kinds.expression,
        help="answer in JSON of this shape: a pydantic model, a dataclass, a TypedDict or a JSON schema of yours;\n"
        "the Reply's `parsed` is an instance of it",
    )
    add(
        "-f",
        "--format",
        metavar="|".join(FORMATS),
        choices=FORMATS,
        help="md: Markdown (the default); text: as it is; code: puts the code into the next cell; json: as a tree",
    )
    add("-o", "--out", metavar="VAR", type=kinds.identifier, help="puts the whole answer (an illama Reply) into VAR")
    add(
        "--var",
        dest="variables",
        metavar="NAME",
        type=kinds.identifier,
        action="append",
        default=[],
        help="puts this variable's value where the question says {NAME}, or below it; may be given several times",
    )
    add(
        "--image",
        dest="images",
        metavar="VAR",
        action="append",
        default=[],
        help="a picture for a vision model: a matplotlib figure, a PIL image, an array, or a file; several times",
    )
    add("--thread", metavar="NAME", help="goes on with the conversation of this name, or begins it")
    add("--no-stream", dest="stream", action="store_false", help="shows the answer when it is complete, not before")
