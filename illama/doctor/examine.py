"""Reads all facts about this machine, those that take time at the same time.

Knows: which reader gives which fact, what may be waited for. Does not know: how a fact is read, what follows from it.
"""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone

from illama import __version__
from illama.config import Settings
from illama.doctor import hardware, service, software
from illama.doctor.facts import Device, Engine, Machine
from illama.errors import LoadError
from illama.host.devices import probe
from illama.host.state import PROTOCOL

# Seconds for OpenVINO to name its devices: usually one, more if a driver is slow to wake.
_PATIENCE = 20.0


def examine(settings: Settings) -> Machine:
    """This machine, now. Takes about as long as the slowest reader: OpenVINO's list of devices, or a hub far away."""
    with ThreadPoolExecutor(max_workers=6) as threads:
        devices = threads.submit(_devices, settings)
        hub = threads.submit(service.hub, settings)
        host = threads.submit(service.host, settings)
        installed = software.installed_here()
        packages = threads.submit(software.engine_packages, settings, installed)
        converter = threads.submit(software.converter, settings)
        return Machine(
            taken=datetime.now(timezone.utc).astimezone().isoformat(timespec="seconds"),
            illama=__version__,
            protocol=PROTOCOL,
            system=hardware.system(),
            graphics=hardware.graphics(),
            user=hardware.user(),
            memory=service.memory(),
            choices=service.choices(settings),
            places=service.places(settings),
            private=service.private(settings),
            jupyter=software.jupyter(installed),
            python=software.python(installed),
            host=host.result(),
            engine=_engine(settings, packages.result(), devices.result()),
            converter=converter.result(),
            hub=hub.result(),
        )


def _devices(settings: Settings) -> tuple[Device, ...] | str:
    """OpenVINO's devices, or why it cannot be asked."""
    try:
        listed = asyncio.run(probe(settings, _PATIENCE))
    except LoadError as problem:
        return problem.message
    except OSError as problem:
        return f"{settings.engine_python or sys.executable} cannot be started: {problem.strerror or problem}"
    return tuple(Device(each.name, each.full_name, each.memory, each.pdev, each.driver) for each in listed)


def _engine(settings: Settings, packages: dict[str, str], found: tuple[Device, ...] | str) -> Engine:
    interpreter = str(settings.engine_python or sys.executable)
    if isinstance(found, str):
        return Engine(interpreter, packages, error=found)
    return Engine(interpreter, packages, found)
