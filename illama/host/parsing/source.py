"""Text that comes in pieces, read as if it were there: every reading step waits for what it needs to decide.

Knows: text, JSON values. Does not know: any model's format.

Reading is written as generators, which yield when they need more text. What they decide depends on the text alone, so
it does not matter where the pieces are cut.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from typing import TypeVar

from illama.host.parsing.parts import find, overlap

T = TypeVar("T")
Reading = Generator[None, None, T]

_STRUCTURE = re.compile(r'["{}\[\]]')
_IN_STRING = re.compile(r'["\\]')
_SCALAR_END = re.compile(r"[\s,\]}]")
_PAIRS = {"}": "{", "]": "["}


class BrokenError(Exception):
    """What was read is not what it seemed to become."""


class CutError(BrokenError):
    """The text ended in the middle."""


class Source:
    """The text so far, and a place in it. `told` is up to where it has been passed on."""

    def __init__(self) -> None:
        self.closed = False
        self._text = ""
        self._at = 0
        self._told = 0

    def add(self, text: str) -> None:
        """More text. What was told is forgotten."""
        self._text = self._text[self._told :] + text
        self._at -= self._told
        self._told = 0

    def tell(self) -> None:
        """All that was read has been passed on."""
        self._told = self._at

    def untold(self) -> str:
        """What was read and not passed on; it is now."""
        text = self._text[self._told : self._at]
        self._told = self._at
        return text

    def back(self, what: str) -> None:
        """Read this again, which was read last."""
        self._at -= len(what)

    def _rest(self) -> str:
        return self._text[self._at :]

    def peek(self) -> Reading[str]:
        """The next character, "" at the end."""
        while self._at >= len(self._text):
            if self.closed:
                return ""
            yield
        return self._text[self._at]

    def skip_white(self) -> Reading[None]:
        """Go to the next character that is no white space."""
        while True:
            while self._at < len(self._text) and self._text[self._at].isspace():
                self._at += 1
            if self._at < len(self._text) or self.closed:
                return
            yield

    def accept(self, what: str) -> Reading[bool]:
        """Read `what` if it comes next."""
        while True:
            rest = self._text[self._at : self._at + len(what)]
            if rest == what:
                self._at += len(what)
                return True
            if self.closed or not what.startswith(rest):
                return False
            yield

    def expect(self, *choices: str) -> Reading[str]:
        """Read one of the choices. Raises BrokenError if something else comes, CutError at the end."""
        for what in choices:
            if (yield from self.accept(what)):
                return what
        raise CutError if self.closed and any(what.startswith(self._rest()) for what in choices) else BrokenError

    def until(self, *markers: str, longest: int = 4096) -> Reading[tuple[str, str]]:
        """Read up to and with the first of the markers: the text before it, and which it is.

        Raises BrokenError if more than `longest` characters come first, CutError at the end.
        """
        while True:
            at, marker = find(self._rest(), markers)
            if at > longest or (at < 0 and len(self._rest()) > longest + max(map(len, markers))):
                raise BrokenError
            if at >= 0:
                before = self._text[self._at : self._at + at]
                self._at += at + len(marker)
                return before, marker
            if self.closed:
                self._at = len(self._text)
                raise CutError
            yield

    def flow(self, markers: tuple[str, ...], emit: Callable[[str], None]) -> Reading[str]:
        """Pass text on as it comes, up to and with the first of the markers, which is returned ("" at the end).

        White space before a marker is not passed on. It begins with what was read last and not told.
        """
        self._at = self._told
        while True:
            rest = self._rest()
            at, marker = find(rest, markers)
            if at >= 0:
                before = rest[:at].rstrip()
                if before:
                    emit(before)
                self._at += len(before)
                self.tell()
                self._at += at - len(before) + len(marker)
                return marker
            keep = 0
            if not self.closed:
                certain = rest[: len(rest) - overlap(rest, markers)].rstrip()
                keep = len(rest) - len(certain)
            if len(rest) > keep:
                emit(rest[: len(rest) - keep])
                self._at += len(rest) - keep
                self.tell()
            if self.closed:
                return ""
            yield

    def value(self, emit: Callable[[str], None] | None = None) -> Reading[str]:
        """Read one JSON value; with `emit`, pass it on as it comes. Returns it all.

        Brackets must match; whether it is JSON in all else is not looked at. Raises BrokenError, CutError.
        """
        kind = yield from self.peek()
        pieces: list[str] = []
        stack: list[str] = []
        in_string = False
        while True:
            start, at, done, broken = self._at, self._at, False, False
            while at < len(self._text) and not done:
                if kind not in '{["':
                    found = _SCALAR_END.search(self._text, at)
                    at, done = (found.start(), True) if found else (len(self._text), False)
                    continue
                found = (_IN_STRING if in_string else _STRUCTURE).search(self._text, at)
                if found is None:
                    at = len(self._text)
                    continue
                mark, at = found.group(), found.end()
                if mark == "\\":
                    if at >= len(self._text):
                        at -= 1  # together with what it escapes
                        break
                    at += 1
                elif mark == '"':
                    in_string = not in_string
                elif mark in "{[":
                    stack.append(mark)
                elif not stack or stack.pop() != _PAIRS[mark]:
                    broken, at = True, at - 1
                    break
                done = not in_string and not stack
            self._at = at
            if at > start:
                pieces.append(self._text[start:at])
                if emit:
                    emit(pieces[-1])
            if broken:
                raise BrokenError
            if done or (self.closed and kind not in '{["' and pieces):
                return "".join(pieces)
            if self.closed:
                self._at = len(self._text)
                raise CutError
            yield
