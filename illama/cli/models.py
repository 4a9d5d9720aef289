"""`list`, `ps`, `show`, `cp`, `stop` and `rm`: what is installed, what is loaded, and how to be rid of it.

Knows: whom to ask. None of these starts a host: without one the registry is read, and nothing is loaded. Does not know:
how the registry or the host keep what they tell.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from illama.cli import columns, text
from illama.config import Settings
from illama.errors import IllamaError
from illama.host import state
from illama.paths import private

if TYPE_CHECKING:
    from illama.client import Client
    from illama.registry import Registry

_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_TEMPLATE_LINES = 8
NOTHING = "Nothing is loaded: no model host is running."


def list_models(args: argparse.Namespace, settings: Settings) -> int:
    """`illama list`."""
    models = installed_models(settings)
    if args.json:
        return _json(models)
    print(columns.table(columns.INSTALLED, models))
    if not models and sys.stdout.isatty():
        print("No model is installed: `illama pull smollm2` fetches a small one.", file=sys.stderr)
    return 0


def installed_models(settings: Settings) -> list[dict[str, Any]]:
    """What is installed, as `Client.list()` gives it; the registry is read unless a host is named."""
    if settings.base_url:
        from illama.client import Client

        with Client(settings=settings) as client:
            return client.list()
    return [
        {
            "name": entry.name,
            "task": entry.task,
            "weight_format": entry.weight_format,
            "size": entry.size,
            "modified_at": entry.created,
            "context_length": entry.context_length,
            "digest": entry.digest,
        }
        for entry in _registry(settings).entries()
    ]


def ps(args: argparse.Namespace, settings: Settings) -> int:
    """`illama ps`."""
    with _running_host(settings) as client:
        models, jobs = (client.ps(), client.jobs()) if client else ([], [])
    if args.json:
        return _json(jobs if args.pulls else models)
    if args.pulls:
        print(columns.table(columns.JOBS, jobs) if jobs else "No pull is under way, and none ended lately.")
        return 0
    if not client:
        print(NOTHING)
        return 0
    print(columns.table(columns.LOADED, models) if models else "Nothing is loaded.")
    pulls = columns.worth_showing(jobs)
    if pulls:
        print(f"\n{columns.table(columns.JOBS, pulls)}")
    return 0


def show(args: argparse.Namespace, settings: Settings) -> int:
    """`illama show MODEL` and `illama show --catalog`."""
    if bool(args.model) == args.catalog:
        print("illama show: give a MODEL, or --catalog", file=sys.stderr)
        return 2
    if args.catalog:
        return _show_catalogue(as_json=args.json)
    entry, template, parameters = _found(args.model, settings)
    if args.json:
        return _json({**entry, "template": template, "parameters": parameters})
    if args.template:
        print(text.harmless(template))
        return 0
    print(describe(entry))
    for title, block in (("parameters", parameters), ("chat template", _beginning(template))):
        if block:
            print(f"\n{title}\n{textwrap.indent(text.harmless(block), '  ')}")
    return 0


def _found(model: str, settings: Settings) -> tuple[dict[str, Any], str, str]:
    """A model's entry, its chat template and its parameters: of the host that is named, else from the registry."""
    if settings.base_url:
        from illama.client import Client

        with Client(settings=settings) as client:
            told = client.show(model)
        return told["entry"], told.get("template") or "", told.get("parameters") or ""
    from illama.host import cards

    registry = _registry(settings)
    found = registry.get(model)
    card = cards.card(found, registry.folder(found))
    known = {**found.to_json(), "folder": str(registry.folder(found))}
    if found.tuned:
        from illama.bench.facts import tuned_here

        known["tuned"] = tuned_here(settings, found)
    return known, card.template, card.parameters


def _beginning(template: str) -> str:
    """As much of a template as tells it from others."""
    lines = template.strip().splitlines()
    short = [line if len(line) <= 160 else f"{line[:159]}…" for line in lines[:_TEMPLATE_LINES]]
    more = len(lines) > _TEMPLATE_LINES or short != lines[:_TEMPLATE_LINES]
    return "\n".join([*short, "(all of it: --template)"] if more else short)


def _show_catalogue(*, as_json: bool) -> int:
    from illama.pull.catalog import listing

    items = listing()
    if as_json:
        return _json(items)
    rows = [
        (", ".join(item["names"]), item["repo"], text.size(item["size"]) if item["size"] else "-") for item in items
    ]
    print(text.table(("SHORT NAME", "WHAT IT IS", "DOWNLOAD"), rows))
    print("\nAny repository on the hub can be pulled by its name: illama pull ORG/REPO.")
    return 0


def describe(entry: Mapping[str, Any]) -> str:
    """A registry entry as a table of two columns, without what it leaves open."""
    shown = facts(entry)
    width = max(map(len, shown))
    return text.harmless("\n".join(f"{name.ljust(width)}   {value}" for name, value in shown.items()))


