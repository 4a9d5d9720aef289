"""`bench`: what this machine does with a model, measured.

Knows: what is printed where, which exit code it ends with. Does not know: how anything is measured (`illama.bench`).
"""

from __future__ import annotations

import argparse
import dataclasses

from illama.bench.options import Options
from illama.cli import text
from illama.config import Settings

INTERRUPTED = 130


def bench(args: argparse.Namespace, settings: Settings) -> int:
    """`illama bench MODEL`."""
    from illama.bench import report
    from illama.bench.result import compare, read
    from illama.bench.run import run
    from illama.client import Client

    options = Options(**{each.name: getattr(args, each.name) for each in dataclasses.fields(Options)})
    before = read(options.compare) if options.compare else None  # a wrong file is told now, not in ten minutes
    with text.progress() as say, Client(settings=settings) as client:
        result = run(options, client, say)
        text.warn(client.warnings)
    print(report.lines(result))
    if before:
        print(f"\n{report.comparison(*compare(before, result), str(before.about.get('date')))}")
    if options.json:
        result.write(options.json)
    if result.interrupted:
        return INTERRUPTED
    return 1 if result.problem else 0
