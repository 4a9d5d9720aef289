"""What the answers about embeddings and reranking hold, in all dialects.

Knows: fields and their types. Does not know: where the values come from.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from illama.host.answers import Answer


class EncodedUsage(Answer):
    """Tokens."""

    prompt_tokens: int
    total_tokens: int


class Embedding(Answer):
    """One input's vector: numbers, or base64 of little-endian float32."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingList(Answer):
    """`POST /v1/embeddings`."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: EncodedUsage


class RankedText(Answer):
    """A document, as it was sent."""

    text: str


class Ranked(Answer):
    """A document's place in the request, and its relevance from 0 to 1."""

    index: int
    relevance_score: float
    document: RankedText | msgspec.UnsetType = msgspec.UNSET


class Ranking(Answer):
    """`POST /v1/rerank`: the best first."""

    id: str
    model: str
    results: list[Ranked]
    usage: EncodedUsage


class Embedded(Answer):
    """`POST /api/embed`; durations are nanoseconds."""

    model: str
    embeddings: list[list[float]]
    total_duration: int
    load_duration: int
    prompt_eval_count: int


class OldEmbedded(Answer):
    """`POST /api/embeddings`."""

    embedding: list[float]
