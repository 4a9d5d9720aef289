"""Which values are worth a try on a device.

Knows: the settings that devices have, the kinds of cores of this machine's CPU. Does not know: how a value does.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

_STEPS = (128, 512, 1024, 2048)
# Where Linux lists the performance cores of a CPU that has two kinds.
_KINDS = Path("/sys/devices/cpu_core/cpus")


@dataclass(frozen=True)
class Cores:
    """A CPU's cores, and the threads they run at once. `mixed`: of two kinds, or nobody tells."""

    physical: int
    logical: int
    mixed: bool


def cores(usable: int | None) -> Cores:
    """This machine's, of which a process may use so many `usable` logical ones."""
    logical = usable or psutil.cpu_count() or 1
    physical = min(psutil.cpu_count(logical=False) or logical, logical)
    return Cores(physical, logical, _KINDS.exists() if sys.platform == "linux" else physical > 1)


def candidates(device: str, found: Cores, wanted: Sequence[str], fixed: Mapping[str, Any]) -> dict[str, list[Any]]:
    """For each setting that is `wanted` and not `fixed` by somebody, the values to hold against what is there.

    What is there is OpenVINO's choice: on a CPU a thread for each physical core, bound to it; an 8-bit KV cache. One of
    fewer bits is not tried: it saves memory at the cost of the text, which is for nobody but the user to decide.
    """
    kind = device.partition(".")[0]
    tried: dict[str, list[Any]] = {}
    if kind == "CPU":
        half = found.physical // 2
        threads = {half, found.physical - 1, *([found.physical] if found.mixed else [])} - {0}
        tried = {
            "cores": ["performance"] if found.mixed else [],
            "hyper_threading": [True, False] if found.logical > found.physical else [],
            "threads": sorted(threads if found.physical > 2 else {half} - {0}),
            "pinning": [False],
            "kv_precision": ["f16", "bf16"],
        }
    elif kind == "GPU":
        tried = {"kv_precision": ["f16"]}
    if kind in ("CPU", "GPU"):
        tried["max_batched_tokens"] = list(_STEPS)
    return {name: values for name, values in tried.items() if name in wanted and name not in fixed and values}
