"""Who takes part besides the host: other servers by their addresses, bare GenAI by the message that it is loaded with.

Knows: how each comes to its address, key, model or settings. Does not know: what they are asked.
"""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

import httpx

from illama import transport
from illama.bench import meters
from illama.bench.children import Child
from illama.bench.options import Peer
from illama.bench.targets import Served
from illama.config import Settings
from illama.errors import ConfigError, HostError
from illama.host import devices, loading, memory
from illama.registry import Entry, Registry

OWN_PID = os.getpid()


def peer(asked: Peer, model: str | None, child: Child) -> Served:
    """A server that was named. Raises ConfigError or HostError for one that cannot be asked."""
    key = None
    if asked.key_variable:
        # The one variable that is not illama's own: the user named it.
        key = os.environ.get(asked.key_variable)
        if not key:
            raise ConfigError(f"The variable {asked.key_variable} is empty, but should hold the key for {asked.name}.")
    model = model or _first_model(asked, key)
    parts = urlsplit(asked.url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    pid = meters.listener(port) if transport.is_loopback(asked.url) else None
    return Served(asked.name, asked.url, key, model, child, lambda: {asked.name: meters.tree(pid)} if pid else {})


def _first_model(asked: Peer, key: str | None) -> str:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    hint = f"Is it running? `--against-model {asked.name}=MODEL` names the model."
    try:
        with httpx.Client(**transport.options(asked.url, named=True)) as http:
            answer = http.get(f"{asked.url}/v1/models", headers=headers, timeout=30).raise_for_status().json()
        return str(answer["data"][0]["id"])
    except (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError) as problem:
        raise HostError(f"{asked.name} does not say which models it has: {problem!r}", hint=hint) from None


def load_message(settings: Settings, entry: Entry, device: devices.Device) -> dict[str, Any]:
    """The `load` message with which the host would load a model now."""
    registry = Registry(settings.registry_dir)
    room = memory.device(device.name, device.memory, device.pdev)
    budget = devices.kv_budget(room, device.memory is not None, entry.size)
    return loading.message(settings, registry, entry, device, budget)


def crowded(entry: Entry, device: devices.Device, count: int = 2) -> bool:
    """Whether a device that has the model loaded or nothing has no room for it so many times, KV cache and all.

    A device's own memory never has: the KV cache takes four fifths of it.
    """
    if device.memory is not None:
        return True
    free = memory.machine().free
    return free is not None and free < count * devices.need(entry).total
