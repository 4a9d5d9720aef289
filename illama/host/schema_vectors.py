"""What embedding and rerank requests of both dialects may hold, and what the engine is told of them.

Knows: the fields of OpenAI, Ollama, Jina and Cohere, and their limits. Does not know: HTTP, engines.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from illama.engine.protocol import Facts
from illama.errors import RequestError, UnsupportedError
from illama.registry import Entry

# OpenAI's own limit of texts in a request; more of them gain nothing, since requests are merged anyway.
MAX_INPUTS = 2048
# What other servers call a text that is searched with, not for.
_QUERIES = ("query", "search_query", "retrieval.query")


class EmbeddingsRequest(msgspec.Struct, kw_only=True):
    """The body of `POST /v1/embeddings`. `input_type` ("query" or "document") is what others' servers call it."""

    model: str
    input: str | list[str | int | list[int]]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None
    user: str | None = None
    input_type: str | None = None
    truncate: bool | None = None
    keep_alive: float | str | None = None
    device: str | None = None


class EmbedRequest(msgspec.Struct, kw_only=True):
    """The body of `POST /api/embed`."""

    model: str
    input: str | list[str] | None = None
    truncate: bool | None = None
    dimensions: int | None = None
    input_type: str | None = None
    keep_alive: float | str | None = None
    options: dict[str, Any] | None = None
    device: str | None = None


class OldEmbeddingsRequest(msgspec.Struct, kw_only=True):
    """The body of `POST /api/embeddings`, which Ollama keeps for older clients."""

    model: str
    prompt: str | None = None
    keep_alive: float | str | None = None
    options: dict[str, Any] | None = None
    device: str | None = None


class Document(msgspec.Struct):
    """A document as an object, as Jina and Cohere also take it."""

    text: str


class RerankRequest(msgspec.Struct, kw_only=True):
    """The body of `POST /v1/rerank`, in Jina's and Cohere's shape."""

    model: str
    query: str
    documents: list[str | Document]
    top_n: int | None = None
    return_documents: bool | None = None
    truncate: bool | None = None
    keep_alive: float | str | None = None
    device: str | None = None


def inputs(request: EmbeddingsRequest) -> list[str | list[int]]:
    """The texts, or lists of token ids, in order. Raises RequestError for none, too many, or a mixture."""
    given = request.input
    if isinstance(given, str):
        return [given]
    if given and all(isinstance(each, int) for each in given):
        return [[each for each in given if isinstance(each, int)]]
    found = [each for each in given if not isinstance(each, int)]
    if len(found) < len(given) or len({type(each) for each in found}) > 1:
        raise RequestError("input mixes texts and token ids.", hint="Send one kind in a request.", param="input")
    if any(each == [] for each in found):
        raise RequestError("input has an empty list of token ids.", param="input")
    return bounded(found, "input")


def bounded(found: list[Any], field: str) -> list[Any]:
    """The list, if it has from one to `MAX_INPUTS` entries. Raises RequestError."""
    if not found:
        raise RequestError(f"{field} is empty.", hint="Send at least one text.", param=field)
    if len(found) > MAX_INPUTS:
        raise RequestError(
            f"{field} has {len(found)} entries, and {MAX_INPUTS} are the most.",
            hint="Send several requests: those that wait together are worked on together.",
            param=field,
        )
    return found


def kind(input_type: str | None) -> str:
    """Whether a text is a "query" or a "document"."""
    return "query" if (input_type or "").lower() in _QUERIES else "document"


def dimensions(wanted: int | None, entry: Entry, facts: Facts) -> int | None:
    """The vectors' size for the engine. Raises RequestError for a size that this model's vectors cannot have."""
    size = facts["dimensions"]
    if wanted is None or wanted == size:
        return None
    if not 1 <= wanted <= size:
        raise RequestError(f"dimensions is {wanted}, but {entry.name} has {size}.", param="dimensions")
    if not entry.options.get("matryoshka"):
        raise UnsupportedError(
            f"dimensions: the vectors of {entry.name} cannot be cut to {wanted} of {size} numbers.",
            hint=f"Leave it out. If its makers say that they can: `illama set {entry.name} matryoshka=1`.",
            param="dimensions",
        )
    return wanted
