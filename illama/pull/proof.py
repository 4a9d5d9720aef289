"""The proof that a model runs: the real engine loads it and does once what the model is for. What fails is not kept.

Knows: the engine's process and its pipe, one question for each task. Does not know: how the model was made.

"One model at a time" is the host's rule for who may use a device, and a proof does not ask the host: it takes the
smallest KV cache, for seconds. Where the device has no room for that beside what is loaded, the proof is on the CPU.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import math
import os
import queue
import struct
import subprocess
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from illama.config import Settings
from illama.engine import launch, protocol
from illama.errors import IllamaError, PullError
from illama.host import fitting
from illama.host.devices import Devices
from illama.pull import journal
from illama.pull.progress import Progress

_KV_BYTES = 2**28
_TOKENS = 8
_POLL_SEC = 0.1
_QUESTION = "What is the capital of France?"


@dataclass(frozen=True)
class Subject:
    """What is to be proven: a folder with a model, and what its entry will say of it. `size` is in bytes."""

    name: str
    folder: Path
    task: str
    size: int
    context_length: int | None
    chat_template: bool
    options: Mapping[str, Any]


def prove(subject: Subject, pinned: str | None, settings: Settings, progress: Progress) -> dict[str, str]:
    """Load the model and use it once. Returns the device that did it, and the engine's versions.

    Raises PullError, which says why it does not run and names the full log, and CancelledError.
    """
    progress.report("prove", f"trying {subject.name}")
    log = journal.fresh(settings, f"prove-{subject.name}")
    try:
        device = asyncio.run(_device(subject, pinned, settings))
        progress.report("prove", f"trying {subject.name} on {device}")
        with engine(settings, log) as started:
            return _try(started, subject, device, settings, progress)
    except PullError:
        raise
    except IllamaError as problem:
        if problem.status == 499:
            raise
        raise PullError(
            f"{subject.name} was made, but it does not run, so it was not kept: {problem.message}",
            hint=f"{problem.hint or 'Try another weight format, or another repository of it.'} The full log: {log}.",
        ) from problem


async def _device(subject: Subject, pinned: str | None, settings: Settings) -> str:
    """The device on which the host would run it, if it is there and has room; else the CPU."""
    devices = Devices(settings)
    names = [each.name for each in await devices.found()]
    if subject.task in protocol.ENCODER_TASKS and not pinned:
        return "CPU"
    try:
        chosen = await devices.resolve(pinned)
    except IllamaError:
        return "CPU" if "CPU" in names else names[0]  # pulled for a device that another machine has
    room = await devices.room(chosen)
    if chosen != "CPU" and room.free is not None and room.free < fitting.need(subject.size, _KV_BYTES).total:
        return "CPU"
    return chosen


class Engine:
    """An engine's process: what is told to it, and what it tells. `engine` starts one."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._news: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()

    def tell(self, message: dict[str, Any]) -> None:
        """Send a message."""
        assert self._process.stdin is not None, "its input is a pipe"
        with contextlib.suppress(BrokenPipeError):  # it has ended, which `news` tells
            self._process.stdin.write(protocol.encode(message))
            self._process.stdin.flush()

    def events(self, limit: float, progress: Progress, status: str) -> Iterator[dict[str, Any]]:
        """What it tells, for as long as one asks. Raises PullError if it is silent for `limit` seconds, or ends."""
        since = time.monotonic()
        while True:
            progress.report("prove", status)
            try:
                message = self._news.get(timeout=_POLL_SEC)
            except queue.Empty:
                if time.monotonic() - since > limit:
                    raise IllamaError(f"The engine did nothing for {limit:g} seconds.") from None
                continue
            if message is None:
                code = self._process.wait()
                how = f"died of signal {-code}" if code < 0 else f"ended with code {code}"
                lack = ", perhaps for lack of memory" if code == -9 else ""
                raise IllamaError(f"The engine's process {how}{lack}.")
            if "error" in message:
                raise protocol.unpack_error(message["error"])
            since = time.monotonic()
            yield message

    def _listen(self) -> None:
        assert self._process.stdout is not None, "its output is a pipe"
        for line in self._process.stdout:
            with contextlib.suppress(ValueError):
                self._news.put(protocol.decode(line))
        self._news.put(None)


