"""`python -m illama.pull`: see illama/pull/worker.py."""

from __future__ import annotations

import sys

from illama.pull.worker import main

if __name__ == "__main__":
    sys.exit(main())
