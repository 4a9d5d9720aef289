"""The parts of an answer, and what a parser is.

Knows: the kinds of parts. Does not know: any model's format.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Text(NamedTuple):
    """A piece of the answer's text."""

    text: str


class Thought(NamedTuple):
    """A piece of the reasoning that comes before the answer."""

    text: str


class Call(NamedTuple):
    """A tool call begins: `call` counts the answer's calls from 0."""

    call: int
    name: str


class Arguments(NamedTuple):
    """A piece of the JSON text of a call's arguments."""

    call: int
    text: str


Part = Text | Thought | Call | Arguments


class Parser(Protocol):
    """Takes an answer's text as it comes, and tells its parts as soon as they are certain."""

    def feed(self, text: str) -> list[Part]:
        """The parts that this piece of text makes certain."""

    def finish(self) -> list[Part]:
        """The answer has ended: the rest. Nothing of the text is ever lost."""

    @property
    def unfinished(self) -> bool:
        """Whether a call has begun and not ended: the text was cut in its middle."""


class Plain:
    """No format at all: text is text."""

    unfinished = False

    def feed(self, text: str) -> list[Part]:
        """The same text."""
        return [Text(text)] if text else []

    def finish(self) -> list[Part]:
        """Nothing was held back."""
        return []


def overlap(text: str, markers: tuple[str, ...]) -> int:
    """The length of the longest end of `text` that is the beginning of a marker, and so may become one."""
    longest = min(len(text), max((len(marker) for marker in markers), default=1) - 1)
    for length in range(longest, 0, -1):
        end = text[-length:]
        if any(marker.startswith(end) for marker in markers):
            return length
    return 0


def find(text: str, markers: tuple[str, ...]) -> tuple[int, str]:
    """Where the first of the markers is, and which; (-1, "") if there is none."""
    places = [(text.find(marker), marker) for marker in markers]
    return min(((at, marker) for at, marker in places if at >= 0), default=(-1, ""))


def joined(parts: list[Part]) -> list[Part]:
    """The same parts with neighbours of one kind made one: what does not depend on where the text was cut."""
    made: list[Part] = []
    for part in parts:
        last = made[-1] if made else None
        if isinstance(last, Text) and isinstance(part, Text):
            made[-1] = Text(last.text + part.text)
        elif isinstance(last, Thought) and isinstance(part, Thought):
            made[-1] = Thought(last.text + part.text)
        elif isinstance(last, Arguments) and isinstance(part, Arguments) and last.call == part.call:
            made[-1] = Arguments(last.call, last.text + part.text)
        else:
            made.append(part)
    return made
