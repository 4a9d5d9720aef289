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

        window = detokenizer.push(new_ids)      # decode this ...
        piece = detokenizer.take(text)          # ... and give the text here
        context = detokenizer.context()         # if a piece came: decode this too ...
        detokenizer.settle(context_text)        # ... and give it here
    """

    def __init__(self) -> None:
        self.ids: list[int] = []
        self._start = 0  # the window begins here
        self._sent = 0  # ids before this are in text that was sent
        self._context_text = ""

    def push(self, ids: Sequence[int]) -> list[int]:
        """Add ids; return the window to decode."""
        self.ids.extend(ids)
        return self.ids[self._start :]

    def take(self, text: str) -> str:
        """Return what the decoded window adds to what was sent: "" while a character is incomplete."""
        if text.endswith(REPLACEMENT) or len(text) <= len(self._context_text):
            return ""
        piece = text[len(self._context_text) :]
        self._start, self._sent = self._sent, len(self.ids)
        return piece

    def context(self) -> list[int]:
        """The ids whose text was sent already, and which the next window begins with."""
        return self.ids[self._start : self._sent]

    def settle(self, text: str) -> None:
        """Note the text of `context()`."""
        self._context_text = text

    def finish(self, text: str) -> str:
        """Return the rest from the decoded window, at the end: a character that never became whole is dropped."""
        return text.rstrip(REPLACEMENT)[len(self._context_text) :]


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
