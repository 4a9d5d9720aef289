"""The pipe between host and engine: one JSON object a line, UTF-8, both ways.

Knows the messages' names and their framing. Does not know what either side does with them.

Host to engine, on its standard input (the end of the input ends the engine):

    {"op": "prepare", "engine": "openvino"|"fake", "folder"}   make ready what any load needs; nothing is said, a load
                                                       comes later, perhaps of another model
    {"op": "load", "engine": "openvino"|"fake", "folder", "device", "context_length", "pipeline", "kv_bytes",
     "cache_dir", "task", "options": {...}, "draft": the folder of a draft model|null}
    {"op": "generate", "id", "messages", "sampling": {...}, "stop": [...], "structured": {...}|null,
     "tools": [...]|absent, "template": {...}|absent, "keep_special": bool|absent}
                                                       structured: one of json_schema, regex, grammar, tags (all text),
                                                       and `param`, the request's field that says so; tags are JSON,
                                                       [{"trigger", "begin", "end", "grammar" or "json_schema"}, ...]:
                                                       what guides only once the model has written a trigger
                                                       tools as OpenAI writes them; further variables of the chat
                                                       template; whether special tokens stay in the text
        or, in the place of "messages", "prompt": text or token ids that no template is applied to
        "images": [base64 of a file, ...]: the messages' text then holds GenAI's tags, <ov_genai_image_0> and so on
    {"op": "embed", "id", "texts": [text or ids, ...], "kind": "document"|"query", "truncate": bool, "dimensions"|null}
    {"op": "rerank", "id", "query", "texts": [...], "truncate": bool}
    {"op": "cancel", "id"}

Engine to host, on what was its standard output:

    {"ev": "ready", "facts": {...}}                    the model is loaded; see `Facts`
    {"ev": "failed", "error": {...}}                   it could not be loaded; the process ends
    {"ev": "accepted", "id", "prompt_tokens", "cached_tokens", "prompt_end"}
                                                       the end of the prompt's text: it may open the reasoning
    {"ev": "step", "tokens": [[id, text, count, logprobs|null], ...], "done": [{...}, ...]}
                                                       all that one step brought: it travels together
    {"ev": "alive"}                                    steps are made that bring nothing yet, as in a long prompt;
                                                       with "id" and "read": so many tokens of that prompt are read
    {"ev": "result", "id", "vectors": [base64 of little-endian float32, ...] or "scores": [...], "tokens": [n, ...]}
    {"ev": "refused", "id", "error": {...}}            this request alone failed
    {"ev": "fatal", "error": {...}}                    the device failed; the process ends

`logprobs` is a list of [token's text, log probability]; an entry of `done` has id, finish_reason ("stop", "length" or
"cancelled"), prompt_tokens, cached_tokens, completion_tokens, prompt_ms and predicted_ms. `error` is an OpenAI error
object with a `status` beside it.
"""

from __future__ import annotations

import json
from typing import Any, TypedDict

from illama.errors import IllamaError, from_wire

# The longest line that the host takes: an answer is sent in pieces, so only a bug could come near it.
MAX_LINE = 64 * 2**20
# The tasks of models that take `embed` or `rerank`, and generate nothing.
ENCODER_TASKS = ("embedding", "rerank")


_encode = json.JSONEncoder(separators=(",", ":")).encode


class Facts(TypedDict):
    """What a loaded engine tells of itself."""

    task: str  # the entry's: "text-generation", "image-text-to-text", "embedding" or "rerank"
    pipeline: str  # "paged" (continuous batching), "stateful" (one request at a time) or "batched" (embedding, rerank)
    device: str
    context_length: int  # tokens: what the model and the KV cache both have room for
    slots: int  # requests that it works on at once
    max_prompt_chars: int  # a longer prompt cannot possibly fit: refused without tokenizing
    kv_bytes: int  # the KV cache's size when it is full
    chat_template: str  # its text, "" if the model has none
    tools: bool  # whether the template renders tools
    dimensions: int  # of an embedding model's vectors; 0 for other models
    settings: dict[str, Any]  # what the model's options chose: OpenVINO's properties, prompt tokens of a step
    versions: dict[str, str]


def encode(message: dict[str, Any]) -> bytes:
    """One message as a line. Non-ASCII is escaped, so that a lone surrogate cannot break the pipe."""
    return _encode(message).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """The message of one line. Raises ValueError if it is none."""
    message = json.loads(line)
    if not isinstance(message, dict):
        raise ValueError("not a message")  # noqa: TRY004 - one kind of error for every broken line
    return message


def pack_error(error: IllamaError) -> dict[str, Any]:
    """An error as it travels through the pipe."""
    return {"status": error.status, **error.to_openai()}


def unpack_error(packed: dict[str, Any]) -> IllamaError:
    """The error that `pack_error` packed."""
    return from_wire(int(packed.get("status", 500)), packed)
