"""Shapes of answers: from a Python type to the JSON schema that guides the model, and from its text back to that type.

Knows: pydantic's models (if the user has pydantic), dataclasses, TypedDicts and whatever else msgspec knows, JSON
schemas. Does not know: the wire, the engine.
"""

from __future__ import annotations

import json
import sys
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from illama.errors import AnswerError, RequestError

_ANY = {"type": "json_object"}
_SHOWN = 300


@dataclass(frozen=True)
class Shape:
    """What an answer is to be: OpenAI's `response_format`, a name for messages, and how JSON text becomes the value."""

    response_format: dict[str, Any]
    name: str
    convert: Callable[[str], Any] = field(repr=False)

    def value(self, text: str, finish_reason: str | None) -> Any:
        """The value that an answer holds. Raises AnswerError if it was cut short or does not fit."""
        if finish_reason == "length":
            raise AnswerError(
                f"The answer was cut at its limit of tokens, so it is no whole {self.name}.",
                hint="Allow a longer one (-n, max_tokens), or bound the lengths in the schema.",
            )
        if finish_reason == "cancelled":
            raise AnswerError(f"The answer was stopped, so it is no whole {self.name}.", hint="Ask again.")
        try:
            return self.convert(text)
        except (ValueError, TypeError) as problem:
            reason = " ".join(str(problem).split())
            raise AnswerError(
                f"The answer is no {self.name}: {reason[:_SHOWN]}",
                hint="Ask again, with other words or another seed; what a schema cannot say, say in the question.",
            ) from None


def shape_of(wanted: Any) -> Shape | None:
    """The shape for a `response_format`: "json", a type, a JSON schema or OpenAI's object; None for plain text.

    Raises RequestError for what is none of these, or is a type that has no JSON schema.
    """
    if wanted is None or (isinstance(wanted, Mapping) and wanted.get("type") == "text"):
        return None
    if isinstance(wanted, str):
        if wanted != "json":
            raise _unusable(f"response_format is {wanted!r}.")
        return Shape(_ANY, "JSON object", json.loads)
    if isinstance(wanted, Mapping):
        if wanted.get("type") in {"json_object", "json_schema"}:
            return Shape(dict(wanted), "JSON of that schema", json.loads)
        return _shape("JSON of that schema", dict(wanted), json.loads)
    if hasattr(wanted, "model_json_schema"):
        return _shape(wanted.__name__, wanted.model_json_schema(), wanted.model_validate_json)
    if isinstance(wanted, type) or typing.get_origin(wanted) is not None:
        return _of_type(wanted)
    raise _unusable(f"response_format is of type {type(wanted).__name__}.")


def _of_type(wanted: Any) -> Shape:
    import msgspec

    name = getattr(wanted, "__name__", None) or str(wanted)
    try:
        if not hasattr(wanted, "__pydantic_validator__"):  # a dataclass of pydantic's has rules that only it knows
            return _shape(
                name, msgspec.json.schema(wanted), lambda text: msgspec.json.decode(text.encode(), type=wanted)
            )
    except TypeError as problem:
        reason = str(problem).splitlines()[0]
    else:
        reason = "it is pydantic's"
    # Types that hold pydantic's models are pydantic's to describe. Who has none has not imported it.
    pydantic = sys.modules.get("pydantic")
    if pydantic is not None:
        try:
            adapter = pydantic.TypeAdapter(wanted)
            if adapter.json_schema():  # what says nothing could not guide anything
                return _shape(name, adapter.json_schema(), adapter.validate_json)
        except Exception as problem:  # noqa: BLE001 - pydantic's errors for types it does not know have many classes
            reason = str(problem).splitlines()[0]
    raise _unusable(f"{name} cannot be made a JSON schema: {reason}")


def _shape(name: str, schema: Mapping[str, Any], convert: Callable[[str], Any]) -> Shape:
    wrapped = {"name": "answer", "schema": dict(schema), "strict": True}
    return Shape({"type": "json_schema", "json_schema": wrapped}, name, convert)


def _unusable(message: str) -> RequestError:
    return RequestError(
        message,
        hint='Give "json", a pydantic class, a dataclass, a TypedDict, a JSON schema as a dict, or OpenAI\'s object.',
        param="response_format",
    )
