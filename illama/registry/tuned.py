"""What `illama tune` found best for a model, and whether it holds where the model is to run.

Knows: what a finding is bound to: the device, the processor's cores, OpenVINO's release. Does not know: how anything is
measured, how a device is asked, what the engine makes of an option.

An entry's `tuned` has "options" (as `illama set` would set them), what they hold for ("device", "full_name", "cores",
"openvino", "driver"), "date", and "figures": for each "what", "size", "unit", and the medians "before" and "after".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from illama.registry.entry import Entry


class Place(Protocol):
    """A device as OpenVINO describes it. `cores`: those of the machine that the process may use, None on a GPU."""

    @property
    def name(self) -> str:
        """OpenVINO's name of it."""

    @property
    def full_name(self) -> str:
        """Its maker's name of it."""

    @property
    def cores(self) -> int | None:
        """The CPU's cores."""

    @property
    def driver(self) -> str | None:
        """The driver's version."""

    @property
    def openvino(self) -> str | None:
        """OpenVINO's version."""


def found_at(place: Place) -> dict[str, Any]:
    """What a finding on this device is bound to, as an entry keeps it."""
    return {
        "device": place.name,
        "full_name": place.full_name,
        "cores": place.cores,
        "openvino": place.openvino,
        "driver": place.driver,
    }


def misfit(tuned: Mapping[str, Any], place: Place) -> str:
    """Why a finding does not hold at a place; "" if it does. A newer driver alone does not change it."""
    here = found_at(place)
    for what, name in (("full_name", "the device"), ("cores", "the number of cores")):
        if tuned.get(what) != here[what]:
            return f"{name} was {tuned.get(what)}, and is {here[what]}"
    if _kind(tuned.get("device")) != _kind(place.name):
        return f"it was tuned on {tuned.get('device')}, and runs on {place.name}"
    if _release(tuned.get("openvino")) != _release(place.openvino):
        return f"OpenVINO was {_release(tuned.get('openvino'))}, and is {_release(place.openvino)}"
    return ""


def in_force(entry: Entry, place: Place) -> dict[str, Any]:
    """The options that a load at this place goes by: what somebody set, and else what was tuned, if that holds here."""
    if not entry.tuned or misfit(entry.tuned, place):
        return dict(entry.options)
    return {**entry.tuned.get("options", {}), **entry.options}


def told(entry: Entry, place: Place) -> dict[str, Any]:
    """An entry's `tuned` with what became of it here: "in_force", a mapping, and "misfit", a sentence or ""."""
    holds = in_force(entry, place)
    mine = {name: holds[name] for name in entry.tuned.get("options", {}) if name not in entry.options and name in holds}
    return {**entry.tuned, "in_force": mine, "misfit": misfit(entry.tuned, place)}


def _kind(device: Any) -> str:
    return str(device).partition(".")[0]


def _release(version: Any) -> str:
    """The release of OpenVINO, `2026.4`, that a version is of."""
    return ".".join(str(version).split(".")[:2]) if version else "unknown"
