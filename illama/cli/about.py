"""`env` and `version`: what is in force, and who is there.

Knows: settings and their sources. Does not know: what they do. Secrets are not shown.
"""

from __future__ import annotations

import argparse
import json

from illama import __version__
from illama.cli import text
from illama.config import VARIABLES, Settings
from illama.host import state


def env(args: argparse.Namespace, settings: Settings) -> int:
    """`illama env`: exit code 1 if a variable has a value that cannot be used; the table has its default."""
    public = settings.public()
    found = {}
    for variable in VARIABLES:
        value = public.get(variable.name)
        if variable.secret:
            value = "(hidden)" if getattr(settings, variable.field) else None
        found[variable.name] = {"value": value, "source": settings.sources[variable.name], "meaning": variable.meaning}
    if args.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return _told(settings)
    rows = [(name, _typed(each["value"]), str(each["source"]), str(each["meaning"])) for name, each in found.items()]
    print(text.table(("VARIABLE", "VALUE", "SOURCE", "MEANING"), rows))
    print(f"\nState: {settings.run_dir}\nLogs:  {settings.log_dir}\nKey:   {settings.key_file}")
    running = state.read(settings.run_dir)
    if running:
        from illama.discovery import differences

        print(f"Host:  {running.url}, pid {running.pid}")
        text.warn(differences(settings, running))
    return _told(settings)


def _told(settings: Settings) -> int:
    """Say which variables have a value that cannot be used. Returns the exit code."""
    for fault in settings.faults:
        text.fail(fault)
    return 1 if settings.faults else 0


def version(args: argparse.Namespace, settings: Settings) -> int:
    """`illama version`."""
    print(f"illama {__version__}")
    if settings.base_url:
        from illama.client import Client

        with Client(settings=settings) as client:
            print(f"host {client.version().get('version')} at {client.base_url}")
        return 0
    running = state.read(settings.run_dir)
    print(f"host {running.version} at {running.url}, pid {running.pid}" if running else "No model host is running.")
    return 0


def _typed(value: object) -> str:
    """A value as one would type it into a shell."""
    if value is None or value == []:
        return "-"
    if isinstance(value, bool):
        return str(int(value))
    return ",".join(value) if isinstance(value, list) else f"{value:g}" if isinstance(value, float) else str(value)