def facts(entry: Mapping[str, Any]) -> dict[str, str]:
    """What is shown of a registry entry, in words, without what it leaves open; long hashes are cut short."""
    shown = {
        "name": entry["name"],
        "other names": ", ".join(entry.get("aliases") or ()),
        "task": entry.get("task"),
        "architecture": entry.get("architecture"),
        "format": entry.get("format"),
        "weights": entry.get("weight_format"),
        "size": text.size(entry.get("size")),
        "context": f"{entry['context_length']} tokens" if entry.get("context_length") else None,
        "chat template": "yes" if entry.get("chat_template") else "no",
        "device": entry.get("device"),
        "licence": entry.get("licence"),
        "source": _pairs(entry.get("source")),
        "made": text.ago(entry.get("created")),
        "made by": _pairs(entry.get("recipe")),
        "options": _pairs(entry.get("options")),
        **_tuned(entry),
        "digest": _short(entry.get("digest")),
        "folder": entry.get("folder"),
    }
    return {name: private(str(value)) for name, value in shown.items() if value}


def _tuned(entry: Mapping[str, Any]) -> dict[str, str]:
    """What `illama tune` found, apart from what somebody set; and whether it counts where the model would run."""
    found = entry.get("tuned") or {}
    if not found:
        return {}
    release = ".".join(str(found.get("openvino")).split(".")[:2])
    cores = f", {found['cores']} cores" if found.get("cores") else ""
    place = f"{found.get('full_name')}{cores}, OpenVINO {release}; {text.ago(found.get('date'))}"
    options: Mapping[str, Any] = found.get("options") or {}
    what = ", ".join(f"{name}={int(raw) if isinstance(raw, bool) else raw}" for name, raw in options.items())
    shown = {"tuned": f"{what or 'the defaults are best'} (on {place})"}
    overridden = [name for name in options if name in (entry.get("options") or {})]
    if found.get("misfit"):
        shown["not in force"] = f"what was tuned: {found['misfit']}. `illama tune {entry['name']}` tunes it here."
    elif overridden:
        shown["not in force"] = f"of what was tuned: {', '.join(overridden)}, as the options say otherwise"
    return shown


def cp(args: argparse.Namespace, settings: Settings) -> int:
    """`illama cp SOURCE DESTINATION`."""
    with _running_host(settings) as client:
        (client or _registry(settings)).copy(args.source, args.destination)
    print(f"{args.destination} is a copy of {args.source}, and shares its files where the disk allows it.")
    return 0


def stop(args: argparse.Namespace, settings: Settings) -> int:
    """`illama stop MODEL` and `illama stop --host`."""
    if bool(args.model) == args.host:
        print("illama stop: give a MODEL, or --host", file=sys.stderr)
        return 2
    if args.host:
        from illama import discovery

        running = state.read(settings.run_dir)
        pulls = discovery.pulls(running) if running else []
        ended = discovery.stop(settings, force=args.force)
        print(f"Ended {ended}." if ended else "No model host is running.")
        for source in pulls:
            print(f"The pull of {source} ended with it: `illama pull {source}` goes on from what is there.")
        return 0
    with _running_host(settings) as client:
        if not client:
            print(NOTHING)
            return 0
        name = client.show(args.model)["entry"]["name"]
        loaded = any(model["name"] == name for model in client.ps())
        client.unload(name, force=args.force)
    print(f"Unloaded {name}." if loaded else f"{name} was not loaded.")
    return 0


def rm(args: argparse.Namespace, settings: Settings) -> int:
    """`illama rm MODEL…`: those that can be removed are, also if others cannot."""
    failed = False
    with _running_host(settings) as client:
        for model in args.models:
            try:
                freed = client.delete(model, force=args.force) if client else _remove(model, settings)
            except IllamaError as error:
                failed = True
                text.fail(error)
            else:
                print(f"Removed {model}: {text.size(freed)} are free again.")
    return 1 if failed else 0


def _remove(model: str, settings: Settings) -> int:
    from illama import space

    return space.remove(_registry(settings), in_force(settings, "ILLAMA_CACHE_DIR", settings.cache_dir), model)[1]


def in_force(settings: Settings, variable: str, own: Path) -> Path:
    """A folder as the running host has it, if there is one, as it is the one that serves; else our own."""
    running = state.read(settings.run_dir)
    theirs = running.settings.get(variable) if running else None
    return Path(theirs) if isinstance(theirs, str) else own


def _registry(settings: Settings) -> Registry:
    from illama.registry import Registry

    return Registry(in_force(settings, "ILLAMA_REGISTRY_DIR", settings.registry_dir))


@contextmanager
def _running_host(settings: Settings) -> Iterator[Client | None]:
    """A client of the host that runs, or None."""
    if not settings.base_url and state.read(settings.run_dir) is None:
        yield None
        return
    from illama.client import Client
    from illama.discovery import find

    if find(settings) is None:
        yield None
        return
    with Client(start=False, settings=settings) as client:
        yield client


def _json(value: object) -> int:
    print(json.dumps(value, indent=2, ensure_ascii=False))
    return 0


def _pairs(found: Any) -> str:
    """An object on one line, its plain values only."""
    pairs = {key: value for key, value in (found or {}).items() if isinstance(value, str | int | float) and value != ""}
    return ", ".join(f"{key} {_short(value)}" for key, value in pairs.items())


def _short(value: Any) -> str:
    """A value for people: of a hash or a commit its first twelve digits."""
    return f"{value[:12]}…" if isinstance(value, str) and _HASH.fullmatch(value) else str(value)
