"""OpenAI's dialect: `/v1/models`, `/v1/models/{id}`, `/v1/chat/completions`.

Knows: the field names, chunks and statuses of OpenAI's API. Does not know: scheduling, engines.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Awaitable
from datetime import datetime
from typing import Any

import msgspec

from illama.engine.process import Batch
from illama.errors import CancelledError, IllamaError
from illama.host import schema
from illama.host.base import Handler
from illama.host.runs import Run
from illama.registry import Entry

# Seconds between two comments in a stream that waits.
_PING_EVERY = 2.0


class Models(Handler):
    """`GET /v1/models`: what is installed, answered from memory."""

    needs = "inference"

    async def get(self) -> None:
        """List the registry."""
        self.send(200, {"object": "list", "data": [_model(entry) for entry in self.host.registry.entries()]})


class Model(Handler):
    """`GET /v1/models/{id}`."""

    needs = "inference"

    async def get(self, name: str) -> None:
        """Describe one model."""
        self.send(200, _model(self.host.registry.get(name)))


def _model(entry: Entry) -> dict[str, Any]:
    created = int(datetime.fromisoformat(entry.created).timestamp())
    return {"id": entry.name, "object": "model", "created": created, "owned_by": entry.source.get("repo") or "illama"}


class ChatCompletions(Handler):
    """`POST /v1/chat/completions`, whole or streamed."""

    needs = "inference"

    async def post(self) -> None:
        """Answer one request."""
        request = schema.parse(self.body(), schema.ChatRequest)
        schema.check(request)
        entry = self.host.registry.get(request.model)
        run = Run(
            self.host.dispatcher,
            entry,
            {
                "messages": schema.messages(request),
                "sampling": schema.sampling(request, self.host.settings.max_tokens),
                "stop": schema.stops(request),
                "structured": schema.structured(request),
            },
            schema.keep_alive(request.keep_alive),
            schema.device(request.device),
        )
        self._answer = Answer(entry.name, bool(request.logprobs))
        self._error: IllamaError | None = None
        try:
            if request.stream:
                await self._stream(run, request)
            else:
                await self._whole(run)
        except IllamaError as error:
            self._error = error
            raise
        finally:
            run.cancel()  # no-op for one that ended
            self.host.touch()
            if self.gone.is_set():
                self._error = CancelledError("The client has gone.")
            timings = run.timings() if run.answered else None
            self.host.metrics.request_finished("openai", entry.name, timings, self._error)

    async def _whole(self, run: Run) -> None:
        collected = await self.while_here(_collect(run))
        if collected is not None:
            self.send(200, self._answer.whole(run, collected))

    async def _stream(self, run: Run, request: schema.ChatRequest) -> None:
        wait = self.host.settings.header_wait_sec if request.header_wait is None else request.header_wait
        try:
            # The status is held back until the engine has accepted the request, so that a refusal has its own.
            if not await self._pinging(run, run.open(), wait):
                return
            self._begin()
            if await self.push(self._answer.opening()) and await self._pinging(run, run.news(), _PING_EVERY):
                await self._follow(run, request)
        except IllamaError as error:
            self._error = error
            if not self.streaming:
                raise
            await self.push(_frame(self.shape(error)) + b"data: [DONE]\n\n")

    async def _pinging(self, run: Run, work: Awaitable[None], wait: float) -> bool:
        """Await something, telling the client what it waits for. False, with `work` cancelled: the client has gone."""
        task, gone = asyncio.ensure_future(work), asyncio.ensure_future(self.gone.wait())
        either: set[asyncio.Future[Any]] = {task, gone}
        try:
            while True:
                await asyncio.wait(either, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
                if task.done():
                    task.result()
                    return True
                if self.gone.is_set():
                    return False
                self._begin()
                if not await self.push(f": {run.describe()}\n\n".encode()):
                    return False
                wait = min(_PING_EVERY, max(wait, 0.1) * 2)
        finally:
            gone.cancel()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, IllamaError):
                await task

    def _begin(self) -> None:
        self.set_header("Content-Type", "text/event-stream; charset=utf-8")
        self.set_header("Cache-Control", "no-cache")
        self.set_header("X-Accel-Buffering", "no")  # reverse proxies that buffer know this header

    async def _follow(self, run: Run, request: schema.ChatRequest) -> None:
        # No task for each piece: a client that leaves cancels the run, which then ends what is awaited here.
        self.when_gone(run.cancel)
        while batch := await run.next():
            if (batch.text or batch.logprobs) and not await self.push(self._answer.piece(batch)):
                return
        usage = bool(request.stream_options and request.stream_options.include_usage)
        await self.push(self._answer.closing(run, usage=usage))


class Answer:
    """Builds OpenAI's objects for one answer: `id` and `created` are the same in all of them."""

    def __init__(self, model: str, logprobs: bool) -> None:
        self._base = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}
        self._logprobs = logprobs
        # A chunk differs from the last one in its text alone, so the rest of it is encoded once.
        head = msgspec.json.encode({**self._base, "object": "chat.completion.chunk"})
        self._head = b"data: " + head[:-1] + b',"choices":[{"index":0,"delta":{"content":'
        self._tail = b'},"logprobs":null,"finish_reason":null}]}\n\n'

    def whole(self, run: Run, batch: Batch) -> dict[str, Any]:
        """The object of an answer that is not streamed."""
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": batch.text, "refusal": None},
            "logprobs": _logprobs(batch) if self._logprobs else None,
            "finish_reason": run.summary["finish_reason"],
        }
        return {
            **self._base,
            "object": "chat.completion",
            "choices": [choice],
            "usage": _usage(run),
            "timings": run.timings(),
        }

    def opening(self) -> bytes:
        """The first chunk: it names the role."""
        return self._chunk({"role": "assistant", "content": ""}, None)

    def piece(self, batch: Batch) -> bytes:
        """A chunk of text."""
        if self._logprobs:
            return self._chunk({"content": batch.text}, None, _logprobs(batch))
        return self._head + msgspec.json.encode(batch.text) + self._tail

    def closing(self, run: Run, *, usage: bool) -> bytes:
        """The last chunks: why it ended, what it took, and the end of the stream."""
        last = {"timings": run.timings()}
        frames = self._chunk({}, run.summary["finish_reason"], more=last)
        if usage:
            frames += _frame(
                {**self._base, "object": "chat.completion.chunk", "choices": [], "usage": _usage(run), **last}
            )
        return frames + b"data: [DONE]\n\n"

    def _chunk(
        self, delta: dict[str, Any], finish: str | None, logprobs: Any = None, more: dict[str, Any] | None = None
    ) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return _frame({**self._base, "object": "chat.completion.chunk", "choices": [choice], **(more or {})})


async def _collect(run: Run) -> Batch:
    await run.open()
    collected = Batch()
    while batch := await run.next():
        collected.text += batch.text
        collected.tokens += batch.tokens
        collected.logprobs += batch.logprobs
    return collected


def _usage(run: Run) -> dict[str, Any]:
    prompt, completion = run.summary["prompt_tokens"], run.summary["completion_tokens"]
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": run.summary["cached_tokens"]},
    }


def _logprobs(batch: Batch) -> dict[str, Any]:
    content = [
        {"token": token, "logprob": value, "bytes": list(token.encode()) or None, "top_logprobs": []}
        for token, value in batch.logprobs
    ]
    return {"content": content, "refusal": None}


def _frame(body: object) -> bytes:
    return b"data: " + msgspec.json.encode(body) + b"\n\n"
