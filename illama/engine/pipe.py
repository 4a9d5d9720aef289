"""An engine's process and its pipe, as the event loop has them: whole lines in, bytes out, the exit code.

Knows: the process, its standard streams. Does not know: what the lines say.

Lines are handed over in the very turn of the loop in which they arrive: no task is woken for them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any


class _Direct(asyncio.Protocol):
    """Hands on what a stream brings in the turn that brings it; asyncio's own protocol for it takes another."""

    def __init__(self, usual: Any, pipe: Pipe) -> None:
        self._usual = usual
        self._pipe = pipe

    def data_received(self, data: bytes) -> None:
        """Something has come."""
        self._pipe.pipe_data_received(1, data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more will."""
        self._usual.connection_lost(exc)


class Pipe(asyncio.SubprocessProtocol):
    """For `loop.subprocess_exec`. `hear` gets each line that the process writes.

    `drained` is set when nothing more can come; `wait` waits for the process's end.
    """

    def __init__(self, hear: Callable[[bytes], None]) -> None:
        self.drained = asyncio.Event()
        self._hear = hear
        self._rest: list[bytes] = []
        self._ended = asyncio.Event()
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        """The process has started."""
        self._transport = transport
        out = transport.get_pipe_transport(1)
        out.set_protocol(_Direct(out.get_protocol(), self))

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """It has written something."""
        *lines, rest = data.split(b"\n")
        for line in lines:
            if self._rest:
                line = b"".join([*self._rest, line])
                self._rest.clear()
            self._hear(line)
        if rest:
            self._rest.append(rest)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """It, and all that it has forked, have closed a stream."""
        if fd == 1:
            self.drained.set()

    def process_exited(self) -> None:
        """It has ended."""
        self._ended.set()

    @property
    def pid(self) -> int:
        """The process's id."""
        return int(self._transport.get_pid())

    @property
    def returncode(self) -> int | None:
        """Its exit code, or minus the signal that ended it; None while it runs."""
        code: int | None = self._transport.get_returncode()
        return code

    def write(self, data: bytes) -> None:
        """Give it something to read. What it does not read at once is kept."""
        stdin = self._transport.get_pipe_transport(0)
        if stdin is not None and not stdin.is_closing():
            stdin.write(data)

    def close_input(self) -> None:
        """Close its standard input, once it has read what was written."""
        stdin = self._transport.get_pipe_transport(0)
        if stdin is not None:
            stdin.close()

    def kill(self) -> None:
        """Kill this process alone."""
        with contextlib.suppress(ProcessLookupError):
            self._transport.kill()

    def close(self) -> None:
        """Let go of the streams of a process that has ended."""
        self._transport.close()

    async def wait(self, timeout: float | None = None) -> int | None:
        """Wait for its end, at most `timeout` seconds, and return its `returncode`."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._ended.wait(), timeout)
        return self.returncode
