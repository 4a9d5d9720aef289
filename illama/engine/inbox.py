"""The engine's end of the pipe from the host: messages as they come, and all that have come before a step begins.

Knows: the pipe's lines, threads. Does not know: what the messages mean.

A thread waits for the pipe. But a step holds Python's lock, and what its thread would read must not wait for another
step: a request that is there when a step begins is to be in it. So the loop reads the pipe itself before it looks into
the queue, where the system can say that there is something to read.
"""

from __future__ import annotations

import os
import queue
import select
import threading
from collections.abc import Callable
from typing import Any

from illama.engine import protocol

# At most so many bytes in one read: more than a pipe holds.
_READ = 2**20


class Inbox:
    """Messages from the host. `lost` is called, from any thread, when the host has closed its end."""

    def __init__(self, pipe: int, lost: Callable[[], Any]) -> None:
        self.queue: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._pipe = pipe
        self._lost = lost
        self._rest: list[bytes] = []
        self._lock = threading.Lock()
        # Windows cannot ask a pipe whether there is something to read: there the thread alone reads.
        self._asks = hasattr(select, "poll")
        if self._asks:
            self._now, self._later = select.poll(), select.poll()  # one for each thread that asks
            self._now.register(pipe, select.POLLIN)
            self._later.register(pipe, select.POLLIN)
        threading.Thread(target=self._listen, name="pipe", daemon=True).start()

    def get(self) -> dict[str, Any]:
        """The next message; waits for it."""
        return self.queue.get()

    def collect(self) -> None:
        """Queue all that the pipe holds."""
        if self._asks:
            with self._lock:
                while self._now.poll(0):
                    self._read()

    def _listen(self) -> None:
        while True:
            if self._asks:
                self._later.poll()
                self.collect()
            else:
                self._read()

    def _read(self) -> None:
        data = os.read(self._pipe, _READ)
        if not data:
            self._lost()
        *lines, rest = data.split(b"\n")
        if lines:
            self.queue.put(protocol.decode(b"".join([*self._rest, lines[0]])))
            for line in lines[1:]:
                self.queue.put(protocol.decode(line))
            self._rest = []
        if rest:
            self._rest.append(rest)
