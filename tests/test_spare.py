"""The spare engine process: when there is one, who gets it, and when it goes."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest
from support_host import fake_model

from illama.config import Settings
from illama.host.devices import Devices
from illama.host.dispatcher import Dispatcher
from illama.host.metrics import Metrics
from illama.registry import Registry

pytestmark = pytest.mark.anyio


class Machine:
    """A dispatcher with these models installed."""

    def __init__(self, home: Path, *models: str, **variables: str) -> None:
        for name in models:
            fake_model(home, name)
        settings = Settings.load({"ILLAMA_HOME": str(home), "ILLAMA_ENGINE": "fake", **variables})
        self.registry = Registry(settings.registry_dir)
        self.dispatcher = Dispatcher(settings, self.registry, Devices(settings), Metrics(lambda name: True))

    async def use(self, name: str) -> int:
        """Load a model and use it; returns its engine's pid."""
        place = await self.dispatcher.enter(self.registry.get(name))
        lease = await asyncio.wait_for(place.granted(), 20)
        assert self.spare() is None, "nothing is imported while an answer is made"
        lease.release()
        pid = lease.engine.pid
        assert pid
        return pid

    def spare(self) -> int | None:
        told = self.dispatcher.spare.describe()
        return told["pid"] if told else None

    async def has_spare(self) -> int:
        await until(lambda: self.spare() is not None)
        pid = self.spare()
        assert pid
        return pid


async def until(look: Callable[[], bool]) -> None:
    for _ in range(2000):
        if look():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen")


@pytest.fixture
async def two(home: Path) -> AsyncIterator[Machine]:
    machine = Machine(home, "A", "B", ILLAMA_MIN_RESIDENCY_SEC="0")
    yield machine
    await machine.dispatcher.close(0)


async def test_a_switch_takes_the_spare_engine_and_another_is_made(two: Machine) -> None:
    assert two.spare() is None, "none before the first load"
    await two.use("A")
    spare = await two.has_spare()
    assert await two.use("B") == spare
    assert await two.has_spare() not in (None, spare)


async def test_what_the_spare_engine_takes_is_told(two: Machine) -> None:
    await two.use("A")
    await two.has_spare()
    await until(lambda: any(((two.dispatcher.spare.describe() or {}).get("memory") or {0: 0}).values()))


async def test_the_spare_engine_goes_with_the_last_loaded_model(two: Machine) -> None:
    await two.use("A")
    spare = psutil.Process(await two.has_spare())
    await two.dispatcher.unload("A")
    assert two.spare() is None
    await until(lambda: not spare.is_running() or spare.status() == psutil.STATUS_ZOMBIE)


async def test_the_spare_engine_is_gone_when_the_host_has_ended(home: Path) -> None:
    machine = Machine(home, "A", "B")
    await machine.use("A")
    spare = await machine.has_spare()
    await machine.dispatcher.close(1)
    assert not psutil.pid_exists(spare)


async def test_a_spare_engine_that_dies_costs_nothing_but_itself(two: Machine) -> None:
    first = await two.use("A")
    os.kill(await two.has_spare(), signal.SIGKILL)
    await until(lambda: two.spare() is None)
    assert await two.use("A") == first
    assert two.spare() is None, "what failed is not tried again before a load"
    assert await two.use("B") != first
    await two.has_spare()


@pytest.mark.parametrize(("models", "wanted"), [(("A",), "1"), (("A", "B"), "0")])
async def test_there_is_none_without_a_model_to_switch_to_or_when_it_is_not_wanted(
    home: Path, models: tuple[str, ...], wanted: str
) -> None:
    machine = Machine(home, *models, ILLAMA_SPARE_ENGINE=wanted)
    await machine.use("A")
    assert not psutil.Process().children(recursive=True)[1:]
    assert machine.spare() is None
    await machine.dispatcher.close(0)