@contextmanager
def engine(settings: Settings, log: Path) -> Iterator[Engine]:
    """A process of the engine's interpreter, that is gone afterwards. Its standard error goes to `log`."""
    with log.open("ab") as stderr:
        try:
            process = subprocess.Popen(
                launch.command(settings, "illama.engine.worker"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=launch.environment(os.environ),
            )
        except OSError as problem:
            raise IllamaError(f"The engine's process cannot be started: {problem.strerror}.") from problem
    started = Engine(process)
    try:
        yield started
    finally:
        process.kill()
        process.wait()
        started.thread.join()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def _try(engine: Engine, subject: Subject, device: str, settings: Settings, progress: Progress) -> dict[str, str]:
    engine.tell(
        {
            "op": "load",
            "engine": settings.engine,
            "folder": str(subject.folder),
            "device": device,
            "context_length": subject.context_length,
            "pipeline": subject.options.get("pipeline"),
            "kv_bytes": _KV_BYTES,
            # What would be compiled into the cache is of a folder that is about to get another name.
            "cache_dir": None,
            "task": subject.task,
            "options": dict(subject.options),
        }
    )
    status = f"trying {subject.name} on {device}"
    ready = next(event for event in engine.events(settings.load_limit_sec, progress, status) if event["ev"] == "ready")
    engine.tell({**_question(subject), "id": 1})
    tokens = 0
    for event in engine.events(settings.step_limit_sec, progress, status):
        if event["ev"] == "result":
            _check_numbers(event)
            break
        if event["ev"] == "step":
            tokens += sum(count for _, _, count, *_ in event["tokens"])
            if event["done"]:
                if not tokens:
                    raise IllamaError("It answers with nothing.")
                break
    return {"device": device, **ready["facts"]["versions"]}


def _question(subject: Subject) -> dict[str, Any]:
    """What to ask a model of this task."""
    if subject.task == "embedding":
        return {"op": "embed", "texts": [_QUESTION], "kind": "document", "truncate": True, "dimensions": None}
    if subject.task == "rerank":
        return {"op": "rerank", "query": _QUESTION, "texts": ["Paris is a city.", "Bread."], "truncate": True}
    asked: dict[str, Any] = {"op": "generate", "stop": [], "structured": None}
    asked |= {"sampling": {"max_tokens": _TOKENS, "temperature": 0, "ignore_eos": True}}
    if subject.task == "image-text-to-text":
        text = f"<ov_genai_image_0>\n{_QUESTION}"
        return {**asked, "messages": [{"role": "user", "content": text}], "images": [_picture()]}
    if not subject.chat_template:
        return {**asked, "prompt": _QUESTION}
    return {**asked, "messages": [{"role": "user", "content": _QUESTION}]}


def _picture(side: int = 64) -> str:
    """A PNG of a few colours in base64. Format: https://www.w3.org/TR/png-3/"""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    lines = ((value for x in range(side) for value in (x, y, side - 1 - x)) for y in range(side))
    rows = b"".join(b"\0" + bytes(4 * value for value in line) for line in lines)
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)  # 8 bits each of red, green and blue
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + chunks).decode()


def _check_numbers(event: Mapping[str, Any]) -> None:
    numbers = [float(each) for each in event.get("scores") or ()]
    for vector in event.get("vectors") or ():
        data = base64.b64decode(vector)
        numbers += struct.unpack(f"<{len(data) // 4}f", data)
    if not numbers or not all(map(math.isfinite, numbers)) or not any(numbers):
        raise IllamaError("Its answer is no numbers that mean anything.")
