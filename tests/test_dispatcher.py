"""Several models at once, on devices whose memory the test decides; the engines are real processes of the fake one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support_host import fake_model

from illama.config import Settings
from illama.errors import ConfigError, LoadError
from illama.host import memory
from illama.host.devices import Device, Devices, need
from illama.host.dispatcher import Dispatcher, Lease
from illama.host.metrics import Metrics
from illama.host.placing import choose, choose_lane, evictable
from illama.host.scheduler import Rules, Slot, State, Ticket
from illama.registry import Registry

pytestmark = pytest.mark.anyio


class Room(Devices):
    """Two devices; on the CPU there is room for so many models."""

    def __init__(self, settings: Settings, models: int) -> None:
        super().__init__(settings)
        self.models = models
        self.dispatcher: Dispatcher | None = None
        self.entry = Registry(settings.registry_dir).entries()[0]

    async def found(self) -> tuple[Device, ...]:
        return (Device("CPU", "a test's"), Device("GPU", "a test's"))

    async def room(self, name: str) -> memory.Room:
        assert self.dispatcher is not None
        here = [model for model in self.dispatcher.loaded() if model["device"] == name]
        taken = sum(model["state"] in ("ready", "draining", "unloading") for model in here)
        one = need(self.entry).total
        return memory.Room("a test's memory", self.models * one, (self.models - taken) * one)


class Bench:
    def __init__(self, home: Path, models: int, **variables: str) -> None:
        for name in ("A", "B", "C"):
            fake_model(home, name)
        fake_model(home, "Embed", task="embedding")
        fake_model(home, "Rerank", task="rerank")
        settings = Settings.load({"ILLAMA_HOME": str(home), "ILLAMA_ENGINE": "fake", **variables})
        self.registry = Registry(settings.registry_dir)
        self.room = Room(settings, models)
        self.dispatcher = self.room.dispatcher = Dispatcher(
            settings, self.registry, self.room, Metrics(lambda name: True)
        )

    async def lease(self, name: str, device: str | None = None) -> Lease:
        place = await self.dispatcher.enter(self.registry.get(name), None, device)
        return await asyncio.wait_for(place.granted(), 20)

    async def use(self, *names: str) -> None:
        for name in names:
            (await self.lease(name)).release()

    def loaded(self) -> set[tuple[str, str]]:
        return {(model["name"], model["device"]) for model in self.dispatcher.loaded()}


@pytest.fixture
async def bench(home: Path) -> AsyncIterator[Bench]:
    made = Bench(
        home, 2, ILLAMA_ONE_MODEL="0", ILLAMA_DEVICE="CPU", ILLAMA_MAX_WAIT_SEC="0", ILLAMA_MIN_RESIDENCY_SEC="0"
    )
    yield made
    await made.dispatcher.close(0)


async def test_as_many_models_as_fit_are_loaded_side_by_side(bench: Bench) -> None:
    await bench.use("A", "B")
    assert bench.loaded() == {("A", "CPU"), ("B", "CPU")}


async def test_the_model_used_longest_ago_makes_room(bench: Bench) -> None:
    await bench.use("A", "B", "A", "C")
    assert bench.loaded() == {("A", "CPU"), ("C", "CPU")}


async def test_a_model_in_use_is_waited_for_and_never_evicted(bench: Bench) -> None:
    await bench.use("B")
    first, second = await bench.lease("A"), await bench.lease("B")
    waiting = asyncio.ensure_future(bench.lease("C"))
    await asyncio.sleep(0)
    assert not waiting.done()
    second.release()
    (await asyncio.wait_for(waiting, 20)).release()
    assert bench.loaded() == {("A", "CPU"), ("C", "CPU")}
    first.release()


async def test_a_model_that_fits_nowhere_is_refused_with_figures(home: Path) -> None:
    bench = Bench(home, 0, ILLAMA_ONE_MODEL="0", ILLAMA_DEVICE="CPU")
    with pytest.raises(LoadError, match=r"A does not fit: it needs 0\.6 GiB"):
        await bench.lease("A")
    await bench.dispatcher.close(0)


async def test_one_model_at_a_time_is_one_on_each_device(home: Path) -> None:
    bench = Bench(home, 9, ILLAMA_DEVICE="GPU")
    await bench.use("A", "B")
    (await bench.lease("C", "CPU")).release()
    assert bench.loaded() == {("B", "GPU"), ("C", "CPU")}
    await bench.dispatcher.close(0)


async def test_retrieval_does_not_switch_the_language_model_away_on_one_device(home: Path) -> None:
    bench = Bench(home, 9, ILLAMA_DEVICE="CPU")
    await bench.use("Embed", "A", "Rerank", "A", "Embed")
    assert bench.loaded() == {("Embed", "CPU"), ("A", "CPU"), ("Rerank", "CPU")}
    await bench.use("B")
    assert bench.loaded() == {("Embed", "CPU"), ("B", "CPU"), ("Rerank", "CPU")}
    await bench.dispatcher.close(0)


async def test_embedding_and_rerank_models_leave_the_gpu_to_the_language_model(home: Path) -> None:
    bench = Bench(home, 9, ILLAMA_DEVICE="GPU")
    await bench.use("A", "Embed", "Rerank")
    assert bench.loaded() == {("A", "GPU"), ("Embed", "CPU"), ("Rerank", "CPU")}
    (await bench.lease("Embed", "GPU")).release()
    assert ("Embed", "GPU") in bench.loaded()
    await bench.dispatcher.close(0)


async def test_without_room_for_both_an_embedding_model_takes_its_turn_with_the_language_model(home: Path) -> None:
    bench = Bench(home, 1, ILLAMA_DEVICE="CPU", ILLAMA_MIN_RESIDENCY_SEC="0")
    running = await bench.lease("A")
    waiting = asyncio.ensure_future(bench.lease("Embed"))
    await asyncio.sleep(0)
    assert bench.loaded() == {("A", "CPU")}
    running.release()
    (await asyncio.wait_for(waiting, 20)).release()
    assert bench.loaded() == {("Embed", "CPU")}
    await bench.use("A")
    assert bench.loaded() == {("A", "CPU")}
    await bench.use("Embed")
    assert bench.loaded() == {("Embed", "CPU")}
    await bench.dispatcher.close(0)


async def test_a_device_that_is_not_there_is_told_with_those_that_are(bench: Bench) -> None:
    with pytest.raises(ConfigError, match=r"NPU is not there\. This machine has: CPU, GPU"):
        await bench.lease("A", "NPU")


async def test_unloading_ends_every_copy_of_a_model(home: Path) -> None:
    bench = Bench(home, 9, ILLAMA_DEVICE="GPU")
    await bench.use("A")
    (await bench.lease("A", "CPU")).release()
    assert bench.loaded() == {("A", "GPU"), ("A", "CPU")}
    assert await bench.dispatcher.unload("A")
    assert bench.loaded() == set()
    await bench.dispatcher.close(0)


def slot(model: str | None, *, last_end: float = 0, running: int = 0) -> Slot:
    made = Slot(Rules(), State.READY if model else State.EMPTY, model, last_end=last_end)
    made.running = {number: Ticket(number, model or "", 0) for number in range(running)}
    return made


async def test_placing_prefers_the_models_own_slot_then_an_empty_one_then_a_new_one() -> None:
    a, b, empty = slot("A"), slot("B"), slot(None)
    assert choose([a, b], "B", fits=True) is b
    assert choose([a, empty], "C", fits=False) is empty
    assert choose([a, b], "C", fits=True) is None
    assert choose([], "C", fits=False) is None


async def test_placing_by_kind_shares_a_slot_only_for_want_of_room() -> None:
    text, embed, empty = slot("A"), slot("E"), slot(None)
    assert choose_lane([text, embed], embed, "E", fits=False) is embed
    assert choose_lane([text], None, "E", fits=True) is None
    assert choose_lane([text, empty], empty, "E", fits=True) is empty
    assert choose_lane([text, empty], empty, "E", fits=False) is text
    assert choose_lane([empty], empty, "E", fits=False) is empty
    assert choose_lane([text, embed], embed, "F", fits=False) is embed


async def test_placing_without_room_queues_behind_the_idle_model_that_was_used_longest_ago() -> None:
    busy, older, newer = slot("A", running=1), slot("B", last_end=1), slot("C", last_end=2)
    assert choose([busy, newer, older], "D", fits=False) is older
    assert choose([busy], "D", fits=False) is busy
    assert evictable([busy, newer, older]) is older
    assert evictable([busy]) is None
