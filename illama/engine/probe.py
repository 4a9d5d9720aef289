"""Tells which OpenVINO devices there are: prints one JSON list and ends.

Knows: OpenVINO's device list. Does not know: who asks. Runs in a process of its own, so that the host never imports
OpenVINO, and a driver that crashes on being asked costs nobody anything.
"""

from __future__ import annotations

import json
import os
import re
import sys
from typing import Any


def main() -> None:
    """Print `[{"name", "full_name", "memory", "pdev", "driver", "cores", "openvino"}, ...]`.

    `memory` is the device's own in bytes, or null; `pdev` its PCI address, as `0000:03:00.0`, or null; `driver` the
    version of the driver that OpenVINO reaches it by, or null; `cores` how many of the machine's a CPU device may use,
    null for others; `openvino` the version of OpenVINO.
    """
    pipe = os.dup(1)
    os.dup2(2, 1)  # what drivers print must not end up in the list
    import openvino

    core = openvino.Core()
    devices = []
    for name in core.available_devices:
        device: dict[str, Any] = {
            "name": name,
            "full_name": core.get_property(name, "FULL_DEVICE_NAME"),
            "memory": None,
            "driver": _driver(core, name),
            "cores": _cores() if name == "CPU" else None,
            "openvino": openvino.get_version(),
        }
        # An integrated GPU works in the machine's memory.
        if name.startswith("GPU") and "integrated" not in str(core.get_property(name, "DEVICE_TYPE")).lower():
            device["memory"] = int(core.get_property(name, "GPU_DEVICE_TOTAL_MEM_SIZE"))
            device["pdev"] = _pci_address(core, name)
        devices.append(device)
    os.write(pipe, json.dumps(devices).encode())
    sys.stderr.flush()
    os._exit(0)


def _cores() -> int | None:
    """The logical cores that this process may use: a container's may be fewer than the machine's."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()


def _driver(core: Any, name: str) -> str | None:
    try:
        return str(core.get_property(name, f"{name.partition('.')[0]}_DRIVER_VERSION"))
    except RuntimeError:
        return None  # the CPU has none


def _pci_address(core: Any, name: str) -> str | None:
    try:
        found = re.search(
            r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]", str(core.get_property(name, "DEVICE_PCI_INFO"))
        )
    except RuntimeError:
        return None  # an older driver does not tell
    return found.group() if found else None
