"""What a benchmark is asked for, and the arguments that say so: the same in the terminal and in a notebook.

Knows: argparse, what the values may be. Does not know: what they lead to. Light: every command line is parsed with it.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

PARTS = ("prompts", "streams", "beside", "life")
PROMPTS, QUICK_PROMPTS = (128, 512, 2048, 8192), (128, 512)
STREAMS, QUICK_STREAMS = (1, 4, 8, 16), (1, 16)
_NAME = re.compile(r"[\w.+-]+")
# The names of what is measured besides peers.
_TAKEN = {"host", "raw", "jupyter"}


@dataclass(frozen=True)
class Peer:
    """Another server of OpenAI's API. `key_variable` names the environment's variable that holds its key."""

    name: str
    url: str
    key_variable: str | None = None


@dataclass(frozen=True)
class Options:
    """What is to be measured. None stands for what suits: see the properties."""

    model: str
    rounds: int | None = None
    quick: bool = False
    raw: bool = False
    switch: str | None = None
    against: Sequence[Peer] = ()
    against_model: Sequence[tuple[str, str]] = ()
    only: Sequence[str] = ()
    prompts: Sequence[int] = ()
    streams: Sequence[int] = ()
    tokens: int | None = None
    anyway: bool = False
    json: Path | None = None
    compare: Path | None = None

    @property
    def parts(self) -> Sequence[str]:
        """The parts that are measured. Of a quick run, what is beside a long prompt is none."""
        return self.only or (tuple(part for part in PARTS if part != "beside") if self.quick else PARTS)

    @property
    def number_of_rounds(self) -> int:
        """The number of interleaved rounds."""
        return self.rounds or (2 if self.quick else 5)

    @property
    def prompt_sizes(self) -> Sequence[int]:
        """Prompt tokens."""
        return self.prompts or (QUICK_PROMPTS if self.quick else PROMPTS)

    @property
    def stream_counts(self) -> Sequence[int]:
        """Streams at once."""
        return self.streams or (QUICK_STREAMS if self.quick else STREAMS)

    @property
    def answer_tokens(self) -> int:
        """Tokens of an answer."""
        return self.tokens or (32 if self.quick else 64)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a benchmark's arguments to a parser; its namespace has the fields of `Options`."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="an installed model")
    add("--quick", action="store_true", help="under a minute for a small model: fewer sizes, two rounds")
    add("--rounds", metavar="N", type=positive, help="interleaved rounds; 5 unless given")
    add("--raw", action="store_true", help="in turn with bare OpenVINO GenAI, and with the Jupyter URL if one is found")
    add("--switch", metavar="MODEL", help="also switch to this other installed model and back")
    add(
        "--against",
        metavar="NAME=URL",
        type=_peer,
        action="append",
        default=[],
        help="in turn with another server of OpenAI's API; NAME=URL#VARIABLE if the variable holds its key",
    )
    add(
        "--against-model",
        metavar="NAME=MODEL",
        type=_pair,
        action="append",
        default=[],
        help="what MODEL is called there; the first of its list unless given",
    )
    add("--only", metavar="PARTS", type=_parts, default=(), help=f"some of {','.join(PARTS)}")
    add("--prompts", metavar="TOKENS", type=_numbers, default=(), help="prompt sizes; 128,512,2048,8192 unless given")
    add("--streams", metavar="COUNTS", type=_numbers, default=(), help="streams at once; 1,4,8,16 unless given")
    add("--tokens", metavar="N", type=positive, help="tokens of an answer; 64 unless given")
    add("--anyway", action="store_true", help="measure although others use the host; the result says so")
    add("--json", metavar="FILE", type=Path, help="write all figures, and what they were measured with, there")
    add("--compare", metavar="FILE", type=Path, help="compare with such a file of an earlier run")


def positive(raw: str) -> int:
    """An argument's value as a whole number above 0. Raises argparse's error."""
    if not raw.isdecimal() or not int(raw):
        raise argparse.ArgumentTypeError(f"{raw!r} is not a whole number above 0")
    return int(raw)


def _numbers(raw: str) -> tuple[int, ...]:
    return tuple(sorted({positive(part.strip()) for part in raw.split(",")}))


def _parts(raw: str) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in raw.split(","))
    unknown = next((part for part in parts if part not in PARTS), None)
    if unknown is not None:
        raise argparse.ArgumentTypeError(f"{unknown!r} is none of {', '.join(PARTS)}")
    return parts


def _pair(raw: str) -> tuple[str, str]:
    name, equals, value = raw.partition("=")
    if not equals or not value or not _NAME.fullmatch(name):
        raise argparse.ArgumentTypeError(f"{raw!r} is not NAME=VALUE")
    return name, value


def _peer(raw: str) -> Peer:
    name, value = _pair(raw)
    url, _, variable = value.partition("#")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise argparse.ArgumentTypeError(f"{url!r} is no address")
    if parts.password or parts.username or parts.query:
        raise argparse.ArgumentTypeError(
            "a key does not belong on a command line: name its variable, NAME=URL#VARIABLE"
        )
    if name in _TAKEN:
        raise argparse.ArgumentTypeError(f"{name!r} stands for one of ours: give it another name")
    return Peer(name, url.rstrip("/").removesuffix("/v1"), variable or None)
