"""Tells which OpenVINO devices there are: prints one JSON list and ends.

Knows: OpenVINO's device list. Does not know: who asks. Runs in a process of its own, so that the host never imports
OpenVINO, and a driver that crashes on being asked costs nobody anything.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def main() -> None:
    """Print `[{"name", "full_name", "memory"}, ...]`; memory is the device's own in bytes, or null."""
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
        }
        if name.startswith("GPU"):
            device["memory"] = int(core.get_property(name, "GPU_DEVICE_TOTAL_MEM_SIZE"))
        devices.append(device)
    os.write(pipe, json.dumps(devices).encode())
    sys.stderr.flush()
    os._exit(0)
