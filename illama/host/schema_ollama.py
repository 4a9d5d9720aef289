"""What requests to Ollama's `/api/generate` and `/api/chat` may hold, and the OpenAI request that each amounts to.

Knows: Ollama's fields, options and their meaning in OpenAI's and GenAI's terms. Does not know: HTTP, engines.

Unknown keys and options are ignored, as Ollama does; which options mean nothing here stands in docs/api.md.
"""

from __future__ import annotations

import json
from typing import Any, Literal

import msgspec

from illama.errors import RequestError, UnsupportedError
from illama.host import schema


class Options(msgspec.Struct, kw_only=True):
    """`options`: how the text is chosen. Whole numbers may come as 100.0, as some clients write them."""

    num_predict: float | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: float | None = None
    min_p: float | None = None
    seed: float | None = None
    stop: str | list[str] | None = None
    repeat_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None


class Function(msgspec.Struct, kw_only=True):
    """The function that a call names; its arguments are an object here, where OpenAI has a string."""

    name: str
    arguments: dict[str, Any] = {}


class ToolCall(msgspec.Struct, kw_only=True):
    """A call of a tool."""

    function: Function
    id: str | None = None


class Message(msgspec.Struct, kw_only=True):
    """One message. `images` are base64 of the files' bytes; `tool_name` says whose result a tool's message is."""

    role: Literal["system", "user", "assistant", "tool", "developer"]
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class Asked(msgspec.Struct, kw_only=True):
    """What both requests have."""

    model: str | None = None
    name: str | None = None
    stream: bool | None = None
    format: str | dict[str, Any] | None = None
    options: Options | None = None
    think: bool | str | None = None
    keep_alive: float | str | None = None
    logprobs: bool | None = None
    # Ours: the device for this request, and whether an unload waits for what runs.
    device: str | None = None
    force: bool | None = None

    def named(self) -> str:
        """The model. Raises RequestError if none is named."""
        found = self.model or self.name
        if not found:
            raise RequestError("model is missing.", hint="Name the model in the request's body.", param="model")
        return found


class GenerateRequest(Asked, kw_only=True):
    """The body of `POST /api/generate`. Without a prompt it loads the model, or unloads it (`keep_alive` 0)."""

    prompt: str | None = None
    system: str | None = None
    raw: bool | None = None
    images: list[str] | None = None
    suffix: str | None = None
    template: str | None = None
    context: list[int] | None = None


class ChatRequest(Asked, kw_only=True):
    """The body of `POST /api/chat`. Without messages it loads the model, or unloads it (`keep_alive` 0)."""

    messages: list[Message] | None = None
    tools: list[dict[str, Any]] | None = None


_LEVELS = ("low", "medium", "high")
_UNTIL_FULL = 2**31


def chat(request: ChatRequest) -> schema.ChatRequest:
    """The same conversation as OpenAI's dialect has it. Raises RequestError naming the field at fault."""
    messages = _messages(request.messages or [])
    return _converted({**_common(request), "messages": messages, "tools": request.tools})


def generate(request: GenerateRequest) -> schema.ChatRequest:
    """The conversation of one prompt, and perhaps a system message. Raises RequestError naming the field at fault."""
    check(request)
    said = [Message(role="system", content=request.system)] if request.system else []
    said.append(Message(role="user", content=request.prompt, images=request.images))
    return _converted({**_common(request), "messages": _messages(said)})


def raw(request: GenerateRequest) -> schema.ChatRequest:
    """What a raw prompt, to which no template is applied, is sampled by. Raises RequestError naming the field."""
    check(request)
    for field in ("system", "images", "think"):
        if getattr(request, field):
            text = f"{field} has no meaning beside raw, which sends the prompt as it is."
            raise RequestError(text, hint=f"Leave out {field}, or raw.", param=field)
    return _converted({**_common(request), "messages": [{"role": "user", "content": request.prompt}]})


def check(request: GenerateRequest) -> None:
    """Refuse what this build cannot serve. Raises UnsupportedError naming the field."""
    for field, hint in (
        ("suffix", "Send the prompt alone."),
        ("template", "The model's own template is used; with raw the prompt is sent as it is."),
        ("context", "Send the conversation to /api/chat, which keeps what was said in messages."),
    ):
        if getattr(request, field):
            raise UnsupportedError(f"{field}: this build cannot serve it.", hint=hint, param=field)


def _converted(fields: dict[str, Any]) -> schema.ChatRequest:
    given = {key: value for key, value in fields.items() if value is not None}
    return msgspec.convert(given, schema.ChatRequest)


