"""What a request of OpenAI's Responses API may hold, told as a chat request.

Knows: the items, tools and fields of `POST /v1/responses`. Does not know: HTTP, answers (`responses` does).

It is served without a memory: what refers to earlier responses is refused, and `store`, which clients leave on, is
answered with false.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from illama.errors import RequestError, UnsupportedError
from illama.host import schema
from illama.host.guiding import JsonSchema, ResponseFormat
from illama.host.schema_sampling import Asked


class Format(msgspec.Struct):
    """What the answer's text must look like."""

    type: str
    name: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class TextOptions(msgspec.Struct):
    """`text`: the form of the answer's text."""

    format: Format | None = None


class ReasoningOptions(msgspec.Struct):
    """`reasoning`: how much to reason."""

    effort: str | None = None


class ResponsesRequest(Asked, kw_only=True):
    """The body of `POST /v1/responses`. `input` is a text or a list of items."""

    input: str | list[dict[str, Any]]
    instructions: str | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    max_output_tokens: int | None = None
    top_logprobs: int | None = None
    include: list[str] | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    background: bool | None = None
    previous_response_id: str | None = None
    conversation: str | dict[str, Any] | None = None
    prompt: dict[str, Any] | None = None
    # Beyond OpenAI's, as for chat.
    chat_template_kwargs: dict[str, Any] | None = None


_MEMORY = {
    "previous_response_id": "a response that it would have to remember: send the whole conversation as input",
    "conversation": "a conversation that it would have to remember: send it whole as input",
    "prompt": "prompts that are kept on a server: send the text as input",
    "background": "answers in the background: ask for a stream",
}
# Fields that are the same as a chat request's.
_SAME = (
    *("temperature", "top_p", "top_logprobs", "stream", "seed", "stop"),
    *("chat_template_kwargs", "keep_alive", "device", "header_wait"),
)
# Where a chat request's field came from, for errors.
PARAMS = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format",
    "response_format.json_schema.schema": "text.format.schema",
}


def chat_request(request: ResponsesRequest) -> schema.ChatRequest:
    """The same request for a chat. Raises RequestError or UnsupportedError for what cannot be."""
    for field, what in _MEMORY.items():
        if getattr(request, field):
            raise UnsupportedError(
                f"{field}: this build cannot serve {what.partition(':')[0]}.",
                hint=what.partition(": ")[2].capitalize() + ".",
                param=field,
            )
    messages = _messages(request.input)
    if request.instructions:
        messages.insert(0, {"role": "system", "content": request.instructions})
    wanted = request.text.format if request.text else None
    logprobs = bool(request.top_logprobs) or "message.output_text.logprobs" in (request.include or ())
    body = {
        "model": request.model,
        "messages": messages,
        "tools": [_tool(tool, f"tools[{at}]") for at, tool in enumerate(request.tools or ())] or None,
        "tool_choice": request.tool_choice,
        "parallel_tool_calls": request.parallel_tool_calls,
        "reasoning_effort": request.reasoning.effort if request.reasoning else None,
        "max_completion_tokens": request.max_output_tokens,
        "logprobs": logprobs or None,
        **{name: getattr(request, name) for name in _SAME},
    }
    made: schema.ChatRequest = _convert(body)
    if wanted and wanted.type == "json_schema":
        inner = JsonSchema(wanted.schema, wanted.name, wanted.strict)
        made.response_format = ResponseFormat("json_schema", inner)
    elif wanted and wanted.type == "json_object":
        made.response_format = ResponseFormat("json_object")
    elif wanted and wanted.type != "text":
        raise RequestError(f"text.format.type is {wanted.type!r}, which is no format.", param="text.format.type")
    return made


def _convert(body: dict[str, Any]) -> Any:
    try:
        return msgspec.convert(body, schema.ChatRequest)
    except msgspec.ValidationError as error:
        raise RequestError(f"input: {error}.", hint="Correct the request's body.", param="input") from error


def _messages(items: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    if isinstance(items, str):
        return [{"role": "user", "content": items}]
    made: list[dict[str, Any]] = []
    for at, item in enumerate(items):
        kind, where = item.get("type", "message"), f"input[{at}]"
        if kind == "message":
            if "role" not in item:
                raise RequestError(f"{where}.role is missing.", param=f"{where}.role")
            made.append({"role": item["role"], "content": _content(item.get("content"), where)})
        elif kind == "function_call":
            if not made or made[-1]["role"] != "assistant":
                made.append({"role": "assistant", "content": None})
            function = {"name": item.get("name"), "arguments": item.get("arguments")}
            made[-1].setdefault("tool_calls", []).append({"id": item.get("call_id"), "function": function})
        elif kind == "function_call_output":
            output = item.get("output")
            known = output is None or isinstance(output, (str, list))
            content = _content(output, f"{where}.output") if known else json.dumps(output, ensure_ascii=False)
            made.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": content})
        elif kind != "reasoning":  # what was thought is the model's own
            raise UnsupportedError(
                f"{where}: this build cannot serve an item of type {kind!r}.",
                hint="Send messages, function calls and their outputs.",
                param=f"{where}.type",
            )
    return made


def _content(content: Any, where: str) -> Any:
    """The parts of a message as those of a chat message."""
    if not isinstance(content, list):
        return content
    made = []
    for at, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in ("input_text", "output_text", "text"):
            made.append({"type": "text", "text": part.get("text")})
        elif kind == "refusal":
            made.append({"type": "text", "text": part.get("refusal")})
        elif kind == "input_image" and part.get("image_url"):
            made.append({"type": "image_url", "image_url": {"url": part["image_url"]}})
        else:
            raise UnsupportedError(
                f"{where}.content[{at}]: this build cannot serve a part of type {kind!r}.",
                hint="Send text.",
                param=f"{where}.content[{at}]",
            )
    return made


def _tool(tool: dict[str, Any], where: str) -> dict[str, Any]:
    if tool.get("type") != "function" or not isinstance(tool.get("name"), str):
        raise UnsupportedError(
            f"{where}: this build cannot serve a tool of type {tool.get('type')!r}.",
            hint="Offer functions of your own; there are no built-in tools.",
            param=f"{where}.type",
        )
    keys = ("name", "description", "parameters", "strict")
    return {"type": "function", "function": {key: tool[key] for key in keys if tool.get(key) is not None}}
