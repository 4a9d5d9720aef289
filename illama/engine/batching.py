"""Which texts an encoder works on together: all that wait, whoever asked for them, sorted by their length.

Knows: requests, their texts' numbers of tokens, the limits of a batch. Does not know: models, the pipe.

A batch is as long as its longest text, so texts of like length go together and little is computed for padding. Only
texts with the same number of whole blocks of tokens go together at all, where the device's arithmetic demands it. One
batch serves the request that has waited longest, the next the one with the least left to do: a question need not wait
until a library has been read, and the library is read all the same.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_Key = tuple[int, int]  # the number of tokens, and the order of arrival


@dataclass(frozen=True)
class Item:
    """One text of a request: its place there, and what the encoder made of it (`payload`, `tokens` long)."""

    id: int
    at: int
    tokens: int
    payload: Any


class BatchQueue:
    """What waits. A batch has at most `max_texts`, and `max_tokens` with its padding, but always one text.

    All of its texts have the same number of whole blocks of `block` tokens; 0: any may go together.
    """

    def __init__(self, max_texts: int, max_tokens: int, block: int = 0) -> None:
        self._max_texts = max_texts
        self._max_tokens = max_tokens
        self._block = block
        self._sorted: list[_Key] = []
        self._items: dict[_Key, Item] = {}
        self._left: dict[int, dict[_Key, None]] = {}  # of each request, in the order it came; so are the requests
        self._count = 0
        self._short_first = False

    def __len__(self) -> int:
        return len(self._sorted)

    def add(self, items: Sequence[Item]) -> None:
        """Queue a request's texts."""
        for item in items:
            key = (item.tokens, self._count)
            self._count += 1
            self._items[key] = item
            self._left.setdefault(item.id, {})[key] = None
            bisect.insort(self._sorted, key)

    def drop(self, id: int) -> None:
        """Forget what is left of a request."""
        for key in self._left.pop(id, {}):
            del self._items[key]
            del self._sorted[bisect.bisect_left(self._sorted, key)]

    def next(self, most: int | None = None) -> list[Item]:
        """Take the next batch out, of at most so many texts; empty if nothing waits."""
        if not self._sorted:
            return []
        texts = self._max_texts if most is None else min(most, self._max_texts)
        seed = min(self._left.values(), key=len) if self._short_first else next(iter(self._left.values()))
        self._short_first = not self._short_first
        first = next(iter(seed))
        low = bisect.bisect_left(self._sorted, first)
        high = low + 1
        least, beyond = self._alike(first[0])
        # Grow to both sides, always by what is nearer in length.
        while high - low < texts:
            shorter = low > least
            longer = high < beyond and self._sorted[high][0] * (high - low + 1) <= self._max_tokens
            if shorter and self._sorted[high - 1][0] * (high - low + 1) > self._max_tokens:
                shorter = False
            if shorter and longer:
                shorter = self._sorted[low][0] - self._sorted[low - 1][0] <= (
                    self._sorted[high][0] - self._sorted[high - 1][0]
                )
            if shorter:
                low -= 1
            elif longer:
                high += 1
            else:
                break
        keys = self._sorted[low:high]
        del self._sorted[low:high]
        return [self._take(key) for key in keys]

    def _alike(self, tokens: int) -> tuple[int, int]:
        """Where those begin and end that may go together with a text of so many tokens."""
        if not self._block:
            return 0, len(self._sorted)
        begin = tokens // self._block * self._block
        return bisect.bisect_left(self._sorted, (begin, 0)), bisect.bisect_left(self._sorted, (begin + self._block, 0))

    def _take(self, key: _Key) -> Item:
        item = self._items.pop(key)
        left = self._left[item.id]
        del left[key]
        if not left:
            del self._left[item.id]
        return item
