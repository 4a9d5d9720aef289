"""What the answers of OpenAI's dialect hold.

Knows: fields and their types. Does not know: where the values come from. Chunks, of which there are many, are written
piece by piece where they are made; the tests hold them against these types.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Maybe = msgspec.UnsetType


class Answer(msgspec.Struct, forbid_unknown_fields=True):
    """A base: a field that may be unset is left out."""


class Model(Answer):
    """One installed model."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class Models(Answer):
    """`GET /v1/models`."""

    object: Literal["list"]
    data: list[Model]


class CachedTokens(Answer):
    """How many of the prompt's tokens were in the prefix cache."""

    cached_tokens: int


class Usage(Answer):
    """Tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: CachedTokens


class Timings(Answer):
    """Ours: counts, milliseconds and rates of the request. `ttft_ms` runs from its arrival to its first token."""

    prompt_n: int
    cached_n: int
    predicted_n: int
    prompt_ms: float
    predicted_ms: float
    prompt_per_second: float
    predicted_per_second: float
    queue_ms: float
    load_ms: float
    ttft_ms: float
    device: str


class TokenLogprob(Answer):
    """The log probability of a chosen token."""

    token: str
    logprob: float
    bytes: list[int] | None
    top_logprobs: list[Any]


class Logprobs(Answer):
    """Log probabilities of a piece of the answer."""

    content: list[TokenLogprob]
    refusal: None


class CalledFunction(Answer, kw_only=True):
    """The function of a call; `arguments` is JSON text, or in a chunk a piece of it."""

    name: str | Maybe = msgspec.UNSET
    arguments: str


class ToolCall(Answer, kw_only=True):
    """A call of a tool, or in a chunk a piece of it: id, type and name come once for each `index`."""

    index: int | Maybe = msgspec.UNSET
    id: str | Maybe = msgspec.UNSET
    type: Literal["function"] | Maybe = msgspec.UNSET
    function: CalledFunction


class ChatMessage(Answer):
    """The assistant's message."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    reasoning_content: str | Maybe = msgspec.UNSET
    tool_calls: list[ToolCall] | Maybe = msgspec.UNSET


class ChatChoice(Answer):
    """One answer."""

    index: int
    message: ChatMessage
    logprobs: Logprobs | None
    finish_reason: Literal["stop", "length", "tool_calls"]


class ChatCompletion(Answer):
    """`POST /v1/chat/completions`, whole."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    timings: Timings
    origin: dict[str, Any]  # ours: the model's source, recipe, weight format and digest


class Delta(Answer):
    """What a chunk adds to the message."""

    role: Literal["assistant"] | Maybe = msgspec.UNSET
    content: str | Maybe | None = msgspec.UNSET
    reasoning_content: str | Maybe = msgspec.UNSET
    tool_calls: list[ToolCall] | Maybe = msgspec.UNSET


class ChunkChoice(Answer):
    """A piece of one answer."""

    index: int
    delta: Delta
    logprobs: Logprobs | None
    finish_reason: Literal["stop", "length", "tool_calls"] | None


class ChatChunk(Answer):
    """`POST /v1/chat/completions`, one event of a stream."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | Maybe = msgspec.UNSET
    timings: Timings | Maybe = msgspec.UNSET
    origin: dict[str, Any] | Maybe = msgspec.UNSET


class TextLogprobs(Answer):
    """Log probabilities of a completion's tokens, side by side."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]] | None
    text_offset: list[int]


class TextChoice(Answer):
    """One completion, or a piece of it: `finish_reason` is null until its end."""

    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: Literal["stop", "length"] | None


class TextCompletion(Answer):
    """`POST /v1/completions`, whole or one event of a stream."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage | Maybe = msgspec.UNSET
    timings: Timings | Maybe = msgspec.UNSET
