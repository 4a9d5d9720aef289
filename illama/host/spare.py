"""A spare engine process: started and with OpenVINO imported, so that the next load begins at once.

Knows: one engine that waits for a model, when there is to be one, what it takes. Does not know: models, devices.

What is saved is the start of a process, its imports and OpenVINO's plugins: about half a second of each switch. There
is one while a model is loaded and another is installed; it goes with the last loaded model, so that an idle host takes
no more than before.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from illama.config import Settings
from illama.engine.process import Engine
from illama.errors import IllamaError
from illama.host import memory
from illama.host.scheduler import Slot, State
from illama.registry import Registry

log = logging.getLogger(__name__)


# Seconds between two looks at its memory.
_MEASURE_EVERY = 2.0
# Seconds between two looks whether another model was installed.
_LOOK_EVERY = 5.0


class Spare:
    """At most one engine without a model. For the event loop's thread alone."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings = settings
        self._registry = registry
        self._engine: Engine | None = None
        self._failed = False
        self._closed = False
        self._memory: dict[str, int] = {}
        self._measured_at = 0.0
        self._looked_at = -_LOOK_EVERY
        self._tasks: set[asyncio.Task[None]] = set()

    def mind(self, slots: Iterable[Slot]) -> None:
        """Make it or end it, as the slots are now. One that failed is not tried again before the next load."""
        loaded = [slot for slot in slots if slot.model]
        if not loaded:
            self._drop()
        elif self._engine is None and self._is_time(loaded) and self._has_another():
            self._engine = Engine(self._settings, self._lost)
            self._spawn(self._prepare(self._engine, str(loaded[0].model)))

    def _is_time(self, loaded: Iterable[Slot]) -> bool:
        # Its imports would hold up an answer, so it waits until nothing runs.
        wanted = self._settings.spare_engine and not self._failed and not self._closed
        return wanted and all(slot.state is State.READY and not slot.running for slot in loaded)

    def _has_another(self) -> bool:
        # Asked at the end of each request: the registry is not looked at for each.
        now = time.monotonic()
        if now - self._looked_at < _LOOK_EVERY:
            return False
        self._looked_at = now
        return len(self._registry.entries()) > 1

    def take(self, on_death: Callable[[IllamaError], None]) -> Engine | None:
        """The spare engine, to be started with a model; None if there is none."""
        engine, self._engine, self._failed = self._engine, None, False
        self._looked_at = -_LOOK_EVERY
        return engine if engine and engine.adopt(on_death) else None

    def describe(self) -> dict[str, Any] | None:
        """Its pid, and its memory in bytes as of the latest look; None if there is none. A new look is begun."""
        pid = self._engine.pid if self._engine else None
        if pid is None:
            return None
        if time.monotonic() - self._measured_at > _MEASURE_EVERY:
            self._measured_at = time.monotonic()
            self._spawn(self._measure(pid))
        return {"pid": pid, "memory": dict(self._memory)}

    async def _measure(self, pid: int) -> None:
        use = await asyncio.to_thread(memory.usage, pid)
        self._memory = {"rss": use.rss} if use.pss is None else {"pss": use.pss}

    def _drop(self) -> None:
        engine, self._engine = self._engine, None
        if engine:
            self._spawn(engine.end())

    async def close(self) -> None:
        """End it, and wait until it is gone."""
        self._closed = True
        self._drop()
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _prepare(self, engine: Engine, model: str) -> None:
        try:
            await engine.prepare(self._registry.folder(self._registry.get(model)))
        except IllamaError as error:
            self._lost(error)

    def _lost(self, error: IllamaError) -> None:
        # Whoever loads a model next hears of it, if it was not by chance.
        log.info("there is no spare engine: %s", error.message)
        self._failed = True
        self._drop()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
