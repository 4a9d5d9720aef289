"""What a chat request may hold, and what the engine is told of it.

Knows: OpenAI's fields, their types and ranges, which of them this build can serve. Does not know: HTTP, engines.

Unknown keys are ignored, an explicit null is as good as absent. A parameter that would change the meaning of the answer
and cannot be served is refused by name.
"""

from __future__ import annotations

import json
import re
from typing import Any, Literal

import msgspec

from illama.config import parse_device
from illama.errors import RequestError, UnsupportedError
from illama.host.turn import Ask

_PATH = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")


class Message(msgspec.Struct):
    """One message. `content` is text, or a list of parts of which each must be text."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[dict[str, Any]] | None = None
    name: str | None = None


class StreamOptions(msgspec.Struct):
    """What a stream holds beside the answer."""

    include_usage: bool | None = None


class JsonSchema(msgspec.Struct):
    """A named schema, as `response_format` holds it."""

    schema: dict[str, Any] | bool | None = None
    name: str | None = None
    strict: bool | None = None


class ResponseFormat(msgspec.Struct):
    """What the answer's text must look like."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class ChatRequest(msgspec.Struct, kw_only=True):
    """The body of `POST /v1/chat/completions`."""

    model: str
    messages: list[Message]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    response_format: ResponseFormat | None = None
    n: int | None = None
    logit_bias: dict[str, float] | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    functions: list[Any] | None = None
    function_call: Any = None
    modalities: list[str] | None = None
    # Beyond OpenAI's: what else GenAI samples by, and how long the model stays.
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    no_repeat_ngram_size: int | None = None
    min_tokens: int | None = None
    ignore_eos: bool | None = None
    keep_alive: float | str | None = None
    device: str | None = None
    header_wait: float | None = None


# Each: field, lowest, highest, and whether the lowest itself is allowed.
Ranges = tuple[tuple[str, float, float, bool], ...]
_RANGES: Ranges = (
    ("max_tokens", 1, 2**31, True),
    ("max_completion_tokens", 1, 2**31, True),
    ("temperature", 0, 2, True),
    ("top_p", 0, 1, False),
    ("top_k", 1, 2**31, True),
    ("min_p", 0, 1, True),
    ("presence_penalty", -2, 2, True),
    ("frequency_penalty", -2, 2, True),
    ("repetition_penalty", 0, 10, False),
    ("no_repeat_ngram_size", 1, 2**31, True),
    ("min_tokens", 0, 2**31, True),
    ("seed", -(2**63), 2**64, True),
    ("n", 1, 128, True),
    ("top_logprobs", 0, 20, True),
    ("header_wait", 0, 3600, True),
)
_MAX_STOPS = 16
_CANNOT = "{field}: this build cannot serve {what}."


