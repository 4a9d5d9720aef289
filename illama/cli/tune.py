"""`tune`: the settings with which this machine runs a model best, found and kept.

Knows: what is printed where, which exit code it ends with. Does not know: how anything is measured (`illama.tune`).
"""

from __future__ import annotations

import argparse
import dataclasses

from illama.cli import text
from illama.config import Settings
from illama.tune.options import Options

INTERRUPTED = 130


def tune(args: argparse.Namespace, settings: Settings) -> int:
    """`illama tune MODEL`."""
    from illama.tune import result
    from illama.tune.run import reset, run

    options = Options(**{each.name: getattr(args, each.name) for each in dataclasses.fields(Options)})
    if options.reset:
        print(f"{reset(options, settings).name} is loaded as without tuning from now on.")
        return 0
    with text.progress() as say:
        found = run(options, settings, say)
    print(result.lines(found))
    if options.json:
        found.write(options.json)
    if found.interrupted:
        return INTERRUPTED
    return 1 if found.problem else 0
