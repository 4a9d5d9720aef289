"""The assistant's turn in a conversation: from what a dialect asks to typed events, the same for every dialect.

Knows: which of a model's abilities a request needs, its answers' parts, usage. Does not know: any dialect, HTTP, the
formats of reasoning and tool calls (`parsing` does).

    turn = Turn(host.dispatcher, entry, Ask(messages=[...], sampling={...}))
    await turn.open()                              # raises what the request is refused with
    while (events := await turn.next()) is not None:
        ...                                        # Text, Thought, CallBegins, CallArguments, Finish
    turn.usage(), turn.timings()
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from illama.engine.protocol import Facts
from illama.engine.work import Batch
from illama.errors import IllamaError, RequestError
from illama.host import parsing, tasks
from illama.host.dispatcher import Dispatcher
from illama.host.guiding import compact
from illama.host.runs import Run
from illama.host.tools import Tools, guide, history, instructed, short_id, tagged
from illama.registry import Entry


class Text(NamedTuple):
    """A piece of an answer. `logprobs` is a list of [token's text, log probability], if they were asked for."""

    text: str
    logprobs: Sequence[Sequence[Any]] = ()
    choice: int = 0


class Thought(NamedTuple):
    """A piece of the reasoning before an answer."""

    text: str
    choice: int = 0


class CallBegins(NamedTuple):
    """A call of a tool: `call` counts the calls of one answer from 0."""

    call: int
    id: str
    name: str
    choice: int = 0


class CallArguments(NamedTuple):
    """A piece of the JSON text of a call's arguments."""

    call: int
    text: str
    choice: int = 0


class Finish(NamedTuple):
    """The end of one answer: `reason` is "stop", "length" or "tool_calls"."""

    reason: str
    choice: int = 0


Event = Text | Thought | CallBegins | CallArguments | Finish


@dataclass
class Ask:
    """What is asked of a model. Messages are OpenAI's, their content plain text; the rest is the engine's.

    `more` holds further keys of the engine's `generate` message, such as images or a raw prompt.
    """

    messages: list[dict[str, Any]]
    sampling: dict[str, Any]
    stop: list[str] = field(default_factory=list)
    structured: dict[str, Any] | None = None
    tools: Tools = field(default_factory=Tools)
    template: dict[str, Any] = field(default_factory=dict)  # variables of the chat template, such as enable_thinking
    stream: bool = False  # whether a call's arguments are told as they come, before it is known that they are whole
    n: int = 1
    keep_alive: float | None = None
    device: str | None = None
    more: dict[str, Any] = field(default_factory=dict)


@dataclass
class Collected:
    """One answer as a whole: what its events add up to."""

    text: str = ""
    thought: str = ""
    calls: list[dict[str, str]] = field(default_factory=list)  # each: id, name, arguments (JSON text)
    logprobs: list[Sequence[Any]] = field(default_factory=list)
    reason: str = "stop"

    def add(self, event: Event) -> None:
        """Take one event of this answer."""
        if isinstance(event, Text):
            self.text += event.text
            self.logprobs.extend(event.logprobs)
        elif isinstance(event, Thought):
            self.thought += event.text
        elif isinstance(event, CallBegins):
            self.calls.append({"id": event.id, "name": event.name, "arguments": ""})
        elif isinstance(event, CallArguments):
            self.calls[event.call]["arguments"] += event.text
        else:
            self.reason = event.reason


class Turn:
    """One request, and the answer or answers to it."""

    def __init__(self, dispatcher: Dispatcher, entry: Entry, ask: Ask) -> None:
        if ask.more.get("images"):
            tasks.demand(entry, "image-text-to-text")
        self.entry = entry
        self._ask = ask
        self._answers = [_Answer(dispatcher, entry, ask, choice) for choice in range(ask.n)]
        self._pending: dict[asyncio.Task[list[Event] | None], _Answer] = {}
        self._opening: list[asyncio.Task[None]] = []

    @property
    def _first(self) -> Run:
        return self._answers[0].run

    async def open(self) -> None:
        """Wait until the engine has accepted the request. Raises what it is refused with."""
        await self._answers[0].open()

    def describe(self) -> str:
        """What is being waited for."""
        return self._first.describe()

    async def news(self) -> None:
        """Wait until there is something to read from the first answer: text, the end, or a failure."""
        await self._first.news()

    async def next(self) -> list[Event] | None:
        """The next events there are (perhaps none yet certain), or None at the end. Raises what it failed with."""
        if len(self._answers) == 1:
            return await self._answers[0].next()
        return await self._next_of_many()

    async def _next_of_many(self) -> list[Event] | None:
        if not self._pending and not all(answer.ended for answer in self._answers):
            self._pending = {asyncio.ensure_future(answer.next()): answer for answer in self._answers}
        if not self._pending:
            return None
        done, _ = await asyncio.wait(self._pending, return_when=asyncio.FIRST_COMPLETED)
        events: list[Event] = []
        for task in done:
            answer = self._pending.pop(task)
            found = task.result()
            events += found or ()
            if found is not None:
                self._pending[asyncio.ensure_future(answer.next())] = answer
        return events if events or self._pending else None

    async def collect(self) -> list[Collected]:
        """Open it, wait for all of it, and return each answer whole."""
        await self.open()
        answers = [Collected() for _ in self._answers]
        while (events := await self.next()) is not None:
            for event in events:
                answers[event.choice].add(event)
        return answers

    async def cancel(self) -> None:
        """Give everything back, at whatever point it is. After the end: nothing happens."""
        self.stop()
        for task in self._pending:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, IllamaError):
                await task
        self._pending.clear()

    def stop(self) -> None:
        """The client has gone: what is awaited here ends by a CancelledError of ours."""
        for answer in self._answers:
            answer.run.cancel()

    @property
    def answered(self) -> bool:
        """Whether the engine has finished all of it, so that there are figures."""
        return all(answer.run.answered for answer in self._answers)

    @property
    def unguided(self) -> bool:
        """Once it is open: whether strict tools were offered to a model whose format of calls cannot be guided."""
        return self._answers[0].unguided

    def usage(self) -> dict[str, int]:
        """Tokens, after the end: prompt_tokens, cached_tokens, completion_tokens (of all answers together)."""
        first = self._first.summary
        completion = sum(answer.run.summary["completion_tokens"] for answer in self._answers)
        return {
            "prompt_tokens": first["prompt_tokens"],
            "cached_tokens": first["cached_tokens"],
            "completion_tokens": completion,
        }

    def timings(self) -> dict[str, Any]:
        """Counts, milliseconds and rates, after the end; of several answers, those of the first."""
        return self._first.timings()


