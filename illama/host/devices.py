"""Which device a model runs on, and how much memory its KV cache may take there.

Knows: the devices' names and OpenVINO's rules for them. Does not know: OpenVINO; a short-lived process is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from dataclasses import dataclass

import psutil

from illama.config import Settings
from illama.engine import launch
from illama.errors import ConfigError, LoadError
from illama.registry import Entry

_GIB = 2**30
_MIN_KV = _GIB // 4
# What an engine process takes before it has a model, as measured: Python, OpenVINO and GenAI.
_ENGINE = 150 * 2**20
# Seconds for OpenVINO's import and its look at the drivers; a driver that hangs must not hang the host.
_PROBE_PATIENCE = 60.0


@dataclass(frozen=True)
class Device:
    """An OpenVINO device. `memory` is its own in bytes; None where it uses the machine's."""

    name: str
    full_name: str
    memory: int | None = None


class Devices:
    """This machine's devices, asked for once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._found: asyncio.Task[tuple[Device, ...]] | None = None

    async def found(self) -> tuple[Device, ...]:
        """All devices. Raises LoadError if OpenVINO cannot be asked; the next call asks again."""
        if self._found is None or (self._found.done() and self._found.exception()):
            self._found = asyncio.create_task(_probe(self._settings))
        return await asyncio.shield(self._found)

    async def resolve(self, pinned: str | None = None) -> str:
        """The real device for a model: where it is pinned, or as ILLAMA_DEVICE says.

        Raises ConfigError, with a list of those that are, for a device that is not there: never a silent fallback.
        """
        devices = [device.name for device in await self.found()]
        asked = pinned or self._settings.device
        chosen = choose(asked, devices)
        if chosen is None and pinned is None and not self._settings.is_set("ILLAMA_DEVICE"):
            chosen = "CPU"
        if chosen is None:
            raise ConfigError(
                f"The device {asked} is not there. This machine has: {', '.join(devices)}.",
                hint="Name one of these by --device or ILLAMA_DEVICE, or look to the missing device's driver.",
                param="ILLAMA_DEVICE",
            )
        return chosen

    def free(self, name: str) -> int:
        """Bytes that are free on a device now, whoever uses the rest. `found` must have been awaited before."""
        assert self._found is not None, "devices were resolved before their memory is asked for"
        memory = next((device.memory for device in self._found.result() if device.name == name), None)
        return psutil.virtual_memory().available if memory is None else memory

    def check_room(self, name: str, entry: Entry) -> None:
        """Raise LoadError, with the figures, if a model does not fit into what is free on a device."""
        free, needed = self.free(name), need(entry)
        if needed > free:
            raise LoadError(
                f"{entry.name} needs about {needed / _GIB:.1f} GiB on {name}, and {free / _GIB:.1f} GiB are free.",
                hint="Close other programs, `illama stop` other models, or pull a smaller weight format.",
            )

    async def kv_budget(self, name: str, weights: int) -> int:
        """Bytes that the KV cache may take on a device beside `weights` bytes of model."""
        memory = next((device.memory for device in await self.found() if device.name == name), None)
        return kv_budget(memory, psutil.virtual_memory().available, weights)


def need(entry: Entry) -> int:
    """Bytes that loading a model takes at least: its weights, the smallest KV cache, and the engine itself."""
    return entry.size + _MIN_KV + _ENGINE


def choose(asked: str, devices: list[str]) -> str | None:
    """The name by which OpenVINO lists the device that was asked for; None if it is not there.

    A machine with one GPU lists it as GPU, one with several as GPU.0, GPU.1, …; both names mean the first.
    """
    if asked == "AUTO":
        return choose("GPU", devices) or choose("CPU", devices)
    if asked in devices:
        return asked
    if asked == "GPU" and "GPU.0" in devices:
        return "GPU.0"
    if asked == "GPU.0" and "GPU" in devices:
        return "GPU"
    return None


def kv_budget(device_memory: int | None, machine_available: int, weights: int) -> int:
    """Bytes for the KV cache: four fifths of what a device has left, or on the machine's memory half of what is free.

    On the machine's memory never more than 4 GiB, which every other program would miss; never less than a quarter GiB.
    """
    if device_memory is not None:
        return max(int((device_memory - weights) * 0.8), _MIN_KV)
    return max(min((machine_available - weights) // 2, 4 * _GIB), _MIN_KV)


async def _probe(settings: Settings) -> tuple[Device, ...]:
    if settings.engine == "fake":
        return (Device("CPU", "a fake device"),)
    process = await asyncio.create_subprocess_exec(
        *launch.command(settings, "illama.engine.probe"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=launch.environment(os.environ),
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), _PROBE_PATIENCE)
    except asyncio.TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        out, err = b"", b"it did not answer in time"
    if process.returncode != 0:
        lines = err.decode(errors="replace").strip().splitlines()
        raise LoadError(
            f"OpenVINO cannot be asked for its devices: {lines[-1] if lines else 'it crashed'}",
            hint="Install openvino-genai for the engine's interpreter (ILLAMA_ENGINE_PYTHON), or mend the driver.",
        )
    return tuple(Device(**device) for device in json.loads(out))