def parse(body: bytes, kind: type[Any]) -> Any:
    """Parse a JSON body into one of the structs. Raises RequestError naming the field at fault."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        found = _PATH.search(str(error))
        field = found.group("path") if found else None
        what = _PATH.sub("", str(error))
        missing = re.search(r"missing required field `(\w+)`", what)
        if missing:
            field = ".".join(part for part in (field, missing.group(1)) if part)
        at = f"{field}: " if field else ""
        message = f"{field} is missing." if missing else f"{at}{what}."
        raise RequestError(message, hint="Correct the request's body.", param=field or None) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"The body is no valid JSON: {error}.", hint="Send a JSON object as the body.") from error


def check(request: ChatRequest) -> None:
    """See that all values are in range and can be served. Raises RequestError or UnsupportedError naming the field."""
    if not request.messages:
        raise RequestError("messages is empty.", hint="Send at least one message.", param="messages")
    check_ranges(request)
    for field, wrong, what in (
        ("logit_bias", bool(request.logit_bias), "a bias on tokens"),
        ("top_logprobs", (request.top_logprobs or 0) > 1, "log probabilities of other tokens than the chosen one"),
        ("tool_choice", _forces_a_tool(request.tool_choice), "a call of a tool that is required"),
        ("function_call", _forces_a_tool(request.function_call), "a call of a function that is required"),
        ("modalities", "audio" in (request.modalities or ()), "audio"),
    ):
        if wrong:
            raise UnsupportedError(_CANNOT.format(field=field, what=what), hint=f"Leave out {field}.", param=field)


def check_ranges(request: Any, ranges: Ranges = _RANGES) -> None:
    """See that the values are in range of those fields that a request has. Raises RequestError naming the field."""
    for field, low, high, inclusive in ranges:
        value = getattr(request, field, None)
        if value is not None and not (low <= value <= high and (inclusive or value > low)):
            bounds = f"from {low:g}" if inclusive else f"above {low:g}"
            raise RequestError(f"{field} is {value:g}, but must be {bounds} to {high:g}.", param=field)
    if len(stops(request)) > _MAX_STOPS:
        raise RequestError(f"stop has more than {_MAX_STOPS} strings.", param="stop")


def _forces_a_tool(choice: Any) -> bool:
    return choice is not None and choice not in ("none", "auto")


def ask(request: ChatRequest, default_max_tokens: int) -> Ask:
    """The request in terms of the turn. Raises RequestError or UnsupportedError for what cannot be."""
    return Ask(
        messages=messages(request),
        sampling=sampling(request, default_max_tokens),
        stop=stops(request),
        structured=structured(request),
        n=request.n or 1,
        keep_alive=keep_alive(request.keep_alive),
        device=device(request.device),
    )


def stops(request: Any) -> list[str]:
    """The stop strings as a list."""
    return [request.stop] if isinstance(request.stop, str) else list(request.stop or ())


def messages(request: ChatRequest) -> list[dict[str, str]]:
    """The messages with plain text as content, as chat templates take them.

    Tools that were offered are not among them: no model here is told of tools yet, so that none fails because of them.
    Raises UnsupportedError for a part that is no text.
    """
    made = []
    for at, message in enumerate(request.messages):
        role = "system" if message.role == "developer" else message.role
        made.append({"role": role, "content": _text(message.content, f"messages[{at}].content")})
    return made


def _text(content: str | list[dict[str, Any]] | None, where: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    texts = []
    for at, part in enumerate(content):
        text = part.get("text")
        if part.get("type") != "text" or not isinstance(text, str):
            what = f"a message part of type {part.get('type')!r}"
            field = f"{where}[{at}]"
            raise UnsupportedError(_CANNOT.format(field=field, what=what), hint="Send text.", param=field)
        texts.append(text)
    return "".join(texts)


def sampling(request: Any, default_max_tokens: int) -> dict[str, Any]:
    """The engine's sampling parameters: GenAI's own names, only those that the request states."""
    named = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "min_p": request.min_p,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
        "repetition_penalty": request.repetition_penalty,
        "no_repeat_ngram_size": request.no_repeat_ngram_size,
        "min_new_tokens": request.min_tokens,
        "ignore_eos": request.ignore_eos,
        # GenAI's seed is unsigned.
        "seed": None if request.seed is None else request.seed % 2**32,
        "logprobs": request.logprobs,
        "max_tokens": request.max_completion_tokens or request.max_tokens or default_max_tokens,
    }
    return {name: value for name, value in named.items() if value is not None}


def structured(request: ChatRequest) -> dict[str, str] | None:
    """What guides the answer's text, for the engine; None for plain text. Raises RequestError for a missing schema."""
    wanted = request.response_format
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return {"json_schema": '{"type":"object"}'}
    if wanted.json_schema is None or wanted.json_schema.schema is None:
        raise RequestError(
            "response_format is json_schema without a schema.",
            hint="Put it at response_format.json_schema.schema.",
            param="response_format.json_schema.schema",
        )
    return {"json_schema": json.dumps(wanted.json_schema.schema)}


_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "ms": 0.001, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|h|m|s)")


def keep_alive(value: float | str | None) -> float | None:
    """Seconds of a `keep_alive`: a number of seconds, or a duration as Go writes it ("5m", "1h30m"); negative is -1.

    Raises RequestError for what is neither.
    """
    if value is None:
        return None
    if isinstance(value, str):
        text = value.strip()
        sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
        parts = _DURATION.findall(digits)
        if parts and "".join(number + unit for number, unit in parts) == digits:
            value = sign * sum(float(number) * _UNITS[unit] for number, unit in parts)
        else:
            try:
                value = float(text)
            except ValueError:
                message = f"keep_alive is {text!r}, but must be seconds or a duration such as 5m."
                raise RequestError(message, param="keep_alive") from None
    if value != value:
        raise RequestError("keep_alive is not a number.", param="keep_alive")
    return -1.0 if value < 0 else float(value)


def device(value: str | None) -> str | None:
    """The device that a request names, as OpenVINO writes it. Raises RequestError for what is no device's name."""
    if value is None:
        return None
    try:
        return parse_device(value)
    except ValueError as error:
        raise RequestError(f"device is {value!r}, but must be {error}.", param="device") from None
