"""The fields that every request of OpenAI's dialect for text shares, in one place.

Knows: their names and types. Does not know: their ranges (`schema` does), what a single endpoint has beside them.
"""

from __future__ import annotations

import msgspec


class StreamOptions(msgspec.Struct):
    """What a stream holds beside the answer."""

    include_usage: bool | None = None


class Asked(msgspec.Struct, kw_only=True):
    """What chats, completions and responses have. The last three are ours."""

    model: str
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    keep_alive: float | str | None = None
    device: str | None = None
    header_wait: float | None = None


class Sampled(Asked, kw_only=True):
    """What chats and completions have."""

    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    n: int | None = None
    # Beyond OpenAI's: what else GenAI samples by.
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    no_repeat_ngram_size: int | None = None
    min_tokens: int | None = None
    ignore_eos: bool | None = None
