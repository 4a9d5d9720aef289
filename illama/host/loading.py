"""What an engine is told to load: a model's files, where it runs, and the options in force there.

Knows: the `load` message (`engine.protocol`). Does not know: engines, slots, how the KV cache's size comes about.
"""

from __future__ import annotations

from typing import Any

from illama import space
from illama.config import Settings
from illama.host.devices import Device
from illama.registry import Entry, Registry, tuned

_GIB = 2**30


def message(
    settings: Settings, registry: Registry, entry: Entry, device: Device, kv_bytes: int, draft: Entry | None = None
) -> dict[str, Any]:
    """The `load` message for a model on a device, whose KV cache has room for `kv_bytes` there.

    Raises BrokenModelError if a file of it is not there.
    """
    options = tuned.in_force(entry, device)
    wanted = options.get("kv_gib")
    return {
        "engine": settings.engine,
        "folder": str(registry.check(entry)),
        "device": device.name,
        "context_length": entry.context_length,
        "pipeline": options.get("pipeline"),
        "kv_bytes": min(kv_bytes, int(wanted * _GIB)) if wanted else kv_bytes,
        "cache_dir": str(space.compiled(settings.cache_dir, entry)),
        "task": entry.task,
        "options": options,
        "draft": str(registry.check(draft)) if draft else None,
    }
