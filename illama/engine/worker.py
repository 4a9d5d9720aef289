"""The engine process: reads requests from its pipe, runs the backend's steps, writes what each step brought.

Knows: the loop, and that the host's end of the pipe is its life line. Does not know: names of models, HTTP, who asks.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import queue
import signal
import sys
import threading
import time
import traceback
from typing import IO, Any

from illama.engine import protocol
from illama.engine.answer import Answer, Known, advance
from illama.engine.backend import Backend, DeviceError, Prompt
from illama.engine.encode import EncoderWorker
from illama.engine.inbox import Inbox
from illama.errors import EngineError, IllamaError, LoadError, RequestError

_PR_SET_PDEATHSIG = 1  # prctl(2)
# Seconds after which a step that brought nothing, as in a long prompt, is told all the same: the host watches.
_ALIVE_EVERY = 0.5


def main() -> None:
    """Run until the host closes the pipe. Never returns: native libraries get no say in how the process ends."""
    source, pipe = _claim_pipe()
    _die_with_parent()
    # When the host is gone, or wants us gone, no engine is left behind.
    inbox = Inbox(source, lost=lambda: _exit(0))
    message = inbox.get()
    if message["op"] == "prepare":
        _prepare(message)
        message = inbox.get()
    try:
        backend = _load(message)
    except IllamaError as error:
        _send(pipe, {"ev": "failed", "error": protocol.pack_error(error)})
        _exit(1)
    _send(pipe, {"ev": "ready", "facts": backend.facts})
    try:
        if backend.facts["task"] in protocol.ENCODER_TASKS:
            EncoderWorker(backend, inbox.queue, lambda messages: _send(pipe, *messages)).run()
        # Not before it is ready: who waits for the load alone need not wait for this, and a request waits as long.
        backend.warm_up()
        Worker(backend, inbox, pipe).run()
    except DeviceError as error:
        failure = EngineError(f"The device failed: {error}", hint="The next request starts a new engine.")
        _send(pipe, {"ev": "fatal", "error": protocol.pack_error(failure)})
        _exit(1)


class Worker:
    """The loop: take messages, take a step, send what it brought."""

    def __init__(self, backend: Backend, inbox: Inbox, pipe: IO[bytes]) -> None:
        self._backend = backend
        self._inbox = inbox
        self._pipe = pipe
        self._answers: dict[int, Answer] = {}
        self._known: Known = ({}, {})
        self._checking: set[int] = set()
        self._unsent: list[dict[str, Any]] = []
        self._told = 0.0

    def run(self) -> None:
        """Serve until the process ends. Raises DeviceError when a step failed."""
        while True:
            # 1. All that has come is taken before a step: a cancel takes effect, a request need not wait for another.
            self._take_all()
            # 2. One step.
            outputs = self._backend.step()
            # 3. What it brought.
            for output in outputs:
                if output.error:
                    self._answers.pop(output.id, None)
                    dropped = EngineError(output.error, hint="Try again when fewer requests are running.")
                    self._refuse(output.id, dropped)
            message = advance(self._backend, self._answers, outputs) or self._reading()
            now = time.monotonic()
            if message["ev"] == "step" or now - self._told > _ALIVE_EVERY:
                self._unsent.append(message)
                self._told = now
            self._flush()

    def _reading(self) -> dict[str, Any]:
        """The message for a step that brought nothing: how far a prompt is read, if it has the device for itself."""
        alone = next(iter(self._answers.values())) if len(self._answers) == 1 and self._backend.reads else None
        if alone is None or alone.completion_tokens:
            return {"ev": "alive"}
        alone.read = min(alone.read + self._backend.reads, alone.prompt_tokens)
        return {"ev": "alive", "id": alone.id, "read": alone.read}

    def _take_all(self) -> None:
        while True:
            self._inbox.collect()
            try:
                self._handle(self._inbox.queue.get(block=False))
            except queue.Empty:
                self._flush()
                if self._backend.busy:
                    return
                self._handle(self._inbox.queue.get())

    def _flush(self) -> None:
        """Send what there is to tell, in one write."""
        if self._unsent:
            _send(self._pipe, *self._unsent)
            self._unsent.clear()

    def _handle(self, message: dict[str, Any]) -> None:
        op = message["op"]
        if op == "generate":
            message["arrived"] = time.monotonic()
            if message.get("structured"):
                self._checking.add(message["id"])
                threading.Thread(target=self._check, args=(message,), name="grammar", daemon=True).start()
            else:
                self._start(message)
        elif op == "checked":
            if message["request"]["id"] in self._checking:
                self._checking.discard(message["request"]["id"])
                self._start(message["request"], message["error"])
        elif op == "cancel":
            self._cancel(message["id"])

    def _check(self, request: dict[str, Any]) -> None:
        # A grammar may take seconds to compile, and a bad one would break the pipeline's step for everybody.
        error: IllamaError | None = None
        try:
            self._backend.check(request["structured"])
        except IllamaError as problem:
            error = problem
        self._inbox.queue.put({"op": "checked", "request": request, "error": error})

    def _start(self, request: dict[str, Any], error: IllamaError | None = None) -> None:
        try:
            if error:
                raise error
            prompt: Prompt = self._backend.prepare(request)
            self._backend.start(request["id"], prompt, request)
        except IllamaError as refusal:
            self._refuse(request["id"], refusal)
            return
        except Exception as bug:  # noqa: BLE001 - one request's trouble must not be everybody's
            traceback.print_exc()
            self._refuse(request["id"], EngineError(f"The engine could not take this request: {bug!r}"))
            return
        answer = Answer.of(request, self._known, prompt.tokens, prompt.cached)
        self._answers[answer.id] = answer
        counts = {"prompt_tokens": prompt.tokens, "cached_tokens": prompt.cached}
        self._unsent.append({"ev": "accepted", "id": answer.id, **counts, "prompt_end": prompt.end})

    def _cancel(self, id: int) -> None:
        if id in self._answers:
            self._backend.cancel(id)
        elif id in self._checking:
            self._checking.discard(id)
            self._refuse(id, RequestError("The request was cancelled while its grammar was compiled."))

    def _refuse(self, id: int, error: IllamaError) -> None:
        self._unsent.append({"ev": "refused", "id": id, "error": protocol.pack_error(error)})


def _prepare(message: dict[str, Any]) -> None:
    # What fails here is told when it is needed.
    with contextlib.suppress(ImportError, RuntimeError):
        if message["engine"] != "fake":
            genai = importlib.import_module("illama.engine.genai").genai
            # Any tokenizer brings in OpenVINO's plugin for the CPU and the tokenizers' own operations.
            genai.Tokenizer(message["folder"])


def _load(message: dict[str, Any]) -> Any:
    """A Backend, or an Encoder for a model whose task is an encoder's."""
    encodes = message.get("task") in protocol.ENCODER_TASKS
    try:
        if message["engine"] == "fake":
            from illama.engine.fake import FakeBackend
            from illama.engine.fake_encoder import FakeEncoder

            return FakeEncoder(message) if encodes else FakeBackend(message)
        if encodes:
            from illama.engine import encoder

            return encoder.load(message)
        from illama.engine import genai

        return genai.load(message)
    except IllamaError:
        raise
    except ImportError as error:
        raise LoadError(
            f"The engine's interpreter {sys.executable} cannot import what it needs: {error}.",
            hint="Install openvino-genai there, or set ILLAMA_ENGINE_PYTHON to an interpreter that has it.",
        ) from error
    except Exception as error:
        raise LoadError(f"The model could not be loaded: {error}", hint="The engine's log has the details.") from error


def _claim_pipe() -> tuple[int, IO[bytes]]:
    """Keep the pipe for the protocol: libraries find an empty standard input, and print to the log."""
    source, pipe = os.dup(0), os.fdopen(os.dup(1), "wb", buffering=0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return source, pipe


def _die_with_parent() -> None:
    # The end of the pipe is noticed between two steps; on Linux the kernel is quicker and cannot be kept waiting.
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _send(pipe: IO[bytes], *messages: dict[str, Any]) -> None:
    _write(pipe, b"".join(map(protocol.encode, messages)))


def _write(pipe: IO[bytes], lines: bytes) -> None:
    data = memoryview(lines)
    try:
        while data:
            data = data[pipe.write(data) :]
    except BrokenPipeError:
        _exit(0)


def _exit(code: int) -> Any:
    sys.stderr.flush()
    os._exit(code)
