"""A compiled encoder's infer requests: one that has all of the device, and lanes that share it.

Knows: OpenVINO's streams, which request is free. Does not know: texts, what comes of a batch.

A text alone is done soonest by all of the CPU's threads. But threads that work on one small batch wait for each other
at every layer. Batches side by side, each with its own part of the threads, take less of the CPU, and while one batch's
vectors are packed and sent another one is computed. For this the model is compiled a second time.
"""

from __future__ import annotations

from typing import Any

import openvino

# Batches side by side. Two overlap computing with all else; more of them would make each text wait for longer.
_LANES = 2


class Lanes:
    """The infer requests of one model. `take` one for a batch, and `give_back` it."""

    def __init__(self, core: openvino.Core, model: openvino.Model, device: str, properties: dict[str, Any]) -> None:
        self._core, self._model, self._device, self._properties = core, model, device, properties
        self._whole = core.compile_model(model, device, properties)
        self._alone = self._whole.create_infer_request()
        self._lanes: list[Any] = []
        self._free: list[Any] = []

    def get(self, name: str) -> Any:
        """A property of the compiled model, in words or a number."""
        value = self._whole.get_property(name)
        return value if isinstance(value, int | str) else str(value.to_string())

    @property
    def count(self) -> int:
        """Batches that can be worked on at once."""
        return len(self._lanes) or 1

    def share(self) -> None:
        """Compile the model for lanes too, if it runs on a CPU with threads enough for them."""
        if self._device != "CPU" or int(self.get("INFERENCE_NUM_THREADS")) < _LANES:
            return
        threads = int(self.get("INFERENCE_NUM_THREADS"))
        properties = {name: value for name, value in self._properties.items() if name != "PERFORMANCE_HINT"}
        properties.update({"NUM_STREAMS": _LANES, "INFERENCE_NUM_THREADS": threads})
        shared = self._core.compile_model(self._model, self._device, properties)
        self._lanes = [shared.create_infer_request() for _ in range(_LANES)]
        self._free = list(self._lanes)

    def unshare(self) -> None:
        """Do without lanes."""
        self._lanes, self._free = [], []

    def take(self, *, alone: bool) -> Any:
        """A request that is free: the one with all of the device, or a lane if there are any."""
        return self._alone if alone or not self._lanes else self._free.pop()

    def give_back(self, request: Any) -> None:
        """It has done its batch."""
        if request is not self._alone:
            self._free.append(request)
