"""A model's coming and going: loads, switches, and the memory of the host's processes.

Knows: the client's load and unload, clocks, the host's pid. Does not know: questions beyond a switch's first token.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from illama.bench import meters
from illama.bench.figures import Figure


class Loader(Protocol):
    """What is needed of `illama.Client`."""

    def load(self, model: str) -> Any:
        """Load a model, and wait until it is ready."""

    def unload(self, model: str) -> Any:
        """Unload a model, and wait until it is gone."""

    def ps(self) -> list[dict[str, Any]]:
        """What is loaded."""


class Life:
    """Times loads and switches of a host's models. `pid` is the host's, None where it is another machine's."""

    def __init__(self, client: Loader, model: str, pid: int | None, say: Callable[[str], None]) -> None:
        self._client = client
        self._model = model
        self._pid = pid
        self._say = say
        self._values: dict[tuple[str, str], list[float | None]] = {}
        self.notes: list[str] = []
        self._processes: int | None = None

    def note(self, what: str, value: float, target: str = "host") -> None:
        """Keep a value."""
        self._values.setdefault((what, target), []).append(value)

    def figures(self) -> list[Figure]:
        """All figures so far."""
        found = [Figure(what, target, None, tuple(values)) for (what, target), values in self._values.items()]
        peaks = [figure for figure in found if figure.what == "memory_peak"]
        # Of what was seen in the run, the most.
        return [f for f in found if f not in peaks] + [Figure(f.what, f.target, None, (f.high,)) for f in peaks]

    def unload_all(self) -> None:
        """Leave nothing loaded."""
        for model in self._client.ps():
            self._client.unload(model["name"])

    def loads(self, rounds: int) -> None:
        """The first load of this run, and `rounds` further ones; the model is loaded afterwards."""
        self.unload_all()
        self.note("load_first", self._timed("loading"))
        self._after("memory_loaded")
        for number in range(rounds):
            self._say(f"unloading, {number + 1} of {rounds}")
            self._client.unload(self._model)
            if number == 0:
                self._rest("memory_before")
            self.note("load_again", self._timed(f"loading again, {number + 1} of {rounds}"))
            self._after("memory_loaded")

    def peak(self) -> None:
        """Look at the memory while the model is loaded."""
        self._after("memory_peak")

    def parting(self) -> None:
        """Unload everything, and look at the memory when it has come to rest."""
        self._say("unloading")
        self.unload_all()
        self._rest("memory_after")

    def switches(
        self, other: str, rounds: int, first_token: Callable[[str], float], bare: Callable[[], Any] | None
    ) -> None:
        """Switch to another model and back, until ready and until a first token; `bare` starts a bare process between.

        `first_token` asks a model and returns the seconds until its first token.
        """
        self._client.load(other)  # once apart: its files are in memory from now on
        self._client.load(self._model)
        for number in range(rounds):
            turns = ("host", "bare") if bare else ("host",)
            for kind in turns if number % 2 == 0 else reversed(turns):
                self._say(f"switching, {number + 1} of {rounds}: {kind}")
                if bare and kind == "bare":
                    self._calm()
                    bare()
                    continue
                there_and_back = (other, self._model)
                self.note("switch_ready", sum(self._load(model) for model in there_and_back) / 2)
                self.note("switch_first_token", sum(self._calmly(first_token, model) for model in there_and_back) / 2)

    def _timed(self, what: str) -> float:
        self._say(what)
        return self._load(self._model)

    def _load(self, model: str) -> float:
        self._calm()
        began = time.monotonic()
        self._client.load(model)
        return time.monotonic() - began

    def _calmly(self, call: Callable[[str], float], model: str) -> float:
        self._calm()
        return call(model)

    def _calm(self) -> None:
        """Wait until the host has done what it does after an answer, such as making ready for the next load."""
        if self._pid is not None:
            meters.settled(self._pid)

    def _after(self, what: str) -> None:
        self._calm()
        if self._pid is not None:
            self.note(what, meters.memory_of(self._pid)[0])

    def _rest(self, what: str) -> None:
        if self._pid is None:
            return
        taken, processes = meters.settled(self._pid)
        self.note(what, taken)
        if self._processes not in (None, processes):
            self.notes.append(f"The host had {self._processes} processes before, and {processes} after.")
        self._processes = processes
