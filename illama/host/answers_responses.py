"""Builds what `POST /v1/responses` answers: the response, and the events that it grows by.

Knows: OpenAI's response object, its items, and the order of its events. Does not know: HTTP, models.
"""

from __future__ import annotations

import time
import uuid
from typing import Any, Literal

import msgspec

from illama.errors import IllamaError
from illama.host.answers import Answer, Timings
from illama.host.schema_responses import ResponsesRequest
from illama.host.turn import CallArguments, CallBegins, Collected, Event, Finish, Text, Thought, Turn


class Response(Answer, kw_only=True):
    """`POST /v1/responses`, whole."""

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["in_progress", "completed", "incomplete", "failed"]
    model: str
    output: list[dict[str, Any]]
    error: dict[str, Any] | None
    incomplete_details: dict[str, Any] | None
    instructions: str | None
    metadata: dict[str, Any]
    tools: list[dict[str, Any]]
    tool_choice: Any
    parallel_tool_calls: bool
    temperature: float | None
    top_p: float | None
    max_output_tokens: int | None
    text: dict[str, Any]
    reasoning: dict[str, Any]
    truncation: Literal["disabled"]
    previous_response_id: None
    store: bool
    background: bool
    usage: dict[str, Any] | None
    timings: Timings | msgspec.UnsetType = msgspec.UNSET


