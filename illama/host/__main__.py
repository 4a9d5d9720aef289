"""`python -m illama.host [--on-demand] [--no-key]`: the host's process."""

from __future__ import annotations

import gc
import sys

from illama.config import Settings
from illama.errors import IllamaError
from illama.host import logs
from illama.host.app import serve

# Objects that come before Python looks for garbage; its own 700 are ten requests.
_GARBAGE_EVERY = 5_000


def main() -> int:
    """Serve, with the log in its file."""
    try:
        settings = Settings.load()
        logs.configure(settings)
        # What is imported stays, so nobody looks through it for garbage again and again, 50 ms each time; and what
        # hundreds of requests at once hold is not gone through at every few of them.
        gc.freeze()
        gc.set_threshold(_GARBAGE_EVERY)
        return serve(settings, on_demand="--on-demand" in sys.argv, no_key="--no-key" in sys.argv)
    except IllamaError as error:
        print(error, file=sys.stderr)  # noqa: T201 - this is what a terminal, or the log, is to show
        return 1


if __name__ == "__main__":
    sys.exit(main())
