from __future__ import annotations

import pytest

from illama.errors import LoadError
from illama.host import fitting
from illama.host.memory import Room

MB, GB = 2**20, 2**30
NEED = fitting.Need(weights=4 * GB, kv_cache=1 * GB, overhead=GB // 2)


class Time:
    """A clock that only `sleep` moves, and the memory that is used at each time."""

    def __init__(self, *used: tuple[float, int | None]) -> None:
        self.now = 100.0
        self.looks = 0
        self._used = used

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    async def read(self) -> int | None:
        self.looks += 1
        return [used for since, used in self._used if self.now - 100.0 >= since][-1]

    async def watch(self, before: int, held: int, timeout: float) -> fitting.Returned:
        return await fitting.watch_return(before, held, self.read, timeout, clock=self.clock, sleep=self.sleep)


def refusal(needed: fitting.Need, room: Room) -> LoadError:
    with pytest.raises(LoadError) as caught:
        fitting.fits("Qwen3-8B", needed, room)
    return caught.value


def test_what_fits_is_no_error():
    fitting.fits("Qwen3-8B", NEED, Room("GPU's memory", 16 * GB, NEED.total))


def test_what_does_not_fit_is_refused_with_the_figures_and_what_to_do():
    error = refusal(NEED, Room("GPU's memory", 16 * GB, 3 * GB))
    assert error.message == (
        "Qwen3-8B does not fit: it needs 5.5 GiB (weights 4.0, KV cache 1.0 and the engine 0.5 GiB), "
        "but 3.0 GiB of GPU's memory are free, of 16.0."
    )
    assert "illama stop" in error.hint
    assert (error.status, error.code) == (503, "model_load_failed")


def test_what_was_not_seen_of_others_is_said():
    assert "at most 3.0 GiB" in refusal(NEED, Room("GPU's memory", 16 * GB, 3 * GB, exact=False)).message


def test_what_can_never_fit_is_told_so_and_not_to_free_some():
    error = refusal(NEED, Room("GPU's memory", 4 * GB, 3 * GB))
    assert "but GPU's memory is 4.0 GiB in all" in error.message
    assert "illama stop" not in error.hint
    assert "ILLAMA_DEVICE" in error.hint


def test_where_nobody_tells_what_is_free_only_the_impossible_is_refused():
    fitting.fits("Qwen3-8B", NEED, Room("GPU's memory", 6 * GB, None, exact=False))
    fitting.fits("Qwen3-8B", NEED, Room("GPU's memory"))
    assert "in all" in refusal(NEED, Room("GPU's memory", 5 * GB, None, exact=False)).message


def test_the_engine_itself_is_counted_and_grows_with_the_weights():
    small, large = fitting.need(100 * MB, 256 * MB), fitting.need(10 * GB, 256 * MB)
    assert (small.weights, small.kv_cache) == (100 * MB, 256 * MB)
    assert 300 * MB < small.overhead < 400 * MB
    assert large.overhead - small.overhead == pytest.approx((10 * GB - 100 * MB) / 10, abs=2)
    assert small.total == small.weights + small.kv_cache + small.overhead


@pytest.mark.anyio
async def test_memory_that_is_back_at_once_costs_no_wait():
    time = Time((0, 1 * GB))
    assert await time.watch(before=5 * GB, held=4 * GB, timeout=5) == fitting.Returned(0, 0)
    assert time.looks == 1


@pytest.mark.anyio
async def test_memory_that_comes_back_late_is_waited_for():
    time = Time((0, 5 * GB), (0.2, 3 * GB), (1.0, 1 * GB))
    returned = await time.watch(before=5 * GB, held=4 * GB, timeout=5)
    assert returned.missing == 0
    assert 1.0 <= returned.seconds < 1.3


@pytest.mark.anyio
async def test_what_does_not_come_back_is_told_after_a_bounded_time():
    time = Time((0, 5 * GB), (1, 2 * GB))
    returned = await time.watch(before=5 * GB, held=4 * GB, timeout=3)
    assert returned.missing == 1 * GB
    assert returned.seconds == pytest.approx(3)
    assert time.looks < 30


@pytest.mark.anyio
async def test_a_little_that_others_took_meanwhile_does_not_count():
    time = Time((0, 1 * GB + 200 * MB))
    assert (await time.watch(before=5 * GB, held=4 * GB, timeout=5)).missing == 0
    time = Time((0, 1 * GB + 60 * MB))
    assert (await time.watch(before=1 * GB + 100 * MB, held=100 * MB, timeout=0)).missing == 0


@pytest.mark.anyio
async def test_where_nobody_tells_there_is_no_wait():
    time = Time((0, None))
    assert (await time.watch(before=5 * GB, held=4 * GB, timeout=5)).missing is None
    assert time.looks == 1
