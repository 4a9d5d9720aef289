"""`doctor`: what is right and wrong with this machine for illama, and what to do about it.

Knows: which words and exit code an examination ends with. Does not know: what is looked at (`illama.doctor`).
"""

from __future__ import annotations

import argparse
import json

from illama.cli import text
from illama.config import Settings


def doctor(args: argparse.Namespace, settings: Settings) -> int:
    """`illama doctor`: exit code 1 if there is a failure."""
    from illama.doctor import finding, report
    from illama.doctor.examine import examine
    from illama.doctor.judge import judge

    status = text.StatusLine()
    status.show("looking at this machine …")
    try:
        machine = examine(settings)
    finally:
        status.clear()
    findings = judge(machine)
    if args.json:
        print(json.dumps(report.as_json(machine, findings), indent=2, ensure_ascii=False))
    else:
        print(report.lines(findings))
        print(f"\n{report.summary(findings)}")
    return 1 if finding.worst(findings) == finding.FAILURE else 0
