"""The host's side of an engine: start the process, send it requests, pass on what comes back, end it.

Knows: the process, its pipe, the requests under way in it. Does not know: names of models, scheduling, HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from illama.config import Settings
from illama.engine import launch, protocol
from illama.engine.pipe import Pipe
from illama.engine.work import Call, Generation
from illama.errors import CancelledError, EngineDiedError, EngineError, IllamaError, LoadError
from illama.host import logs

log = logging.getLogger(__name__)

# Seconds that a process gets to end after its pipe was closed; a step in progress holds it up.
_END_PATIENCE = 2.0
# Lines of the engine's log that an error quotes.
_TAIL = 5
# Seconds over which the rate in `ps` is averaged.
_RATE_WINDOW = 3.0

# Embedding calls that go to the engine together before the turn of the loop has ended.
_CALLS_TOGETHER = 16

_decode = msgspec.json.Decoder().decode


class Engine:
    """One engine process: `start` it, `submit` requests or `call` it, `end` it.

    `on_death` is called if it ends by itself.
    """

    def __init__(self, settings: Settings, on_death: Callable[[IllamaError], None]) -> None:
        self._settings = settings
        self._on_death = on_death
        self._ids = itertools.count(1)
        self._generations: dict[int, Generation | Call] = {}
        self._process: Pipe | None = None
        self._reader: asyncio.Task[None] | None = None
        self._unsent: list[bytes] = []
        self._error: IllamaError | None = None  # what the process said that it ended of
        self._ready: asyncio.Future[protocol.Facts] | None = None
        self._ending = False
        self._starting = asyncio.Lock()
        self._watch: asyncio.Task[None] | None = None
        self._news_at = 0.0  # when the process last told something, or was last told to work
        self._verdict: IllamaError | None = None  # why we ended it, if we did
        self._log_start = 0
        self._rate: deque[tuple[float, int]] = deque()
        self.facts: protocol.Facts | None = None

    @property
    def pid(self) -> int | None:
        """The process's id, once it was started."""
        return self._process.pid if self._process else None

    @property
    def _log_path(self) -> Path:
        return logs.path_of(self._settings, "engine")

    @property
    def tokens_per_second(self) -> float:
        """Generated tokens of all requests together, averaged over the last seconds."""
        now = time.monotonic()
        while self._rate and self._rate[0][0] < now - _RATE_WINDOW:
            self._rate.popleft()
        if len(self._rate) < 2:
            return 0.0
        # From the first step to the last: time in which nobody asked for tokens says nothing of the device.
        counts = [count for _, count in self._rate]
        return sum(counts[1:]) / max(self._rate[-1][0] - self._rate[0][0], 0.001)

    async def start(self, load: dict[str, Any]) -> protocol.Facts:
        """Start the process and load a model into it. Raises LoadError, or EngineDiedError if it died of it."""
        async with self._starting:
            if self._ending:
                raise CancelledError("The load was stopped before it began.")
            if self._process is None:
                await self._begin_process()
            self._log_start = self._log_path.stat().st_size
            self._ready = asyncio.get_running_loop().create_future()
            self._news_at = time.monotonic()
            self._watch = asyncio.create_task(self._watchdog())
            self._send({"op": "load", **load})
        self.facts = await self._ready
        return self.facts

    async def prepare(self, folder: Path) -> None:
        """Start the process and have it make ready what any load needs, for a `start` to come. Raises LoadError.

        `folder` is an installed model's, which need not be the one that is loaded then.
        """
        async with self._starting:
            if not self._ending and self._process is None:
                await self._begin_process()
                self._send({"op": "prepare", "engine": self._settings.engine, "folder": str(folder)})

    def adopt(self, on_death: Callable[[IllamaError], None]) -> bool:
        """Hand a prepared engine to who starts it; False if its process has ended."""
        self._on_death = on_death
        return not self._ending and (self._process is None or self._process.returncode is None)

    async def _begin_process(self) -> None:
        process = self._process = await self._spawn()
        self._reader = asyncio.create_task(self._follow(process))

    async def _spawn(self) -> Pipe:
        try:
            with logs.child_log(self._settings, "engine") as stderr:
                # A session of its own: Ctrl-C in the terminal of `illama serve` is the host's to handle.
                _, pipe = await asyncio.get_running_loop().subprocess_exec(
                    lambda: Pipe(self._hear),
                    *launch.command(self._settings, "illama.engine.worker"),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=stderr,
                    env=launch.environment(os.environ),
                    start_new_session=True,
                )
                return pipe
        except OSError as error:
            raise LoadError(
                f"The engine's process cannot be started: {error}.",
                hint="See that ILLAMA_ENGINE_PYTHON names an interpreter and the log folder can be written.",
            ) from error

    def submit(self, message: dict[str, Any]) -> Generation:
        """Give the engine a `generate` message (without op and id). Raises EngineDiedError if it is gone."""
        generation = Generation(next(self._ids), self.cancel)
        self._begin(generation, {"op": "generate", "id": generation.id, **message})
        return generation

    def call(self, message: dict[str, Any]) -> Call:
        """Give the engine an `embed` or `rerank` message (without id). Raises EngineDiedError if it is gone."""
        call = Call(next(self._ids), self.cancel)
        self._begin(call, {"id": call.id, **message})
        # The turn that takes up hundreds of them is long, and the engine need not wait for its end to begin.
        if len(self._unsent) >= _CALLS_TOGETHER:
            self._flush()
        return call

    def _begin(self, work: Generation | Call, message: dict[str, Any]) -> None:
        if self._process is None or self._process.returncode is not None or self._ending:
            raise EngineDiedError("The engine ended before it could take the request.", hint="Send it again.")
        if not self._generations:
            self._news_at = time.monotonic()
        self._generations[work.id] = work
        self._send(message)

    def cancel(self, id: int) -> None:
        """Ask the engine to drop a request."""
        self._send({"op": "cancel", "id": id})

    async def end(self, reason: IllamaError | None = None) -> None:
        """End the process and wait until it is gone. What still runs in it fails with `reason`."""
        self._ending = True
        async with self._starting:  # a start under way must not outlive the end
            process = self._process
        if process is None:
            return
        self._flush()
        process.close_input()
        if await process.wait(_END_PATIENCE) is None:
            _kill(process)
            await process.wait()
        # What a library may have forked holds the pipe open: it goes too, and is not waited for without end.
        _kill(process)
        for task in (self._reader, self._watch):
            if task:
                await asyncio.wait({task}, timeout=_END_PATIENCE if task is self._reader else 0)
                task.cancel()
        process.close()
        self._fail(reason or CancelledError("The model was unloaded."))

    def _send(self, message: dict[str, Any]) -> None:
        # What one turn of the loop has for the engine goes out together, so that its next step knows all of it.
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unsent.append(protocol.encode(message))

    def _flush(self) -> None:
        lines, self._unsent = self._unsent, []
        if lines and self._process:
            # Not drained: the engine reads at once, and requests are bounded by the body limit and the queue.
            self._process.write(b"".join(lines))

    async def _watchdog(self) -> None:
        """End a process that does not get on: a hung driver would hold its device, and all who wait, for ever."""
        assert self._process is not None, "the process is started"
        step, load = self._settings.step_limit_sec, self._settings.load_limit_sec
        while self._process.returncode is None:
            await asyncio.sleep(min(1.0, step / 4, load / 4))
            silent = time.monotonic() - self._news_at
            if self.facts is None and silent > load:
                self._verdict = LoadError(
                    f"The model was not loaded within {load:g} seconds.",
                    hint="Raise ILLAMA_LOAD_LIMIT_SEC, or pull it anew.",
                )
            elif self.facts is not None and self._generations and silent > step:
                self._verdict = EngineError(
                    f"The engine made no progress for {silent:.0f} seconds and was ended.",
                    hint="Send it again: a new engine is started. If it happens again, look to the device's driver.",
                )
            if self._verdict:
                _kill(self._process)
                return

    def log_tail(self) -> str:
        """The last lines that this process wrote to the engines' log."""
        try:
            with self._log_path.open("rb") as file:
                file.seek(self._log_start)
                lines = file.read(64 * 2**10).decode("utf-8", "replace").strip().splitlines()
        except OSError:
            return ""
        return "\n".join(lines[-_TAIL:])

    def _hear(self, line: bytes) -> None:
        self._news_at = time.monotonic()
        try:
            message: dict[str, Any] = _decode(line)
        except msgspec.DecodeError:  # half a surrogate pair, which Python's own reads
            message = protocol.decode(line)
        if message["ev"] in ("failed", "fatal"):
            self._error = protocol.unpack_error(message["error"])
        else:
            self._take(message)

    async def _follow(self, process: Pipe) -> None:
        """See the process end, and tell those whom it leaves."""
        await process.drained.wait()
        code = await process.wait()
        error = self._verdict or self._error
        if error is None:
            error = EngineDiedError(
                f"The engine process ended unexpectedly ({_describe(code)}).",
                hint="Send the request again: a new engine is started. The reason may be in engine.log.",
            )
        loading = self._ready is not None and not self._ready.done()
        if loading and self._ready is not None:
            self._ready.set_exception(error)
            self._ready.exception()  # an aborted load has nobody who asks
        if not self._ending:
            self._fail(error)
            if not loading:
                log.warning("engine %s ended: %s", self.pid, error.message)
                self._on_death(error)

    def _take(self, message: dict[str, Any]) -> None:
        event = message["ev"]
        if event == "step":
            now, total = time.monotonic(), 0
            for id, text, count, logprobs in message["tokens"]:
                total += count
                generation = self._generations.get(id)
                if isinstance(generation, Generation):
                    generation.add(text, count, logprobs)
            self._rate.append((now, total))
            for summary in message["done"]:
                self._end(summary["id"], summary=summary)
        elif event == "accepted":
            accepted = self._generations.get(message["id"])
            if isinstance(accepted, Generation) and not accepted.accepted.done():
                accepted.accepted.set_result(message)
        elif event == "alive":
            reading = self._generations.get(message.get("id", -1))
            if isinstance(reading, Generation):
                reading.read = message["read"]
        elif event == "result":
            self._end(message["id"], summary=message)
        elif event == "refused":
            self._end(message["id"], error=protocol.unpack_error(message["error"]))
        elif event == "ready" and self._ready is not None and not self._ready.done():
            self._ready.set_result(message["facts"])

    def _end(self, id: int, **how: Any) -> None:
        generation = self._generations.pop(id, None)
        if generation:
            generation.end(**how)

    def _fail(self, error: IllamaError) -> None:
        for id in list(self._generations):
            self._end(id, error=error)


def _kill(process: Pipe) -> None:
    """Kill the process and all of its session."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


def _describe(code: int | None) -> str:
    if code is not None and code < 0:
        hint = ", perhaps by the system, for lack of memory" if code == -9 else ""
        return f"killed by signal {-code}{hint}"
    return f"exit code {code}"