def _common(request: Asked) -> dict[str, Any]:
    if request.logprobs:
        hint = "Ask /v1/chat/completions, which has them."
        raise UnsupportedError("logprobs: they are not served in Ollama's dialect.", hint=hint, param="logprobs")
    options = request.options or Options()
    whole = {field: _whole(options, field) for field in ("num_predict", "top_k", "seed")}
    limit = whole["num_predict"]
    return {
        "model": request.named(),
        # 0 and less: until the context is full.
        "max_tokens": _UNTIL_FULL if limit is not None and limit <= 0 else limit,
        "temperature": options.temperature,
        "top_p": options.top_p,
        # Ollama's word for every token is 0, GenAI's is a number beyond the vocabulary.
        "top_k": 2**31 if whole["top_k"] is not None and whole["top_k"] <= 0 else whole["top_k"],
        "min_p": options.min_p,
        # Below 0 is Ollama's word for another one each time.
        "seed": None if whole["seed"] is None or whole["seed"] < 0 else whole["seed"],
        "stop": options.stop,
        "repetition_penalty": options.repeat_penalty,
        "presence_penalty": options.presence_penalty,
        "frequency_penalty": options.frequency_penalty,
        "response_format": _format(request.format),
        **_think(request.think),
        "keep_alive": request.keep_alive,
        "device": request.device,
    }


def _whole(options: Options, field: str) -> int | None:
    value = getattr(options, field)
    if value is None:
        return None
    if not abs(value) < 2**63 or value != int(value):
        raise RequestError(f"options.{field} is {value:g}, but must be a whole number.", param=f"options.{field}")
    return int(value)


def _format(wanted: str | dict[str, Any] | None) -> dict[str, Any] | None:
    if not wanted:
        return None
    if isinstance(wanted, dict):
        return {"type": "json_schema", "json_schema": {"name": "format", "schema": wanted}}
    if wanted != "json":
        text = f'format is "{wanted[:40]}", but must be "json" or a JSON schema.'
        raise RequestError(text, hint="A schema is an object, not a string.", param="format")
    return {"type": "json_object"}


def _think(wanted: bool | str | None) -> dict[str, Any]:
    if wanted is None or wanted == "":
        return {}
    if isinstance(wanted, bool):
        return {"chat_template_kwargs": {"enable_thinking": wanted}}
    if wanted not in _LEVELS:
        text = f'think is "{wanted[:40]}", but must be true, false or one of: {", ".join(_LEVELS)}.'
        raise RequestError(text, param="think")
    return {"chat_template_kwargs": {"enable_thinking": True}, "reasoning_effort": wanted}


def _messages(messages: list[Message]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    waiting: list[tuple[str, str]] = []  # calls without a result yet: (function's name, id)
    for at, message in enumerate(messages):
        one: dict[str, Any] = {"role": message.role, "content": message.content or ""}
        if message.images:
            parts = [_image(data, f"messages[{at}].images[{number}]") for number, data in enumerate(message.images)]
            one["content"] = [*parts, {"type": "text", "text": message.content or ""}]
        if message.thinking:
            one["reasoning_content"] = message.thinking
        if message.tool_calls:
            calls = [(call.function.name, call.id or f"call_{at}_{n}") for n, call in enumerate(message.tool_calls)]
            waiting = list(calls)
            one["tool_calls"] = [
                {
                    "id": id,
                    "type": "function",
                    "function": {"name": name, "arguments": json.dumps(call.function.arguments)},
                }
                for (name, id), call in zip(calls, message.tool_calls, strict=True)
            ]
        if message.role == "tool":
            one["tool_call_id"] = message.tool_call_id or _answered(waiting, message.tool_name)
            if message.tool_name:
                one["name"] = message.tool_name
        made.append(one)
    return made


def _answered(waiting: list[tuple[str, str]], name: str | None) -> str:
    """The id of the call that a tool's message without one answers: the first of that name, else the first at all."""
    if not waiting:
        return "call_0"
    found = next((call for call in waiting if call[0] == name), waiting[0])
    waiting.remove(found)
    return found[1]


def _image(data: str, where: str) -> dict[str, Any]:
    kinds = {"/9j/": "jpeg", "iVBOR": "png", "R0lG": "gif", "UklG": "webp"}
    kind = next((kind for start, kind in kinds.items() if data.startswith(start)), None)
    if kind is None:
        raise RequestError(f"{where} is not the base64 of an image.", hint="Send PNG, JPEG, WebP or GIF.", param=where)
    return {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{data}"}}
