"""Calls of tools, read out of an answer's text by the grammar of a model's family (`grammars`).

Knows: how a call is told as it comes, and what becomes of one that is broken. Does not know: any family's grammar.

A call that turns out broken is text: what has not been told of it as a call by then. `eager` tells a call's arguments
as they come; otherwise a call is told when it is whole and its arguments are a JSON object, else all of it is text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from illama.host.parsing.parts import Arguments, Call, Part, Text, Thought
from illama.host.parsing.source import BrokenError, CutError, Reading, Source


class Calls:
    """The parser of answers with calls, for one family's grammar."""

    def __init__(
        self,
        grammar: Callable[[Calls], Reading[None]],
        tools: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        eager: bool = True,
        most: int | None = None,
    ) -> None:
        """`tools`: the parameters' schema of each tool that was offered, by name. `most`: calls beyond are dropped."""
        self.source = Source()
        self.tools = tools or {}
        self.unfinished = False
        self._eager = eager
        self._most = most
        self._parts: list[Part] = []
        self._count = 0
        self._held: list[Part] | None = None  # of a call that is not eager
        self._reading: Reading[None] | None = grammar(self)

    def feed(self, text: str) -> list[Part]:
        """The parts that this piece of text makes certain."""
        self.source.add(text)
        return self._read()

    def finish(self) -> list[Part]:
        """The answer has ended: the rest."""
        self.source.closed = True
        return self._read()

    def _read(self) -> list[Part]:
        if self._reading is not None:
            try:
                next(self._reading)
            except StopIteration:
                self._reading = None
        parts, self._parts = self._parts, []
        return parts

    # What grammars use.

    def text(self, text: str) -> None:
        """A piece of the answer."""
        self._parts.append(Text(text))

    def thought(self, text: str) -> None:
        """A piece of the reasoning."""
        self._parts.append(Thought(text))

    def begin(self, name: str) -> None:
        """A call begins."""
        self._put(Call(self._count, name))

    def arguments(self, text: str) -> None:
        """A piece of its arguments."""
        if text:
            self._put(Arguments(self._count, text))

    def end(self) -> None:
        """The call is whole."""
        if self._held is not None:
            held, self._held = self._held, None
            text = "".join(part.text for part in held if isinstance(part, Arguments))
            try:
                whole = isinstance(json.loads(text), dict)
            except ValueError:
                whole = False
            if not whole:
                raise BrokenError
            self._pass(held)
        self._count += 1
        self.source.tell()

    def _put(self, part: Part) -> None:
        if self._eager:
            self.source.tell()
            self._pass([part])
        else:
            self._held = [*(self._held or ()), part]

    def _pass(self, parts: list[Part]) -> None:
        if self._most is None or self._count < self._most:
            self._parts += parts

    def attempt(self, reading: Reading[None]) -> Reading[bool]:
        """Read a call, or several; what is broken becomes text. Whether it was a call."""
        try:
            yield from reading
        except BrokenError as error:
            # Told before or not: an answer that ends inside of a call was cut.
            self.unfinished = isinstance(error, CutError)
            self._held = None
            rest = self.source.untold()
            if rest:
                self.text(rest)
            return False
        return True


def objects(calls: Calls, *, known: bool = False, separator: str = ",") -> Reading[None]:
    """Calls as JSON: one object, or an array of them; outside of an array `separator` may stand between several."""
    source = calls.source
    yield from source.skip_white()
    if not (yield from source.accept("[")):
        yield from call_object(calls, known=known)
        return
    while True:
        yield from source.skip_white()
        if (yield from source.accept("]")):
            return
        yield from call_object(calls, known=known)
        yield from source.skip_white()
        if not (yield from source.accept(separator)):
            yield from source.expect("]")
            return


def call_object(calls: Calls, *, known: bool = False) -> Reading[None]:
    """One call as a JSON object: {"name": ..., "arguments" or "parameters": {...}}, in any order.

    `known`: only a tool that was offered, called with arguments, is a call. Raises BrokenError for any other object.
    """
    source = calls.source
    yield from source.expect("{")
    name: str | None = None
    waiting: str | None = None  # arguments that came before the name
    begun = False
    while True:
        yield from source.skip_white()
        if (yield from source.accept("}")):
            break
        key = yield from _string(source)
        yield from source.skip_white()
        yield from source.expect(":")
        yield from source.skip_white()
        if key == "name" and name is None:
            name = yield from _string(source)
            if not name or (known and name not in calls.tools):
                raise BrokenError
        elif key in ("arguments", "parameters") and waiting is None and not begun:
            if name is None or (yield from source.peek()) != "{":
                waiting = _as_object((yield from source.value()))
            else:
                calls.begin(name)
                begun = True
                yield from source.value(calls.arguments)
        elif key in ("id", "type", "call_id"):
            yield from source.value()
        else:
            raise BrokenError
        yield from source.skip_white()
        yield from source.accept(",")
    if name is None or (known and not begun and waiting is None):
        raise BrokenError
    if not begun:
        calls.begin(name)
        calls.arguments(waiting or "{}")
    calls.end()


def _string(source: Source) -> Reading[str]:
    if (yield from source.peek()) != '"':
        raise CutError if source.closed and not (yield from source.peek()) else BrokenError
    try:
        text: str = json.loads((yield from source.value()))
    except ValueError:
        raise BrokenError from None
    return text


def _as_object(value: str) -> str:
    """Arguments as a JSON object, of those that are a string holding one, or null."""
    try:
        found = json.loads(value)
        if isinstance(found, str):
            value, found = found, json.loads(found)
    except ValueError:
        raise BrokenError from None
    if found is None:
        return "{}"
    if not isinstance(found, dict):
        raise BrokenError
    return value
