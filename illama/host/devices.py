"""Which device a model runs on, and how much memory its KV cache may take there.

Knows: the devices' names and OpenVINO's rules for them. Does not know: OpenVINO; a short-lived process is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from illama.config import Settings
from illama.engine import launch
from illama.engine.protocol import ENCODER_TASKS
from illama.errors import ConfigError, LoadError
from illama.host import drm, fitting, memory
from illama.host.memory import Room
from illama.registry import Entry

log = logging.getLogger(__name__)

_GIB = 2**30
_MIN_KV = _GIB // 4
# Seconds to wait for a device's memory after an unload: drivers free it behind the process's back.
_RETURN_PATIENCE = 10.0
# Seconds for OpenVINO's import and its look at the drivers; a driver that hangs must not hang the host.
_PROBE_PATIENCE = 60.0
# Seconds between two looks at all devices' memory: a GPU's use is found in the descriptors of every process.
_LOOK_EVERY = 5.0


@dataclass(frozen=True)
class Device:
    """An OpenVINO device.

    `memory` is its own in bytes, None where it uses the machine's; `pdev` its PCI address, `driver` its version;
    `cores` those that a CPU device may use, `openvino` the version of OpenVINO.
    """

    name: str
    full_name: str
    memory: int | None = None
    pdev: str | None = None
    driver: str | None = None
    cores: int | None = None
    openvino: str | None = None


class Devices:
    """This machine's devices, asked for once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._found: asyncio.Task[tuple[Device, ...]] | None = None
        self._look: asyncio.Task[None] | None = None
        self._rooms: dict[str, Room] = {}
        self._looked_at = -_LOOK_EVERY

    async def found(self) -> tuple[Device, ...]:
        """All devices. Raises LoadError if OpenVINO cannot be asked; the next call asks again."""
        if self._found is None or (self._found.done() and self._found.exception()):
            self._found = asyncio.create_task(probe(self._settings))
        return await asyncio.shield(self._found)

    def known(self) -> list[tuple[Device, Room | None]]:
        """The devices with their memory as of the latest look; a new look is begun, for the next one who asks.

        None of them before the first model was asked for: to find out starts a process, and this wakes nothing.
        """
        if self._found is None or not self._found.done() or self._found.cancelled() or self._found.exception():
            return []
        now = time.monotonic()
        if now - self._looked_at > _LOOK_EVERY and (self._look is None or self._look.done()):
            self._looked_at = now
            self._look = asyncio.create_task(self._look_at(self._found.result()))
        return [(device, self._rooms.get(device.name)) for device in self._found.result()]

    async def _look_at(self, devices: tuple[Device, ...]) -> None:
        for device in devices:
            self._rooms[device.name] = await self.room(device.name)

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

    async def room(self, name: str) -> Room:
        """What a device has and what is free of it, whoever uses the rest."""
        device = await self.device(name)
        # In a thread: a GPU's use is found in the descriptors of every process.
        return await asyncio.to_thread(memory.device, name, device.memory, device.pdev)

    async def held(self, name: str, pid: int) -> dict[str, int | None]:
        """Bytes that an engine's process holds, by kind: "pss" (or "rss" where that is not told), and "device"."""
        use = await asyncio.to_thread(memory.usage, pid)
        kinds: dict[str, int | None] = {"rss": use.rss} if use.pss is None else {"pss": use.pss}
        device = await self.device(name)
        if device.memory is not None:
            kinds["device"] = (await asyncio.to_thread(drm.use, device.pdev, use.pids)).own
        return kinds

    async def parting(self, name: str, pid: int) -> Callable[[], Awaitable[None]] | None:
        """Look at a device before an engine on it is ended; what is returned waits, after the end, for its memory.

        It waits a bounded time, and says what did not come back. None for the machine's own memory, which is back when
        the process has ended.
        """
        if (await self.device(name)).memory is None:
            return None
        before, held = (await self.room(name)).used, (await self.held(name, pid))["device"]

        async def used() -> int | None:
            return (await self.room(name)).used

        async def wait() -> None:
            if before is not None and held:
                back = await fitting.watch_return(before, held, used, _RETURN_PATIENCE)
                if back.missing:
                    log.warning("%.2f GiB of %s did not come back after an unload", back.missing / _GIB, name)

        return wait

    async def kv_budget(self, name: str, weights: int) -> int:
        """Bytes that the KV cache may take on a device beside `weights` bytes of model."""
        own = (await self.device(name)).memory is not None
        return kv_budget(await self.room(name), own, weights)

    async def device(self, name: str) -> Device:
        """The device of that name, one of `found`."""
        return next(device for device in await self.found() if device.name == name)


def need(entry: Entry) -> fitting.Need:
    """What loading a model takes at least: with the smallest KV cache, if it has one."""
    return fitting.need(entry.size, 0 if entry.task in ENCODER_TASKS else _MIN_KV)


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


def kv_budget(room: Room, own: bool, weights: int) -> int:
    """Bytes for the KV cache: four fifths of what a device's own memory has left, of the machine's half of it.

    On the machine's memory never more than 4 GiB, which every other program would miss; never less than a quarter GiB.
    """
    free = room.free if room.free is not None else room.total
    left = (free or 0) - fitting.need(weights, 0).total
    return max(int(left * 0.8) if own else min(left // 2, 4 * _GIB), _MIN_KV)


async def probe(settings: Settings, patience: float = _PROBE_PATIENCE) -> tuple[Device, ...]:
    """Ask OpenVINO, in a process of its own, for at most `patience` seconds. Raises LoadError if it cannot be asked."""
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
        out, err = await asyncio.wait_for(process.communicate(), patience)
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
