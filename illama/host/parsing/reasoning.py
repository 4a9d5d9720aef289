"""Reasoning, told from the answer: `<think>` ... `</think>` at the beginning, or opened by the prompt itself.

Knows: the two tags. Does not know: what comes after; that is the parser's that it is given.
"""

from __future__ import annotations

from illama.host.parsing.parts import Parser, Part, Plain, Thought, overlap


class Reasoning:
    """Splits off what stands between the tags; the rest goes to `then`.

    Tags count at the beginning of the answer alone: one in its middle is text. `opened`: the prompt ended with the
    opening tag, so that the answer begins inside. The white space around both tags belongs to neither part.
    """

    def __init__(self, then: Parser | None = None, *, tags: tuple[str, str] = ("<think>", "</think>"), opened: bool):
        self._then = then or Plain()
        self._open, self._close = tags
        self._held = ""
        # "before" the tag, "begin" of the reasoning, "inside", "after" the closing tag, or "answer"
        self._state = "begin" if opened else "before"

    @property
    def unfinished(self) -> bool:
        """Whether the answer was cut in the middle of a call."""
        return self._then.unfinished

    def feed(self, text: str) -> list[Part]:
        """The parts that this piece of text makes certain."""
        if self._state == "answer":
            return self._then.feed(text)
        self._held += text
        parts: list[Part] = []
        if self._state == "before":
            self._look_for_the_opening()
        if self._state == "begin":
            self._skip_white("inside")
            # A model that repeats the tag which the prompt has opened.
            if self._held.startswith(self._open):
                self._held, self._state = self._held[len(self._open) :], "begin"
                self._skip_white("inside")
            elif self._state == "inside" and self._open.startswith(self._held):
                self._state = "begin"
                return parts
        if self._state == "inside":
            parts += self._inside()
        if self._state == "after":
            self._skip_white("answer")
        if self._state == "answer" and self._held:
            held, self._held = self._held, ""
            parts += self._then.feed(held)
        return parts

    def _look_for_the_opening(self) -> None:
        begun = self._held.lstrip()
        if begun.startswith(self._open):
            self._held, self._state = begun[len(self._open) :], "begin"
        elif begun and not self._open.startswith(begun):
            self._state = "answer"

    def _skip_white(self, then: str) -> None:
        self._held = self._held.lstrip()
        if self._held:
            self._state = then

    def _inside(self) -> list[Part]:
        at = self._held.find(self._close)
        if at >= 0:
            thought, self._held = self._held[:at].rstrip(), self._held[at + len(self._close) :]
            self._state = "after"
        else:
            # White space is kept too: it is the reasoning's only if more of it follows.
            keep = overlap(self._held, (self._close,))
            keep = len(self._held) - len(self._held[: len(self._held) - keep].rstrip())
            thought, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return [Thought(thought)] if thought else []

    def finish(self) -> list[Part]:
        """The answer has ended: what was held back goes where it would have gone."""
        held, self._held = self._held, ""
        if self._state in ("before", "answer"):
            return [*(self._then.feed(held) if held else []), *self._then.finish()]
        inside = held if self._state in ("begin", "inside") else ""
        return [*([Thought(inside)] if inside.strip() else []), *self._then.finish()]
