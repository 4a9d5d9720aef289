"""From token ids to text that may be sent: no character cut in two, no stop string let through.

Knows: windows of token ids, strings. Does not know: a tokenizer (the caller decodes), requests, engines.
"""

from __future__ import annotations

from collections.abc import Sequence

# What a decoder puts where bytes are no UTF-8 (yet). Some decoders drop such bytes instead; both are handled.
REPLACEMENT = "\ufffd"


class Detokenizer:
    """Turns the growing list of one answer's ids into pieces of text.

    Ids cannot be decoded one by one: a character may be spread over several, and some tokenizers write a word's leading
    space only in company. So a window is decoded: the last ids that were sent (as context) and those since. The caller
    decodes, for many answers in one call:

        piece = detokenizer.push(new_ids)               # None if it has to be decoded ...
        rows = detokenizer.rows()                       # ... then decode these (empty ones are "") ...
        piece = detokenizer.take(texts)                 # ... and give the texts here

    Most tokens are met again and again: what such a token adds behind others is noted in `known`, which the answers of
    one tokenizer share, and is not decoded any more. Noted is only what the token also is by itself, but for a leading
    space: what depends on its company never is.
    """

    def __init__(self, known: dict[int, str] | None = None) -> None:
        self.ids: list[int] = []
        self._known = {} if known is None else known
        self._start = 0  # the window begins here
        self._sent = 0  # ids before this are in text that was sent

    @property
    def pending(self) -> bool:
        """Whether there are ids whose text was not sent."""
        return self._sent < len(self.ids)

    def push(self, ids: Sequence[int]) -> str | None:
        """Add ids; return their text if it is known."""
        whole = 0 < self._sent == len(self.ids)
        self.ids.extend(ids)
        if not whole:
            return None
        piece = ""
        for id in ids:
            text = self._known.get(id)
            if text is None:
                return None
            piece += text
        self._start, self._sent = self._sent, len(self.ids)
        return piece

    def rows(self) -> list[list[int]]:
        """What to decode: the window, its context, and the last id by itself."""
        return [self.ids[self._start :], self.ids[self._start : self._sent], self.ids[-1:]]

    def take(self, texts: Sequence[str]) -> str:
        """Return what the decoded window adds to what was sent: "" while a character is incomplete."""
        text, context, alone = texts
        if text.endswith(REPLACEMENT) or len(text) <= len(context):
            return ""
        piece = text[len(context) :]
        one = len(self.ids) == self._sent + 1 and REPLACEMENT not in piece
        if one and context and text.startswith(context) and alone and piece in (alone, " " + alone):
            self._known[self.ids[-1]] = piece
        self._start, self._sent = self._sent, len(self.ids)
        return piece

    def finish(self, texts: Sequence[str]) -> str:
        """Return the rest from the decoded window, at the end: a character that never became whole is dropped."""
        return texts[0].rstrip(REPLACEMENT)[len(texts[1]) :]


class StopScanner:
    """Lets text through up to a stop string, holding back what may turn out to begin one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.hit = False

    def feed(self, piece: str) -> str:
        """Return the text that may be sent now. After a hit: nothing more."""
        if self.hit:
            return ""
        if not self._stops:
            return piece
        text = self._held + piece
        found = [at for at in (text.find(stop) for stop in self._stops) if at >= 0]
        if found:
            self.hit, self._held = True, ""
            return text[: min(found)]
        keep = max(self._overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """Return what was held back and turned out to be plain text."""
        held, self._held = self._held, ""
        return held

    @staticmethod
    def _overlap(text: str, stop: str) -> int:
        """The length of the longest end of `text` that is a beginning of `stop`."""
        longest = min(len(text), len(stop) - 1)
        return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
