"""An answer: whole, or as it grows out of a stream's frames.

Knows: OpenAI's answers and chunks, event streams. Does not know: connections; it is fed lines and gives text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from illama.client.shapes import Shape
from illama.errors import HostError, IllamaError, from_wire

_SAMPLING = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "max_tokens",
    "max_completion_tokens",
    "stop",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "no_repeat_ngram_size",
    "min_tokens",
)


@dataclass(frozen=True, repr=False)
class Reply:
    """A model's answer. `str(reply)` is its text; in a notebook it shows as Markdown.

    `finish_reason` is "stop", "length", "tool_calls", "content_filter", "cancelled" for a stream that was closed, and
    None while it runs. `usage` counts tokens as OpenAI does; `timings` are the host's, in milliseconds and tokens per
    second. `message` is the assistant's message, ready to be sent back as history; `request` is what was asked.
    `origin` is the model's source with its revision, its recipe and its digest: with `request`, what it takes to run
    the same again.
    """

    text: str
    model: str
    finish_reason: str | None
    usage: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, Any] = field(default_factory=dict)
    id: str = ""
    message: dict[str, Any] = field(default_factory=dict)
    request: dict[str, Any] = field(default_factory=dict)
    origin: dict[str, Any] = field(default_factory=dict)
    shape: Shape | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return self.text

    @cached_property
    def parsed(self) -> Any:
        """The value of an answer that was asked for in a shape (`response_format`); None for plain text.

        An instance of the type that was given; for a JSON schema, JSON's own types. Raises AnswerError if the answer
        was cut short or does not fit.
        """
        return self.shape.value(self.text, self.finish_reason) if self.shape else None

    @property
    def reasoning(self) -> str:
        """What the model thought before it answered; empty for models that don't."""
        return self.message.get("reasoning_content") or ""

    @property
    def tool_calls(self) -> list[dict[str, Any]]:
        """The calls of tools that the model asks for, as OpenAI has them."""
        return list(self.message.get("tool_calls") or ())

    @property
    def sampling(self) -> dict[str, Any]:
        """The sampling that was asked for; the rest is the model's own."""
        return {name: self.request[name] for name in _SAMPLING if self.request.get(name) is not None}

    @property
    def seed(self) -> int | None:
        """The seed that was asked for."""
        seed = self.request.get("seed")
        return seed if isinstance(seed, int) else None

    def __repr__(self) -> str:
        from illama.notebook import replies

        return replies.plain(self)

    def _ipython_display_(self) -> None:
        # As Markdown, which front ends would pass over for the HTML that is there for those who know no Markdown.
        from IPython.display import display

        display({"text/markdown": self._repr_markdown_(), "text/plain": repr(self)}, raw=True)

    def _repr_markdown_(self) -> str:
        from illama.notebook import replies

        return replies.markdown(self)

    def _repr_html_(self) -> str:
        from illama.notebook import replies

        return replies.as_html(self)

    @classmethod
    def of(cls, answer: Mapping[str, Any], request: dict[str, Any], shape: Shape | None = None) -> Reply:
        """The reply that a whole (not streamed) answer holds. Raises HostError if it is not one."""
        try:
            choice = answer["choices"][0]
            message = dict(choice["message"])
        except (KeyError, IndexError, TypeError, ValueError):
            raise not_an_answer() from None
        return cls(
            text=message.get("content") or "",
            model=answer.get("model") or "",
            finish_reason=choice.get("finish_reason"),
            usage=answer.get("usage") or {},
            timings=answer.get("timings") or {},
            id=answer.get("id") or "",
            message=message,
            request=request,
            origin=answer.get("origin") or {},
            shape=shape,
        )


