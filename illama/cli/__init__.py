"""The command `illama`: Ollama's verbs in a terminal.

Knows: which verb is asked for, how a failure ends. Does not know: what the verbs do; each is imported when it is used,
so that `illama list` does not wait for what `illama run` needs.

Exit codes: 0; 1 for a failure (on stderr, one line of what and one of what to do); 2 for usage; 130 for Ctrl-C.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from illama.cli import text
from illama.cli.parser import build, check_verb
from illama.config import Settings
from illama.errors import IllamaError

FAILED, USAGE, INTERRUPTED = 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command (`sys.argv` unless another is given) and return its exit code."""
    parser = build()
    argv = sys.argv[1:] if argv is None else argv
    if argv and not argv[0].startswith("-"):
        check_verb(parser, argv[0])
    args, rest = parser.parse_known_args(argv)
    # argparse gives up on words that follow an option: `run MODEL --seed 1 Why is the sky blue`.
    if rest and (not hasattr(args, "prompt") or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        args.prompt += rest
    if not args.verb:
        parser.print_help()
        return USAGE
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a letter that cannot be read or shown is a question mark, not a traceback
            stream.reconfigure(errors="replace")
    module, _, function = args.handler.partition(":")
    try:
        # Who says what is set has to live with what is set wrongly.
        settings = Settings.load(lenient=getattr(args, "lenient", False))
        code: int = getattr(importlib.import_module(f"illama.cli.{module}"), function)(args, settings)
        sys.stdout.flush()
    except IllamaError as error:
        text.fail(error)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # `illama list | head -1`: nobody reads on. The interpreter must not complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return FAILED
    return code
