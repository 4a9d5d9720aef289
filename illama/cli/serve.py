"""`serve`: the host in the foreground.

Knows: what has to be true before it starts. Does not know: what a host does.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from illama.config import Settings
from illama.discovery import find
from illama.errors import ConfigError, HostError
from illama.transport import is_loopback


def serve(args: argparse.Namespace, settings: Settings) -> int:
    """`illama serve`."""
    from illama.host import serve as run_host

    if args.no_key and not is_loopback(f"http://{settings.host}"):
        raise ConfigError(
            f"--no-key is for loopback only, and ILLAMA_HOST is {settings.host}.",
            hint="`ILLAMA_HOST=127.0.0.1 illama serve --no-key`, or leave --no-key out.",
        )
    running = find(replace(settings, base_url=None))
    if running:
        raise HostError(
            f"A model host of this user runs already: {running.state}.", hint="`illama stop --host` ends it."
        )
    return int(run_host(settings, no_key=args.no_key) or 0)
