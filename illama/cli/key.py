"""`key`: inference keys, for programs that shall use models and nothing else.

Knows: how a key is shown, once. Does not know: how keys are kept. They are this user's files, so no host need run, and
a host that runs sees every change at once; nor can a key be made over the network.
"""

from __future__ import annotations

import argparse
import json
import sys

from illama.cli import text
from illama.config import Settings
from illama.errors import IllamaError
from illama.host.keys import InferenceKeys


def add(args: argparse.Namespace, settings: Settings) -> int:
    """`illama key add NAME`: the key on stdout, and nothing else there."""
    print(InferenceKeys.of(settings).add(args.name))
    print(f"This is the only time that the key {args.name} is shown. It may list and use models.", file=sys.stderr)
    return 0


def list_keys(args: argparse.Namespace, settings: Settings) -> int:
    """`illama key list`."""
    found = InferenceKeys.of(settings).list()
    if args.json:
        print(json.dumps([{"name": key.name, "created": key.created, "used": key.used} for key in found], indent=2))
        return 0
    rows = [(key.name, text.ago(key.created), text.ago(key.used) if key.used else "never") for key in found]
    print(text.table(("NAME", "CREATED", "LAST USED"), rows))
    return 0


def rm(args: argparse.Namespace, settings: Settings) -> int:
    """`illama key rm NAME…`: those that there are, also if others are not."""
    keys, failed = InferenceKeys.of(settings), False
    for name in args.names:
        try:
            keys.remove(name)
        except IllamaError as error:
            failed = True
            text.fail(error)
        else:
            print(f"Revoked {name}.")
    return 1 if failed else 0
