"""OpenAI's dialect: `/v1/models`, `/v1/models/{id}`, `/v1/chat/completions`.

Knows: the field names, chunks and statuses of OpenAI's API. Does not know: scheduling, engines.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

import msgspec

from illama.errors import CancelledError, IllamaError
from illama.host import answers, schema
from illama.host.base import Handler
from illama.host.operations import Operation
from illama.host.sse import DONE, PING_EVERY, EventStream, frame
from illama.host.turn import CallArguments, CallBegins, Collected, Event, Text, Thought, Turn
from illama.registry import Entry


class Models(Handler):
    """`GET /v1/models`: what is installed, answered from memory."""

    needs = "inference"

    operations: ClassVar = {"get": Operation(answers.Models)}

    async def get(self) -> None:
        """List the registry. Models that talk come first: programs take the first one for their chats."""
        entries = sorted(self.host.registry.entries(), key=lambda entry: entry.task in ("embedding", "rerank"))
        self.send(200, answers.Models("list", [_model(entry) for entry in entries]))


class Model(Handler):
    """`GET /v1/models/{id}`."""

    needs = "inference"

    operations: ClassVar = {"get": Operation(answers.Model)}

    async def get(self, name: str) -> None:
        """Describe one model."""
        self.send(200, _model(self.host.registry.get(name)))


def _model(entry: Entry) -> answers.Model:
    created = int(datetime.fromisoformat(entry.created).timestamp())
    return answers.Model(entry.name, "model", created, str(entry.source.get("repo") or "illama"))


class ChatCompletions(EventStream):
    """`POST /v1/chat/completions`, whole or streamed."""

    needs = "inference"

    operations: ClassVar = {"post": Operation(answers.ChatCompletion, schema.ChatRequest, answers.ChatChunk)}

    async def post(self) -> None:
        """Answer one request."""
        request = schema.parse(self.body(), schema.ChatRequest)
        schema.check(request)
        entry = self.host.registry.get(request.model)
        if not await self.images_embedded(request, entry):
            return
        turn = Turn(self.host.dispatcher, entry, schema.ask(request, self.host.settings.max_tokens))
        self._answer = Answer(entry.name, logprobs=bool(request.logprobs), top=bool(request.top_logprobs))
        self._error: IllamaError | None = None
        try:
            if request.stream:
                await self._stream(turn, request)
            else:
                await self._whole(turn)
        except IllamaError as error:
            self._error = error
            raise
        finally:
            await turn.cancel()  # no-op for one that ended
            self.host.touch()
            if self.gone.is_set():
                self._error = CancelledError("The client has gone.")
            timings = turn.timings() if turn.answered else None
            self.host.metrics.request_finished("openai", entry.name, timings, self._error)

    async def _whole(self, turn: Turn) -> None:
        collected = await self.while_here(turn.collect())
        if collected is not None:
            self.send(200, self._answer.whole(turn, collected))

    async def _stream(self, turn: Turn, request: schema.ChatRequest) -> None:
        wait = self.host.settings.header_wait_sec if request.header_wait is None else request.header_wait
        try:
            # The status is held back until the engine has accepted the request, so that a refusal has its own.
            if not await self.pinging(turn.open(), wait, turn.describe):
                return
            self.begin_events()
            opening = b"".join(self._answer.opening(choice) for choice in range(request.n or 1))
            if await self.push(opening) and await self.pinging(turn.news(), PING_EVERY, turn.describe):
                await self._follow(turn, request)
        except IllamaError as error:
            self._error = error
            await self.fail_stream(error)

    async def _follow(self, turn: Turn, request: schema.ChatRequest) -> None:
        # No task for each piece: a client that leaves cancels the turn, which then ends what is awaited here.
        self.when_gone(turn.stop)
        piece = self._answer.piece
        while (events := await turn.next()) is not None:
            data = b"".join([piece(event) for event in events])
            if data and not await self.push(data):
                return
        usage = bool(request.stream_options and request.stream_options.include_usage)
        await self.push(self._answer.closing(turn, usage=usage))


class Answer:
    """Builds OpenAI's objects for one request: `id` and `created` are the same in all of them."""

    def __init__(self, model: str, *, logprobs: bool, top: bool) -> None:
        self._base = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}
        self._logprobs = logprobs
        self._top = top
        self._reasons: dict[int, str] = {}
        # A chunk differs from the last one in its text alone, so the rest of it is encoded once.
        head = msgspec.json.encode({**self._base, "object": "chat.completion.chunk"})
        self._head = b"data: " + head[:-1] + b',"choices":[{"index":0,"delta":{"content":'
        self._tail = b'},"logprobs":null,"finish_reason":null}]}\n\n'

    def whole(self, turn: Turn, answers: list[Collected]) -> dict[str, Any]:
        """The object of an answer that is not streamed."""
        return {
            **self._base,
            "object": "chat.completion",
            "choices": [self._choice(at, answer) for at, answer in enumerate(answers)],
            "usage": _usage(turn),
            "timings": turn.timings(),
            "origin": turn.entry.origin(),
        }

    def _choice(self, at: int, answer: Collected) -> dict[str, Any]:
        # Beside calls an answer without text has none, rather than an empty one.
        content = answer.text or (None if answer.calls else "")
        message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
        if answer.thought:
            message["reasoning_content"] = answer.thought
        if answer.calls:
            message["tool_calls"] = [_call(call["id"], call["name"], call["arguments"]) for call in answer.calls]
        logprobs = self._told(answer.logprobs) if self._logprobs else None
        return {"index": at, "message": message, "logprobs": logprobs, "finish_reason": answer.reason}

    def opening(self, choice: int) -> bytes:
        """The first chunk of an answer: it names the role."""
        return self._chunk({"role": "assistant", "content": ""}, choice)

    def piece(self, event: Event) -> bytes:
        """The chunk of an event; the end of an answer is told by `closing`."""
        if isinstance(event, Text):
            if not self._logprobs and event.choice == 0:
                return self._head + msgspec.json.encode(event.text) + self._tail
            logprobs = self._told(event.logprobs) if self._logprobs else None
            return self._chunk({"content": event.text}, event.choice, logprobs)
        if isinstance(event, Thought):
            return self._chunk({"reasoning_content": event.text}, event.choice)
        if isinstance(event, CallBegins):
            call = {"index": event.call, **_call(event.id, event.name, "")}
            return self._chunk({"tool_calls": [call]}, event.choice)
        if isinstance(event, CallArguments):
            call = {"index": event.call, "function": {"arguments": event.text}}
            return self._chunk({"tool_calls": [call]}, event.choice)
        self._reasons[event.choice] = event.reason
        return b""

    def closing(self, turn: Turn, *, usage: bool) -> bytes:
        """The last chunks: why each answer ended, what it took, and the end of the stream."""
        last = {"timings": turn.timings()}
        frames = b"".join(
            self._chunk({}, choice, None, reason, last) for choice, reason in sorted(self._reasons.items())
        )
        if usage:
            frames += frame(
                {
                    **self._base,
                    "object": "chat.completion.chunk",
                    "choices": [],
                    "usage": _usage(turn),
                    **last,
                    "origin": turn.entry.origin(),
                }
            )
        return frames + DONE

    def _told(self, logprobs: Sequence[Sequence[Any]]) -> dict[str, Any]:
        content = []
        for token, value in logprobs:
            one = {"token": token, "logprob": value, "bytes": list(token.encode()) or None}
            content.append({**one, "top_logprobs": [one] if self._top else []})
        return {"content": content, "refusal": None}

    def _chunk(
        self,
        delta: dict[str, Any],
        choice: int,
        logprobs: Any = None,
        finish: str | None = None,
        more: dict[str, Any] | None = None,
    ) -> bytes:
        body = {"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return frame({**self._base, "object": "chat.completion.chunk", "choices": [body], **(more or {})})


def _call(id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _usage(turn: Turn) -> dict[str, Any]:
    usage = turn.usage()
    prompt, completion = usage["prompt_tokens"], usage["completion_tokens"]
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": usage["cached_tokens"]},
    }