class Growing:
    """An answer that grows: feed it the event stream's lines, get the text that each adds.

    After the last line call `end()`: a stream that broke off must never pass for a short answer.
    """

    def __init__(self, request: dict[str, Any], shape: Shape | None = None) -> None:
        self.request = request
        self._shape = shape
        self.thoughts: list[str] = []
        self.notes: list[str] = []
        self.done = False
        self._pieces: list[str] = []
        self._data: list[str] = []
        self._calls: dict[int, dict[str, Any]] = {}
        self._head: dict[str, Any] = {
            "usage": {},
            "timings": {},
            "id": "",
            "origin": {},
            "model": request.get("model") or "",
        }
        self._finish_reason: str | None = None

    def feed(self, line: str) -> str:
        """Take one line, without its end. Returns the text that came with it, often none. Raises what the host says."""
        if line.startswith(":"):
            note = line[1:].strip()
            if note and note != "ping":
                self.notes.append(note)
            return ""
        if line.startswith("data:"):
            self._data.append(line[5:].removeprefix(" "))
            return ""
        # An event may have several data lines; the empty line ends it. Other fields (event, id) say nothing here.
        return self._event() if not line and self._data else ""

    def end(self) -> None:
        """The stream has ended. Raises HostError if the answer has not."""
        if self._data:
            self._event()
        if not self.done and self._finish_reason is None:
            raise broke_off()
        self.done = True

    def reply(self, *, cancelled: bool = False) -> Reply:
        """What has come so far; the whole answer once it is done."""
        text = "".join(self._pieces)
        calls = [self._calls[index] for index in sorted(self._calls)]
        message: dict[str, Any] = {"role": "assistant", "content": text or (None if calls else "")}
        if calls:
            message["tool_calls"] = calls
        if self.thoughts:
            message["reasoning_content"] = "".join(self.thoughts)
        reason = self._finish_reason or ("cancelled" if cancelled and not self.done else None)
        return Reply(
            text=text, finish_reason=reason, message=message, request=self.request, shape=self._shape, **self._head
        )

    def _event(self) -> str:
        data, self._data = "\n".join(self._data), []
        if data.strip() == "[DONE]":
            self.done = True
            return ""
        try:
            frame = json.loads(data)
        except ValueError:
            raise not_an_answer() from None
        if not isinstance(frame, dict):
            raise not_an_answer()
        if frame.get("error"):
            raise framed(frame)
        self._head.update({name: frame[name] for name in self._head if frame.get(name)})
        # Of several answers (`n`) the first is what a stream of text can show.
        first: dict[str, Any] = {}
        choice = next((one for one in frame.get("choices") or () if not one.get("index")), first)
        delta = choice.get("delta") or {}
        self._finish_reason = choice.get("finish_reason") or self._finish_reason
        for call in delta.get("tool_calls") or []:
            self._add_call(call)
        if delta.get("reasoning_content"):
            self.thoughts.append(delta["reasoning_content"])
        text: str = delta.get("content") or ""
        if text:
            self._pieces.append(text)
        return text

    def _add_call(self, part: dict[str, Any]) -> None:
        """Id, type and name come once for each call, its arguments in pieces of text."""
        call = self._calls.setdefault(
            part.get("index") or 0, {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
        )
        call["id"] = part.get("id") or call["id"]
        function = part.get("function") or {}
        call["function"]["name"] = function.get("name") or call["function"]["name"]
        call["function"]["arguments"] += function.get("arguments") or ""


def framed(body: dict[str, Any]) -> IllamaError:
    """The error inside of a stream, whose own status was sent before there was one."""
    error = from_wire(500, body)
    error.status = type(error).status
    return error


def broke_off() -> HostError:
    """The error for an answer whose end never came."""
    return HostError(
        "The connection to the host broke off in the middle of an answer.",
        hint="Ask again: if the host has ended, the next call starts a new one. Its log says why.",
    )


def not_an_answer() -> HostError:
    """The error for an answer that is not of this API."""
    return HostError(
        "What answered is not a model host, or not one that this client understands.",
        hint="Check the URL: `illama env` shows ILLAMA_BASE_URL, and where its value came from.",
    )
