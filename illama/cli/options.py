"""`illama set`: a model's options, shown and changed.

Knows: how they are typed and printed. Does not know: what they mean (`registry.options`), or the engine.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from illama.config import Settings
from illama.errors import ConfigError
from illama.registry import Entry, Registry
from illama.registry import options as known
from illama.registry.adapters import place


def set_options(args: argparse.Namespace, settings: Settings) -> int:
    """`illama set MODEL [OPTION=VALUE ...]`."""
    if settings.base_url:
        raise ConfigError(
            "Options are set on the machine that has the model.", hint="Run it there, or unset ILLAMA_BASE_URL."
        )
    pairs = [change.partition("=") for change in args.changes]
    wrong = next((name for name, equals, _ in pairs if not (name and equals)), None)
    if wrong is not None:
        print(f"illama set: {wrong!r} is not OPTION=VALUE", file=sys.stderr)
        return 2
    registry = Registry(settings.registry_dir)
    entry = registry.get(args.model)
    if pairs:
        changes = {name: value for name, _, value in pairs}
        entry = registry.update(
            entry.name,
            lambda found: known.changed(
                found, changes, registry.get, lambda each, path: place(registry.folder(each), path)
            ),
        )
    values = {**entry.options, **({"device": entry.device} if entry.device else {})}
    found = _tuned(settings, entry)
    width = max(map(len, known.available(entry.task)), default=0)
    for name, option in known.available(entry.task).items():
        value, by = values.get(name), ""
        if value is None and name in found:
            value, by = found[name], " (tuned)"
        shown = "" if value is None else f"{int(value) if isinstance(value, bool) else value}{by}"
        print(f"{name:{width}}  {shown or '-':12}  {option.meaning}")
    if pairs:
        print(f"It counts from the next load on: `illama stop {entry.name}` if it is loaded.", file=sys.stderr)
    return 0


def _tuned(settings: Settings, entry: Entry) -> Mapping[str, Any]:
    """The options that `illama tune` found and that count on this machine."""
    if not entry.tuned:
        return {}
    from illama.bench.facts import tuned_here

    found: Mapping[str, Any] = tuned_here(settings, entry).get("in_force", {})
    return found
