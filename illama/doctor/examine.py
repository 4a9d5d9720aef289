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
        engine = threads.submit(_engine, settings)
        hub = threads.submit(service.hub, settings)
        host = threads.submit(service.host, settings)
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
            jupyter=software.jupyter(),
            python=software.python(),
            host=host.result(),
            engine=engine.result(),
            converter=converter.result(),
            hub=hub.result(),
        )


def _engine(settings: Settings) -> Engine:
    interpreter = str(settings.engine_python or sys.executable)
    packages = software.engine_packages(settings)
    try:
        listed = asyncio.run(probe(settings, _PATIENCE))
    except LoadError as problem:
        return Engine(interpreter, packages, error=problem.message)
    except OSError as problem:
        return Engine(interpreter, packages, error=f"{interpreter} cannot be started: {problem.strerror or problem}")
    devices = tuple(Device(each.name, each.full_name, each.memory, each.pdev, each.driver) for each in listed)
    return Engine(interpreter, packages, devices)
