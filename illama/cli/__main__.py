"""`python -m illama.cli` is `illama`."""

from __future__ import annotations

import sys

from illama.cli import main

sys.exit(main())
