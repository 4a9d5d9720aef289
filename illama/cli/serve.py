"""`serve`: the host in the foreground.

Knows: what a terminal is told. Does not know: what a host does, or what keeps it from starting.
"""

from __future__ import annotations

import argparse
import sys

from illama.config import Settings


def serve(args: argparse.Namespace, settings: Settings) -> int:
    """`illama serve`."""
    from illama.host import logs
    from illama.host.app import serve as run_host

    logs.configure(settings)
    if args.no_key:
        print("No key is asked for: every user of this machine may use, pull and remove models.", file=sys.stderr)
    else:
        print(f"Clients send the key in {settings.key_file} as `Authorization: Bearer KEY`.", file=sys.stderr)
    return run_host(settings, no_key=args.no_key)
