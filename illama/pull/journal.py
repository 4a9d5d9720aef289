"""The full logs of what a pull's children say: one file for each conversion, each proof, each environment made.

Knows: where they lie, what they are called, how many are kept. Does not know: what is in them.
"""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

from illama.config import Settings

KEEP = 20


def fresh(settings: Settings, what: str) -> Path:
    """A new log for `what`, such as `convert-Phi-4`, with the oldest of all removed when there are many.

    Raises OSError.
    """
    settings.log_dir.mkdir(parents=True, exist_ok=True)
    old = sorted(settings.log_dir.glob("job-*.log"))  # by their moments
    for path in old[: max(len(old) - KEEP + 1, 0)]:
        path.unlink(missing_ok=True)
    moment = datetime.now().astimezone().strftime("%Y%m%dT%H%M%S%f")
    path = settings.log_dir / f"job-{moment}-{re.sub(r'[^A-Za-z0-9._-]+', '-', what)[:80]}.log"
    path.touch(mode=0o600)
    return path
