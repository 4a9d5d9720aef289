"""What a figure is worth nothing without: versions, device, processor, load, date.

Knows: where each is found. Does not know: what is measured. Which devices there are, OpenVINO says in a process of its
own.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

import psutil

from illama import __version__
from illama.config import Settings
from illama.host import devices

_MODEL = ("name", "digest", "weight_format", "size", "context_length", "architecture", "options")


def now() -> str:
    """The time, with its zone."""
    return datetime.now(timezone.utc).astimezone().isoformat(timespec="seconds")


def machine() -> dict[str, Any]:
    """This machine."""
    from illama.doctor import hardware

    found = hardware.system()
    return {
        "cpu": found.processor,
        "cores": found.cores,
        "memory": psutil.virtual_memory().total,
        "system": f"{found.distribution or found.name}, kernel {found.kernel}",
    }


def versions(settings: Settings) -> dict[str, str]:
    """The versions that matter; OpenVINO's are those of the engine's interpreter."""
    from illama.doctor import software

    engine = software.engine_packages(settings, software.installed_here())
    return {"illama": __version__, "python": platform.python_version(), **engine}


def device(settings: Settings, name: str) -> devices.Device:
    """A device as OpenVINO describes it. Raises LoadError if OpenVINO cannot be asked."""
    # In a thread: a kernel's own has an event loop already.
    with ThreadPoolExecutor(max_workers=1) as thread:
        found = thread.submit(lambda: asyncio.run(devices.probe(settings))).result()
    return next((each for each in found if each.name == name), devices.Device(name, name))


def load_average() -> list[float]:
    """How many processes have wanted a core in the last 1, 5 and 15 minutes."""
    return [round(value, 2) for value in psutil.getloadavg()]


def model(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What identifies a model."""
    return {field: entry.get(field) for field in _MODEL}


def described(found: devices.Device) -> dict[str, Any]:
    """A device as a result's file has it."""
    return asdict(found)
