"""What a tuning is asked for, and the arguments that say so: the same in the terminal and in a notebook.

Knows: argparse, what the values may be. Does not know: what they lead to. Light: every command line is parsed with it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from illama.bench.options import positive

SETTINGS = ("cores", "hyper_threading", "threads", "pinning", "kv_precision", "max_batched_tokens")
# Milliseconds that a step may take which reads another's prompt: so long the running streams stand still.
LONGEST_STEP = 500
# With fewer rounds chance alone would often be better in each of them.
_LEAST_ROUNDS = 3


@dataclass(frozen=True)
class Options:
    """What is to be tuned. None stands for what suits: see the properties."""

    model: str
    quick: bool = False
    rounds: int | None = None
    only: Sequence[str] = ()
    prompt: int | None = None
    tokens: int | None = None
    longest_step: int = LONGEST_STEP
    dry_run: bool = False
    reset: bool = False
    json: Path | None = None

    @property
    def settings(self) -> Sequence[str]:
        """The settings that are tried, where the device has them."""
        return self.only or SETTINGS

    @property
    def number_of_rounds(self) -> int:
        """The number of interleaved rounds."""
        return self.rounds or (_LEAST_ROUNDS if self.quick else 5)

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the long prompt."""
        return self.prompt or (512 if self.quick else 1024)

    @property
    def answer_tokens(self) -> int:
        """Tokens of an answer."""
        return self.tokens or (24 if self.quick else 64)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a tuning's arguments to a parser; its namespace has the fields of `Options`."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="an installed model")
    add("--quick", action="store_true", help="fewer rounds, shorter texts")
    add("--rounds", metavar="N", type=_rounds, help=f"interleaved rounds; 5 unless given, at least {_LEAST_ROUNDS}")
    add("--only", metavar="SETTINGS", type=_settings, default=(), help=f"some of {','.join(SETTINGS)}")
    add("--prompt", metavar="TOKENS", type=positive, help="tokens of the long prompt; 1024 unless given")
    add("--tokens", metavar="N", type=positive, help="tokens of an answer; 64 unless given")
    add(
        "--longest-step",
        metavar="MS",
        type=positive,
        default=LONGEST_STEP,
        help=f"how long a step that reads a prompt may hold up the other streams; {LONGEST_STEP} unless given",
    )
    add("--dry-run", action="store_true", help="measure and show, and keep nothing")
    add("--reset", action="store_true", help="take back what was tuned for this model")
    add("--json", metavar="FILE", type=Path, help="write all figures, and what they were measured with, there")


def _rounds(raw: str) -> int:
    if positive(raw) < _LEAST_ROUNDS:
        raise argparse.ArgumentTypeError(f"with fewer than {_LEAST_ROUNDS} rounds, chance decides")
    return int(raw)


def _settings(raw: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in raw.split(","))
    unknown = next((name for name in names if name not in SETTINGS), None)
    if unknown is not None:
        raise argparse.ArgumentTypeError(f"{unknown!r} is none of {', '.join(SETTINGS)}")
    return names
