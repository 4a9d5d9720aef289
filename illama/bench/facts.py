"""What a figure is worth nothing without: versions, device, processor, load, date.

Knows: where each is found. Does not know: what is measured. Which devices there are, OpenVINO says in a process of its
own.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any, TypeVar

import psutil

from illama import __version__
from illama.config import Settings
from illama.errors import IllamaError
from illama.host import devices, placing
from illama.registry import Entry, tuned

T = TypeVar("T")

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
    found = _run(devices.probe(settings))
    return next((each for each in found if each.name == name), devices.Device(name, name))


def device_of(settings: Settings, entry: Entry) -> devices.Device:
    """The device that a model would run on.

    Raises LoadError if OpenVINO cannot be asked, ConfigError if the device is not there.
    """

    async def found() -> devices.Device:
        here = devices.Devices(settings)
        return await here.device(await here.resolve(entry.device or placing.default_device(entry.task)))

    return _run(found())


def tuned_here(settings: Settings, entry: Entry) -> dict[str, Any]:
    """What was tuned for a model, with what became of it here (`tuned.told`), if that can be told."""
    if entry.tuned:
        with suppress(IllamaError):  # without the device nobody can tell
            return tuned.told(entry, device_of(settings, entry))
    return dict(entry.tuned)


def _run(asking: Coroutine[Any, Any, T]) -> T:
    # In a thread: a kernel's own has an event loop already.
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(asyncio.run, asking).result()


def load_average() -> list[float]:
    """How many processes have wanted a core in the last 1, 5 and 15 minutes."""
    return [round(value, 2) for value in psutil.getloadavg()]


def model(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What identifies a model, and the options that it is loaded with."""
    in_force = (entry.get("tuned") or {}).get("in_force") or {}
    return {**{field: entry.get(field) for field in _MODEL}, "options": {**in_force, **(entry.get("options") or {})}}


def described(found: devices.Device) -> dict[str, Any]:
    """A device as a result's file has it."""
    return asdict(found)
