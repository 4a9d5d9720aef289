"""`prune`: shows what nothing needs any more, and deletes it when told to.

Knows: how it is shown and asked about. Does not know: what is left over, or how it is deleted (`illama.space`).
"""

from __future__ import annotations

import argparse
import json
import sys

from illama import space
from illama.cli import text
from illama.cli.models import in_force
from illama.config import Settings
from illama.errors import ConfigError
from illama.pull import environment
from illama.registry import Registry


def prune(args: argparse.Namespace, settings: Settings) -> int:
    """`illama prune`."""
    if settings.base_url:
        raise ConfigError(
            "prune looks at this machine's folders, and ILLAMA_BASE_URL names another host.",
            hint="Run it on the host's machine, without ILLAMA_BASE_URL.",
        )
    registry = Registry(in_force(settings, "ILLAMA_REGISTRY_DIR", settings.registry_dir))
    cache = in_force(settings, "ILLAMA_CACHE_DIR", settings.cache_dir)
    found = space.leftovers(registry, cache, environment.place(settings))
    if args.json:
        print(json.dumps([each.to_json() for each in found], indent=2, ensure_ascii=False))
        return 0
    if not found:
        print("Nothing is left over.")
        return 0
    rows = [(each.what, text.size(each.size), text.harmless(str(each.path))) for each in found]
    print(text.table(("WHAT", "SIZE", "WHERE"), rows))
    total = text.size(sum(each.size for each in found))
    if args.dry_run or not (args.yes or _agreed(f"Delete all of this ({total})?")):
        print(f"Nothing was deleted; `illama prune --yes` deletes all of this ({total}).")
        return 0
    freed, kept = space.clear(registry, found)
    print(f"{text.size(freed)} are free again.")
    for each in kept:
        print(f"Kept, as it is in use or may not be deleted: {text.harmless(str(each.path))}", file=sys.stderr)
    return 1 if kept else 0


def _agreed(question: str) -> bool:
    """Ask on a terminal; who cannot be asked has not agreed."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    try:
        return input(f"{question} [y/N] ").strip().lower() in {"y", "yes"}
    except EOFError:
        return False