class _Answer:
    """One of the answers: a run, and what its text is made of."""

    def __init__(self, dispatcher: Dispatcher, entry: Entry, ask: Ask, choice: int) -> None:
        self.run = Run(dispatcher, entry, self._message, ask.keep_alive, ask.device)
        self.ended = False
        self.unguided = False  # a strict call may come whose arguments nothing makes fit
        self._ask = ask
        self._choice = choice
        self._entry = entry
        self._style = parsing.style_of("", None)
        self._make: Callable[[], parsing.Parser] | None = None  # what parses the answer proper, if anything does
        self._guided = False
        self._parser: parsing.Parser | None = None
        self._ids: dict[int, str] = {}
        self._opened = False

    def _message(self, facts: Facts) -> dict[str, Any]:
        """The engine's message, once it is known which model's engine it is."""
        ask, tools = self._ask, self._ask.tools
        style = self._style = parsing.style_of(facts["chat_template"], self._entry.architecture)
        sampling = dict(ask.sampling)
        if self._choice and "seed" in sampling:
            sampling["seed"] = (sampling["seed"] + self._choice) % 2**32  # else all answers would be the same
        message = {"messages": ask.messages, "sampling": sampling, "stop": ask.stop, **ask.more}
        if "prompt" in ask.more:
            return {**message, "structured": compact(ask.structured) if ask.structured else None}
        # 1. What the model is told: its template may know tools, or not.
        rendered = bool(tools.functions) and facts["tools"]
        message["messages"] = history(ask.messages, style, tools if rendered else None)
        if rendered and not style.tools_in_system:
            message["tools"] = tools.offered()
        elif tools.required and not rendered:
            message["messages"] = instructed(message["messages"], tools)
        # 2. What guides it.
        structured, callable = ask.structured, tools.required or rendered
        if tools.required:
            structured = guide(tools)
        elif rendered and structured and "json_schema" in structured:
            structured = guide(tools, json.loads(structured["json_schema"]))
        message["structured"] = compact(structured) if structured else None
        self._guided = structured is not None
        # 3. What reads its answer. What is guided is the answer itself, from its first token on: no reasoning then.
        grammar: parsing.Grammar | None = None
        if structured and callable:
            grammar = parsing.grammars.guided
        elif not structured and (callable or style.channels):
            grammar = style.calls
        if grammar and rendered and tools.strict and not structured:
            # Strict calls are guided where the format lets them; the text around them and the reasoning stay free.
            self.unguided = style.tags is None or not style.tags.certain
            if style.tags:
                grammar, message["structured"] = style.tags.reads, tagged(tools, style.tags)
        if grammar:
            most = 1 if tools.parallel is False else None
            self._make = partial(parsing.Calls, grammar, tools.schemas(), eager=ask.stream, most=most)
        elif style.think and not structured:
            self._make = parsing.Plain
        if self._make and not structured:
            message["keep_special"] = True
        template = {"enable_thinking": False, **ask.template} if style.think and structured else ask.template
        return {**message, "template": template} if template else message

    async def open(self) -> None:
        if self._opened:
            return
        self._opened = True
        await self.run.open()
        if self._make:
            self._parser = self._make()
            if self._style.think and not self._guided:
                opened = self._style.opened(self.run.prompt_end)
                self._parser = parsing.Reasoning(self._parser, tags=self._style.think, opened=opened)

    async def next(self) -> list[Event] | None:
        if not self._opened:
            await self.open()
        batch = await self.run.next()
        if self._parser is None:
            if batch is not None:
                return [Text(batch.text, batch.logprobs, self._choice)] if batch.text or batch.logprobs else []
            return self._end([])
        if batch is None:
            return self._end([self._event(part) for part in self._parser.finish()])
        return self._parsed(self._parser, batch)

    def _parsed(self, parser: parsing.Parser, batch: Batch) -> list[Event]:
        events = [self._event(part) for part in parser.feed(batch.text)]
        if batch.logprobs:
            events.append(Text("", batch.logprobs, self._choice))
        return events

    def _end(self, events: list[Event]) -> list[Event] | None:
        if self.ended:
            return None
        self.ended = True
        summary = self.run.summary
        reason = summary["finish_reason"]
        if self._parser and self._parser.unfinished and (reason == "length" or self._ask.tools.required):
            raise _cut(summary["completion_tokens"])
        if reason == "stop" and self._ids:
            reason = "tool_calls"
        return [*events, Finish(reason, self._choice)]

    def _event(self, part: parsing.Part) -> Event:
        if isinstance(part, parsing.Text):
            return Text(part.text, (), self._choice)
        if isinstance(part, parsing.Thought):
            return Thought(part.text, self._choice)
        if isinstance(part, parsing.Arguments):
            return CallArguments(part.call, part.text, self._choice)
        made = f"call_{uuid.uuid4().hex[:24]}"
        made = self._ids[part.call] = short_id(made) if self._style.short_ids else made
        return CallBegins(part.call, made, part.name, self._choice)


def _cut(tokens: int) -> RequestError:
    return RequestError(
        f"The call of a tool was cut off after {tokens} tokens, before its arguments were whole.",
        hint="Raise max_tokens, see that no stop string occurs in arguments, or give the schema's texts a maxLength.",
        param="max_tokens",
        code="tool_call_incomplete",
    )