class Growing:
    """A response while it grows. Each method returns the events that tell of it, as bytes."""

    def __init__(self, request: ResponsesRequest, model: str) -> None:
        self._number = 0
        self._logprobs = bool(request.top_logprobs) or "message.output_text.logprobs" in (request.include or ())
        self._item: dict[str, Any] | None = None  # the last of the output, while it grows
        self._finish = "stop"
        form = request.text.format if request.text else None
        self.response: dict[str, Any] = {
            "id": _id("resp"),
            "object": "response",
            "created_at": int(time.time()),
            "status": "in_progress",
            "model": model,
            "output": [],
            "error": None,
            "incomplete_details": None,
            "instructions": request.instructions,
            "metadata": request.metadata or {},
            "tools": request.tools or [],
            "tool_choice": request.tool_choice or "auto",
            "parallel_tool_calls": request.parallel_tool_calls is not False,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "max_output_tokens": request.max_output_tokens,
            "text": {"format": msgspec.to_builtins(form) if form else {"type": "text"}},
            "reasoning": {"effort": request.reasoning.effort if request.reasoning else None, "summary": None},
            "truncation": "disabled",
            "previous_response_id": None,
            "store": False,  # whatever was asked for: nothing is kept
            "background": False,
            "usage": None,
        }

    def opening(self, turn: Turn) -> bytes:
        """The events before there is any output, once the engine has accepted the request."""
        self._honest(turn)
        return self._event("response.created", response=self.response) + self._event(
            "response.in_progress", response=self.response
        )

    def add(self, event: Event) -> bytes:
        """An event of the turn."""
        if isinstance(event, Text):
            return self._text(event)
        if isinstance(event, Thought):
            return self._thought(event)
        if isinstance(event, CallBegins):
            call = {"type": "function_call", "call_id": event.id, "name": event.name, "arguments": ""}
            return self._begin({"id": _id("fc"), **call, "status": "in_progress"})
        if isinstance(event, CallArguments):
            assert self._item is not None, "a call begins before its arguments"
            self._item["arguments"] += event.text
            return self._of_item("response.function_call_arguments.delta", delta=event.text)
        self._finish = event.reason
        return b""

    def ending(self, turn: Turn) -> bytes:
        """The events at the end."""
        frames = b"" if self.response["output"] else self._text(Text(""))
        cut = self._finish == "length"
        frames += self._end("incomplete" if cut else "completed")
        self.response["status"] = "incomplete" if cut else "completed"
        self.response["incomplete_details"] = {"reason": "max_output_tokens"} if cut else None
        usage = turn.usage()
        self.response["usage"] = {
            "input_tokens": usage["prompt_tokens"],
            "input_tokens_details": {"cached_tokens": usage["cached_tokens"]},
            "output_tokens": usage["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage["prompt_tokens"] + usage["completion_tokens"],
        }
        self.response["timings"] = turn.timings()
        return frames + self._event(f"response.{self.response['status']}", response=self.response)

    def failing(self, error: IllamaError) -> bytes:
        """The event of a response that failed after it had begun."""
        self.response["status"] = "failed"
        self.response["error"] = {"code": error.code, "message": error.one_line()}
        return self._event("response.failed", response=self.response)

    def whole(self, turn: Turn, answer: Collected) -> dict[str, Any]:
        """The response of an answer that is not streamed: the same object, of the same events."""
        self._honest(turn)
        if answer.thought:
            self.add(Thought(answer.thought))
        if answer.text or answer.logprobs:
            self.add(Text(answer.text, answer.logprobs))
        for at, call in enumerate(answer.calls):
            self.add(CallBegins(at, call["id"], call["name"]))
            self.add(CallArguments(at, call["arguments"]))
        self.add(Finish(answer.reason))
        self.ending(turn)
        return self.response

    def _honest(self, turn: Turn) -> None:
        """Tools come back as they were sent, but none is called strict that is not."""
        if turn.unguided:
            tools = self.response["tools"]
            self.response["tools"] = [{**tool, "strict": False} if tool.get("strict") else tool for tool in tools]

    def _text(self, event: Text) -> bytes:
        frames = b""
        if self._item is None or self._item["type"] != "message":
            frames += self._begin(
                {"id": _id("msg"), "type": "message", "role": "assistant", "status": "in_progress", "content": []}
            )
            frames += self._part({"type": "output_text", "text": "", "annotations": [], "logprobs": []})
        assert self._item is not None, "it has just begun"
        logprobs = _logprobs(event) if self._logprobs else []
        part = self._item["content"][0]
        part["text"] += event.text
        part["logprobs"] += logprobs
        if not event.text and not logprobs:
            return frames
        return frames + self._of_item(
            "response.output_text.delta", content_index=0, delta=event.text, logprobs=logprobs
        )

    def _thought(self, event: Thought) -> bytes:
        frames = b""
        if self._item is None or self._item["type"] != "reasoning":
            frames += self._begin(
                {"id": _id("rs"), "type": "reasoning", "summary": [], "content": [], "status": "in_progress"}
            )
            frames += self._part({"type": "reasoning_text", "text": ""})
        assert self._item is not None, "it has just begun"
        self._item["content"][0]["text"] += event.text
        return frames + self._of_item("response.reasoning_text.delta", content_index=0, delta=event.text)

    def _begin(self, item: dict[str, Any]) -> bytes:
        frames = self._end("completed")
        self.response["output"].append(item)
        self._item = item
        return frames + self._event("response.output_item.added", output_index=self._place, item=item)

    def _part(self, part: dict[str, Any]) -> bytes:
        assert self._item is not None, "an item begins before its parts"
        frames = self._of_item("response.content_part.added", content_index=0, part=part)
        self._item["content"].append(part)
        return frames

    def _end(self, status: str) -> bytes:
        """End the item that grows, if there is one."""
        item = self._item
        if item is None:
            return b""
        frames = b""
        if item["type"] == "function_call":
            frames += self._of_item(
                "response.function_call_arguments.done", name=item["name"], arguments=item["arguments"]
            )
        else:
            (part,) = item["content"]
            logprobs = {"logprobs": part["logprobs"]} if "logprobs" in part else {}
            kind = f"response.{part['type']}.done"
            frames += self._of_item(kind, content_index=0, text=part["text"], **logprobs)
            frames += self._of_item("response.content_part.done", content_index=0, part=part)
        item["status"] = status
        frames += self._event("response.output_item.done", output_index=self._place, item=item)
        self._item = None
        return frames

    @property
    def _place(self) -> int:
        return len(self.response["output"]) - 1

    def _of_item(self, kind: str, **more: Any) -> bytes:
        assert self._item is not None, "it is about the item that grows"
        return self._event(kind, item_id=self._item["id"], output_index=self._place, **more)

    def _event(self, kind: str, **more: Any) -> bytes:
        body = {"type": kind, "sequence_number": self._number, **more}
        self._number += 1
        return f"event: {kind}\ndata: ".encode() + msgspec.json.encode(body) + b"\n\n"


def _id(kind: str) -> str:
    return f"{kind}_{uuid.uuid4().hex}"


def _logprobs(event: Text) -> list[dict[str, Any]]:
    return [
        {"token": token, "logprob": value, "bytes": list(token.encode()), "top_logprobs": []}
        for token, value in event.logprobs
    ]
