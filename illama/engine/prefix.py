"""Which tokens of a prompt are in the prefix cache: the figure that GenAI does not tell.

Knows: the rule by which GenAI's block manager finds and drops blocks. Does not know: the cache itself.

GenAI keeps the keys and values of whole blocks, found by the hash of all tokens up to the block's end, and reuses the
blocks used longest ago when it needs room. The same rule over the same tokens gives the same count, up to the partly
filled last block, which is not counted here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence


class PrefixCache:
    """Counts cached tokens for blocks of `block` tokens in a cache of `capacity` blocks (0: unknown, none counted)."""

    def __init__(self, block: int, capacity: int) -> None:
        self._block = block
        self._capacity = capacity
        self._seen: OrderedDict[int, None] = OrderedDict()

    def _hashes(self, ids: Sequence[int]) -> Iterator[int]:
        chain = 0
        for end in range(self._block, len(ids) + 1, self._block):
            chain = hash((chain, tuple(ids[end - self._block : end])))
            yield chain

    def match(self, ids: Sequence[int]) -> int:
        """The number of leading tokens whose blocks are cached. At least one token is always computed."""
        blocks = 0
        for known in self._hashes(ids):
            if known not in self._seen:
                break
            blocks += 1
        return min(blocks * self._block, len(ids) - 1)

    def add(self, ids: Sequence[int]) -> None:
        """Note the blocks of a request that ended."""
        for known in self._hashes(ids):
            self._seen[known] = None
            self._seen.move_to_end(known)
        while len(self._seen) > self._capacity:
            self._seen.popitem(last=False)
