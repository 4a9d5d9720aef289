"""`python -m illama.host [--on-demand] [--no-key]`: the host's process."""

from __future__ import annotations

import sys

from illama.config import Settings
from illama.errors import IllamaError
from illama.host import logs
from illama.host.app import serve


def main() -> int:
    """Serve, with the log in its file."""
    try:
        settings = Settings.load()
        logs.configure(settings)
        return serve(settings, on_demand="--on-demand" in sys.argv, no_key="--no-key" in sys.argv)
    except IllamaError as error:
        print(error, file=sys.stderr)  # noqa: T201 - this is what a terminal, or the log, is to show
        return 1


if __name__ == "__main__":
    sys.exit(main())
