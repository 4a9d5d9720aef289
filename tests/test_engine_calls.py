"""Embedding calls as the host has them: how they end, and when the engine hears of them. No process."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from illama.config import Settings
from illama.engine.process import Engine
from illama.engine.work import Call
from illama.errors import EngineError

pytestmark = pytest.mark.anyio


class Pipe:
    """An engine's pipe that keeps what is written to it."""

    returncode = None

    def __init__(self) -> None:
        self.lines: list[Any] = []

    def write(self, data: bytes) -> None:
        self.lines += [json.loads(line) for line in data.splitlines()]


async def test_a_call_whose_client_leaves_is_cancelled_and_ends_when_the_engine_says_so():
    cancelled: list[int] = []
    ended: list[str] = []
    call = Call(7, cancelled.append)
    call.when_ended(lambda: ended.append("end"))
    waiting = asyncio.create_task(call.result())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (cancelled, ended) == ([7], [])
    call.end(error=EngineError("It was cancelled."))
    call.end(summary={})
    assert ended == ["end"]


async def test_a_call_that_has_ended_is_not_cancelled_any_more():
    cancelled: list[int] = []
    call = Call(7, cancelled.append)
    waiting = asyncio.create_task(call.result())
    await asyncio.sleep(0)
    call.end(summary={"tokens": [1]})
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not cancelled
    late: list[str] = []
    call.when_ended(lambda: late.append("end"))
    assert late == ["end"]


async def test_the_engine_hears_of_hundreds_of_calls_before_the_turn_that_takes_them_up_has_ended(home: Path):
    engine, pipe = Engine(Settings.load(), on_death=lambda error: None), Pipe()
    engine._process = pipe  # type: ignore[assignment]
    for _ in range(100):
        engine.call({"op": "embed", "texts": ["a"]})
    assert len(pipe.lines) >= 50
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [line["id"] for line in pipe.lines] == list(range(1, 101))
