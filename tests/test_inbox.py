"""The engine's end of the pipe: whole messages, all that are there, and the end."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from illama.engine.inbox import Inbox
from illama.engine.protocol import encode


class Ends:
    """An inbox and the other end of its pipe."""

    def __init__(self) -> None:
        read, self.write = os.pipe()
        self.lost = threading.Event()
        self.inbox = Inbox(read, self._gone)

    def _gone(self) -> None:
        self.lost.set()
        threading.Event().wait()  # an engine ends here: it does not go on

    def say(self, *messages: dict[str, Any]) -> None:
        os.write(self.write, b"".join(map(encode, messages)))


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    yield made
    if not made.lost.is_set():
        os.close(made.write)
        assert made.lost.wait(20)


def test_a_message_wakes_who_waits(ends: Ends) -> None:
    ends.say({"op": "one"})
    assert ends.inbox.get() == {"op": "one"}


def test_all_that_was_written_is_there_after_a_collect(ends: Ends) -> None:
    for number in range(500):
        ends.say({"op": number}, {"op": "next"})
        ends.inbox.collect()
        assert ends.inbox.queue.get(block=False) == {"op": number}
        assert ends.inbox.queue.get(block=False) == {"op": "next"}


def test_a_message_that_comes_in_pieces_is_one(ends: Ends) -> None:
    line = encode({"op": "long", "text": "x" * 40_000}) + encode({"op": "after"})
    for at in range(0, len(line), 7_000):
        os.write(ends.write, line[at : at + 7_000])
        ends.inbox.collect()
    assert len(ends.inbox.get()["text"]) == 40_000
    assert ends.inbox.get() == {"op": "after"}


def test_the_hosts_end_is_noticed(ends: Ends) -> None:
    ends.say({"op": "last"})
    assert ends.inbox.get() == {"op": "last"}
    os.close(ends.write)
    assert ends.lost.wait(20)
