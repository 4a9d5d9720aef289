"""Which device a model gets, on machines that were not here: their facts are given."""

from __future__ import annotations

import pytest

from illama.config import Settings
from illama.errors import ConfigError
from illama.host.devices import Device, Devices, choose, kv_budget
from illama.host.memory import Room

pytestmark = pytest.mark.anyio

GIB = 2**30


class Given(Devices):
    def __init__(self, *names: str, **variables: str) -> None:
        super().__init__(Settings.load(variables))
        self.names = names

    async def found(self) -> tuple[Device, ...]:
        return tuple(Device(name, f"a {name}") for name in self.names)


@pytest.mark.parametrize(
    ("asked", "devices", "chosen"),
    [
        ("GPU", ["CPU", "GPU"], "GPU"),
        ("GPU", ["CPU", "GPU.0", "GPU.1"], "GPU.0"),
        ("GPU.0", ["CPU", "GPU"], "GPU"),
        ("GPU.1", ["CPU", "GPU.0", "GPU.1"], "GPU.1"),
        ("GPU.1", ["CPU", "GPU"], None),
        ("NPU", ["CPU", "NPU"], "NPU"),
        ("AUTO", ["CPU", "GPU.0", "GPU.1"], "GPU.0"),
        ("AUTO", ["CPU", "NPU"], "CPU"),
        ("GPU", ["CPU"], None),
    ],
)
def test_a_device_is_found_by_every_name_it_has(asked: str, devices: list[str], chosen: str | None) -> None:
    assert choose(asked, devices) == chosen


async def test_without_a_gpu_and_without_a_wish_it_is_the_cpu() -> None:
    assert await Given("CPU").resolve() == "CPU"


async def test_a_gpu_that_was_asked_for_and_is_not_there_is_no_silent_cpu() -> None:
    with pytest.raises(ConfigError, match=r"This machine has: CPU, NPU\."):
        await Given("CPU", "NPU", ILLAMA_DEVICE="GPU").resolve()
    with pytest.raises(ConfigError, match="GPU is not there"):
        await Given("CPU").resolve("GPU")


async def test_a_models_own_device_goes_before_the_setting() -> None:
    assert await Given("CPU", "GPU", ILLAMA_DEVICE="GPU").resolve("CPU") == "CPU"


def test_the_kv_cache_takes_most_of_a_cards_memory_and_a_part_of_the_machines() -> None:
    card = Room("GPU's memory", 16 * GIB, 15 * GIB)
    assert 4 * GIB < kv_budget(card, True, 8 * GIB) < 6 * GIB
    assert kv_budget(Room("the machine's memory", 64 * GIB, 60 * GIB), False, 4 * GIB) == 4 * GIB
    assert kv_budget(Room("the machine's memory", 8 * GIB, 4 * GIB), False, GIB) < 2 * GIB
    assert kv_budget(Room("GPU's memory", 8 * GIB, None), True, 20 * GIB) == GIB // 4


async def test_the_devices_are_told_with_their_memory_once_they_were_asked_for_and_not_before() -> None:
    devices = Devices(Settings.load({"ILLAMA_ENGINE": "fake"}))
    assert devices.known() == []
    await devices.resolve("CPU")
    ((device, room),) = devices.known()
    assert (device.name, room) == ("CPU", None)
    look = devices._look
    assert look is not None
    await look
    ((_, room),) = devices.known()
    assert room is not None
    assert room.total is not None
    assert room.free is not None
    assert 0 < room.free < room.total
    assert devices._look is look, "one look serves all who ask within some seconds"
