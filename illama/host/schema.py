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
from illama.host.guiding import Guided, structured
from illama.host.images import Images
from illama.host.tools import Tools
from illama.host.turn import Ask

_PATH = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")


class CalledFunction(msgspec.Struct):
    """Which function an assistant's message called, and its arguments as JSON text."""

    name: str
    arguments: str | dict[str, Any] | None = None


class MessageCall(msgspec.Struct):
    """A call in an assistant's message."""

    function: CalledFunction
    id: str | None = None
    type: str | None = None


class Message(msgspec.Struct):
    """One message. `content` is text, or a list of parts of which each must be text.

    Of the keys that an answer has, those that say nothing of the conversation (refusal, audio) are ignored.
    """

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[dict[str, Any]] | None = None
    name: str | None = None
    tool_calls: list[MessageCall] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None


class Function(msgspec.Struct, omit_defaults=True):
    """What a tool is called, what it is for, and the JSON schema of its arguments."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(msgspec.Struct):
    """A tool that is offered; functions are the only ones."""

    type: str = "function"
    function: Function | None = None


class ChatRequest(Guided, kw_only=True):
    """The body of `POST /v1/chat/completions`."""

    messages: list[Message]
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: list[Tool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    functions: list[Any] | None = None
    function_call: Any = None
    modalities: list[str] | None = None
    # Beyond OpenAI's.
    chat_template_kwargs: dict[str, Any] | None = None


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
        ("function_call", request.function_call not in (None, "none", "auto"), "what `tool_choice` does today"),
        ("modalities", "audio" in (request.modalities or ()), "audio"),
    ):
        if wrong:
            raise UnsupportedError(_CANNOT.format(field=field, what=what), hint=f"Leave out {field}.", param=field)
    if request.top_logprobs and not request.logprobs:
        raise RequestError("top_logprobs goes with logprobs only.", hint="Send logprobs: true.", param="top_logprobs")


def check_ranges(request: Any, ranges: Ranges = _RANGES) -> None:
    """See that the values are in range of those fields that a request has. Raises RequestError naming the field."""
    for field, low, high, inclusive in ranges:
        value = getattr(request, field, None)
        if value is not None and not (low <= value <= high and (inclusive or value > low)):
            bounds = f"from {low:g}" if inclusive else f"above {low:g}"
            raise RequestError(f"{field} is {value:g}, but must be {bounds} to {high:g}.", param=field)
    if len(stops(request)) > _MAX_STOPS:
        raise RequestError(f"stop has more than {_MAX_STOPS} strings.", param="stop")


def ask(request: ChatRequest, default_max_tokens: int) -> Ask:
    """The request in terms of the turn. Raises RequestError or UnsupportedError for what cannot be."""
    images = Images()
    return Ask(
        messages=messages(request, images),
        sampling=sampling(request, default_max_tokens),
        stop=stops(request),
        structured=structured(request),
        tools=tools(request),
        template=template(request),
        stream=bool(request.stream),
        n=request.n or 1,
        keep_alive=keep_alive(request.keep_alive),
        device=device(request.device),
        more={"images": images.found} if images.found else {},
    )


def stops(request: Any) -> list[str]:
    """The stop strings as a list."""
    return [request.stop] if isinstance(request.stop, str) else list(request.stop or ())


def messages(request: ChatRequest, images: Images) -> list[dict[str, Any]]:
    """The messages with plain text as content, as chat templates take them. Images are added to `images`.

    Raises UnsupportedError for a part that is neither text nor image, RequestError for an image that cannot be taken.
    """
    made = []
    for at, message in enumerate(request.messages):
        role = "system" if message.role == "developer" else message.role
        one: dict[str, Any] = {"role": role, "content": _text(message.content, f"messages[{at}].content", images)}
        if message.role == "assistant":
            if message.tool_calls:
                one["tool_calls"] = [_called(call, f"{at}_{n}") for n, call in enumerate(message.tool_calls)]
            if message.reasoning_content:
                one["reasoning_content"] = message.reasoning_content
        elif message.role in ("tool", "function"):
            if message.tool_call_id:
                one["tool_call_id"] = message.tool_call_id
            if message.name:
                one["name"] = message.name
        made.append(one)
    return made


def _called(call: MessageCall, place: str) -> dict[str, Any]:
    arguments = call.function.arguments
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {})
    return {
        "id": call.id or f"call_{place}",
        "type": "function",
        "function": {"name": call.function.name, "arguments": text},
    }


def tools(request: ChatRequest) -> Tools:
    """What the request says of tools. Raises RequestError or UnsupportedError for what cannot be."""
    functions: dict[str, dict[str, Any]] = {}
    for at, tool in enumerate(request.tools or ()):
        if tool.type != "function" or tool.function is None or not tool.function.name:
            raise UnsupportedError(
                _CANNOT.format(field=f"tools[{at}]", what=f"a tool of type {tool.type!r} that is no named function"),
                hint='Offer {"type": "function", "function": {"name": ..., "parameters": ...}}.',
                param=f"tools[{at}].type",
            )
        functions[tool.function.name] = msgspec.to_builtins(tool.function)
    choice, allowed = request.tool_choice, None
    if isinstance(choice, dict):
        choice, allowed = _chosen(choice)
    if choice not in (None, "auto", "none", "required"):
        raise RequestError(
            f"tool_choice is {choice!r}, but must be auto, none, required or a function's name.", param="tool_choice"
        )
    for name in allowed or ():
        if name not in functions:
            raise RequestError(f"tool_choice names {name!r}, which is none of tools.", param="tool_choice")
    if choice == "required" and not functions:
        raise RequestError("tool_choice requires a call, but there are no tools.", param="tool_choice")
    if choice == "none":
        return Tools()
    chosen = [function for name, function in functions.items() if allowed is None or name in allowed]
    return Tools(chosen, required=choice == "required", parallel=request.parallel_tool_calls)


def _chosen(choice: dict[str, Any]) -> tuple[Any, list[str]]:
    """What an object as `tool_choice` says: "auto" or "required", and the functions it is about."""
    if choice.get("type") == "allowed_tools":
        allowed = choice.get("allowed_tools")
        allowed = allowed if isinstance(allowed, dict) else choice
        listed = allowed.get("tools")
        mode, listed = allowed.get("mode", "auto"), listed if isinstance(listed, list) else []
    else:
        mode, listed = "required", [choice]
    names = []
    for one in listed:
        function = one.get("function", one) if isinstance(one, dict) else None
        if not isinstance(function, dict) or one.get("type") != "function" or not isinstance(function.get("name"), str):
            raise RequestError("tool_choice names no function.", param="tool_choice")
        names.append(function["name"])
    return mode, names


# The efforts that are as good as none for a model which can only reason or not.
_NO_EFFORT = ("none", "minimal")


def template(request: ChatRequest) -> dict[str, Any]:
    """Variables for the chat template; each family reads the effort under its own name."""
    made: dict[str, Any] = {}
    if request.reasoning_effort:
        thinks = request.reasoning_effort not in _NO_EFFORT
        made = {"reasoning_effort": request.reasoning_effort, "enable_thinking": thinks, "thinking": thinks}
    return {**made, **(request.chat_template_kwargs or {})}


def _text(content: str | list[dict[str, Any]] | None, where: str, images: Images) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    texts = []
    for at, part in enumerate(content):
        text = part.get("text")
        field = f"{where}[{at}]"
        if part.get("type") == "image_url":
            texts.append(images.tag(part, field))
        elif part.get("type") == "text" and isinstance(text, str):
            texts.append(text)
        else:
            what = f"a message part of type {part.get('type')!r}"
            raise UnsupportedError(_CANNOT.format(field=field, what=what), hint="Send text or images.", param=field)
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
