"""The events by which a stream of `POST /v1/responses` tells of a response, as they are published.

Knows: each event's name and fields. Does not know: their order, or what they are made of (`answers_responses` does).
"""

from __future__ import annotations

from typing import Any

from illama.host.answers import Answer
from illama.host.answers_responses import Response


class _Event(Answer, kw_only=True, tag_field="type"):
    sequence_number: int


class _OfResponse(_Event, kw_only=True):
    response: Response


class _OfItem(_Event, kw_only=True):
    output_index: int
    item: dict[str, Any]


class _InItem(_Event, kw_only=True):
    item_id: str
    output_index: int


class _InPart(_InItem, kw_only=True):
    content_index: int


class Created(_OfResponse, kw_only=True, tag="response.created"):
    """The response, before there is any output."""


class InProgress(_OfResponse, kw_only=True, tag="response.in_progress"):
    """The same, as it begins to grow."""


class Completed(_OfResponse, kw_only=True, tag="response.completed"):
    """The whole response."""


class Incomplete(_OfResponse, kw_only=True, tag="response.incomplete"):
    """The response as far as it came until its limit."""


class Failed(_OfResponse, kw_only=True, tag="response.failed"):
    """The response as far as it came, with its error."""


class ItemAdded(_OfItem, kw_only=True, tag="response.output_item.added"):
    """A message, a reasoning or a call begins."""


class ItemDone(_OfItem, kw_only=True, tag="response.output_item.done"):
    """It is whole."""


class PartAdded(_InPart, kw_only=True, tag="response.content_part.added"):
    """A part of an item begins."""

    part: dict[str, Any]


class PartDone(_InPart, kw_only=True, tag="response.content_part.done"):
    """It is whole."""

    part: dict[str, Any]


class TextDelta(_InPart, kw_only=True, tag="response.output_text.delta"):
    """A piece of the answer's text."""

    delta: str
    logprobs: list[dict[str, Any]]


class TextDone(_InPart, kw_only=True, tag="response.output_text.done"):
    """The answer's text."""

    text: str
    logprobs: list[dict[str, Any]]


class ReasoningDelta(_InPart, kw_only=True, tag="response.reasoning_text.delta"):
    """A piece of the reasoning."""

    delta: str


class ReasoningDone(_InPart, kw_only=True, tag="response.reasoning_text.done"):
    """The reasoning."""

    text: str


class ArgumentsDelta(_InItem, kw_only=True, tag="response.function_call_arguments.delta"):
    """A piece of a call's arguments."""

    delta: str


class ArgumentsDone(_InItem, kw_only=True, tag="response.function_call_arguments.done"):
    """A call's arguments."""

    name: str
    arguments: str


ResponseEvent = (
    Created
    | InProgress
    | Completed
    | Incomplete
    | Failed
    | ItemAdded
    | ItemDone
    | PartAdded
    | PartDone
    | TextDelta
    | TextDone
    | ReasoningDelta
    | ReasoningDone
    | ArgumentsDelta
    | ArgumentsDone
)
