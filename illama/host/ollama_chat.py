"""Ollama's dialect, for talking to a model: `/api/generate` and `/api/chat`, streamed as a JSON object a line.

Knows: Ollama's lines, whole answers and figures; loading and unloading by a request without a prompt. Does not know:
scheduling, engines, the formats of reasoning and tool calls.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any, ClassVar

import msgspec

from illama.errors import CancelledError, IllamaError
from illama.host import answers_ollama as answers
from illama.host import schema, schema_ollama
from illama.host.base import Handler
from illama.host.ollama import find
from illama.host.operations import LINES, Operation
from illama.host.turn import Ask, CallArguments, CallBegins, Collected, Event, Finish, Text, Thought, Turn
from illama.registry import Entry


class Talk(Handler):
    """What both endpoints share: they differ in how a piece of the answer looks."""

    needs = "inference"

    def piece(self, text: str, **more: Any) -> answers.Generated | answers.Chatted:
        """A line of the answer, or with `done=True` the last one or all of it."""
        raise NotImplementedError

    async def answer(self, entry: Entry, ask: Ask, stream: bool | None) -> None:
        """Run one turn and tell of it, a line for each step or in one object."""
        self._began = time.monotonic()
        self._model = entry.name
        turn = Turn(self.host.dispatcher, entry, ask)
        failed: IllamaError | None = None
        try:
            await (self._whole(turn) if stream is False else self._lines(turn))
        except IllamaError as error:
            failed = error
            if not self.streaming:
                raise
            await self.push(_line(self.shape(error)))
        finally:
            await turn.cancel()  # no-op for one that ended
            self.host.touch()
            if self.gone.is_set():
                failed = CancelledError("The client has gone.")
            timings = turn.timings() if turn.answered else None
            self.host.metrics.request_finished("ollama", entry.name, timings, failed)

    async def _whole(self, turn: Turn) -> None:
        collected: list[Collected] | None = await self.while_here(turn.collect())
        if collected is None:
            return
        (whole,) = collected
        calls = [_call(call["name"], call["arguments"], call["id"], at) for at, call in enumerate(whole.calls)]
        figures = self._figures(turn, whole.reason)
        self.send(200, self.piece(whole.text, thinking=whole.thought or None, calls=calls or None, **figures))

    async def _lines(self, turn: Turn) -> None:
        # The status is held back until the engine has accepted the request, so that a refusal has its own.
        await self.while_here(turn.open())
        if self.gone.is_set():
            return
        self.set_header("Content-Type", "application/x-ndjson")
        # A client that leaves stops the turn, which then ends what is awaited here.
        self.when_gone(turn.stop)
        pieces = Pieces()
        while (events := await turn.next()) is not None:
            lines = b"".join(_line(self.piece(text, **more)) for text, more in pieces.of(events))
            if lines and not await self.push(lines):
                return
        await self.push(_line(self.piece("", **self._figures(turn, pieces.reason))))

    def _figures(self, turn: Turn, reason: str) -> dict[str, Any]:
        timings = turn.timings()
        return {
            "done": True,
            # Ollama knows no reason of its own for an answer that ends with calls.
            "done_reason": "length" if reason == "length" else "stop",
            "total_duration": int((time.monotonic() - self._began) * 1e9),
            "load_duration": _nanoseconds(timings["load_ms"]),
            "prompt_eval_count": timings["prompt_n"],
            "prompt_eval_duration": _nanoseconds(timings["prompt_ms"]),
            "eval_count": timings["predicted_n"],
            "eval_duration": _nanoseconds(timings["predicted_ms"]),
        }

    async def load_or_unload(self, entry: Entry, request: schema_ollama.Asked) -> None:
        """Answer when the model is loaded or, for a `keep_alive` of 0, gone."""
        self.require_owner()  # it meddles with others' work
        self._model = entry.name
        keep_alive, reason = schema.keep_alive(request.keep_alive), "load"
        if keep_alive == 0:
            reason = "unload"
            await self.while_here(self.host.dispatcher.unload(entry.name, force=bool(request.force)))
        else:
            await self.while_here(self._load(entry, keep_alive, schema.device(request.device)))
        if not self.gone.is_set():
            self.send(200, self.piece("", done=True, done_reason=reason))

    async def _load(self, entry: Entry, keep_alive: float | None, device: str | None) -> None:
        place = await self.host.dispatcher.enter(entry, keep_alive, device)
        (await place.granted()).release()


class Generate(Talk):
    """`POST /api/generate`: an answer to one prompt; without a prompt it loads a model, or unloads it."""

    operations: ClassVar = {
        "post": Operation(answers.Generated, schema_ollama.GenerateRequest, answers.Generated, LINES)
    }

    async def post(self) -> None:
        """Answer one request."""
        request = schema.parse(self.body(), schema_ollama.GenerateRequest)
        entry = find(self.host.registry, request.named())
        if not request.prompt and not request.images:
            schema_ollama.check(request)
            await self.load_or_unload(entry, request)
            return
        asked = schema_ollama.raw(request) if request.raw else schema_ollama.generate(request)
        schema.check(asked)
        ask = schema.ask(asked, self.host.settings.max_tokens)
        if request.raw:
            ask.more["prompt"] = request.prompt
        await self.answer(entry, ask, request.stream)

    def piece(
        self,
        text: str,
        *,
        thinking: str | None = None,
        calls: list[answers.Call] | None = None,
        done: bool = False,
        **figures: Any,
    ) -> answers.Generated:
        """A line of the answer. `calls` there are none: this endpoint offers no tools."""
        now = _now()
        return answers.Generated(
            model=self._model, created_at=now, response=text, thinking=thinking, done=done, **figures
        )


class Chat(Talk):
    """`POST /api/chat`: the next message of a conversation; without messages it loads a model, or unloads it."""

    operations: ClassVar = {"post": Operation(answers.Chatted, schema_ollama.ChatRequest, answers.Chatted, LINES)}

    async def post(self) -> None:
        """Answer one request."""
        request = schema.parse(self.body(), schema_ollama.ChatRequest)
        entry = find(self.host.registry, request.named())
        if not request.messages:
            await self.load_or_unload(entry, request)
            return
        asked = schema_ollama.chat(request)
        schema.check(asked)
        await self.answer(entry, schema.ask(asked, self.host.settings.max_tokens), request.stream)

    def piece(
        self,
        text: str,
        *,
        thinking: str | None = None,
        calls: list[answers.Call] | None = None,
        done: bool = False,
        **figures: Any,
    ) -> answers.Chatted:
        """A line of the answer."""
        said = answers.Said(role="assistant", content=text, thinking=thinking, tool_calls=calls)
        return answers.Chatted(model=self._model, created_at=_now(), message=said, done=done, **figures)


class Pieces:
    """Makes of a turn's events what lines hold: a call is told when it is whole, as Ollama does."""

    def __init__(self) -> None:
        self.reason = "stop"
        self._begun: CallBegins | None = None
        self._arguments = ""

    def of(self, events: list[Event]) -> Iterator[tuple[str, dict[str, Any]]]:
        """For each line its text and what else it has."""
        for event in events:
            if isinstance(event, CallArguments):
                self._arguments += event.text
                continue
            yield from self._ended_call()
            if isinstance(event, Text):
                if event.text:
                    yield event.text, {}
            elif isinstance(event, Thought):
                yield "", {"thinking": event.text}
            elif isinstance(event, CallBegins):
                self._begun = event
            elif isinstance(event, Finish):
                self.reason = event.reason

    def _ended_call(self) -> Iterator[tuple[str, dict[str, Any]]]:
        if self._begun:
            index, id, name, _ = self._begun
            call = _call(name, self._arguments, id, index)
            self._begun, self._arguments = None, ""
            yield "", {"calls": [call]}


def _call(name: str, arguments: str, id: str, index: int) -> answers.Call:
    given: object = None
    with contextlib.suppress(ValueError):
        given = json.loads(arguments or "{}")
    # Here arguments are an object. What a model wrote that is none is handed on, so that the caller can see it.
    made = given if isinstance(given, dict) else {"arguments": arguments}
    return answers.Call(id=id, function=answers.CalledFunction(name=name, arguments=made, index=index))


def _line(body: object) -> bytes:
    return msgspec.json.encode(body) + b"\n"


def _nanoseconds(milliseconds: float) -> int:
    return int(milliseconds * 1e6)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")
