"""What an answer's text must look like: OpenAI's `response_format`, and the fields by which other servers say it.

Knows: those fields, and what guides an engine. Does not know: grammars' insides, tools.
"""

from __future__ import annotations

import json
import re
from typing import Any, Literal

import msgspec

from illama.errors import RequestError
from illama.host.json_grammar import grammar_of
from illama.host.schema_sampling import Sampled


class JsonSchema(msgspec.Struct):
    """A named schema, as `response_format` holds it."""

    schema: dict[str, Any] | bool | None = None
    name: str | None = None
    strict: bool | None = None


class ResponseFormat(msgspec.Struct):
    """What the answer's text must look like. llama.cpp's `json_object` may hold a schema at once."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None
    schema: dict[str, Any] | None = None


class StructuredOutputs(msgspec.Struct):
    """vLLM's field for what guides an answer; one of them."""

    json: dict[str, Any] | str | None = None
    regex: str | None = None
    choice: list[str] | None = None
    grammar: str | None = None


class Guided(Sampled, kw_only=True):
    """The fields of a request that guide its answer. At most one may be there.

    `guided_*` and `structured_outputs` are vLLM's, `grammar` and `json_schema` llama.cpp's. Grammars are EBNF as
    llama.cpp writes it (`root ::= ...`).
    """

    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    guided_json: dict[str, Any] | str | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None
    regex: str | None = None
    grammar: str | None = None
    json_schema: dict[str, Any] | None = None


def structured(request: Guided) -> dict[str, str] | None:
    """What guides the answer, for the engine: one of json_schema, regex, grammar, and the `param` that says so.

    None for plain text. Raises RequestError for a missing schema, or more than one guide.
    """
    inner = request.structured_outputs or StructuredOutputs()
    given: list[tuple[str, str, Any]] = [
        ("response_format", "format", _format(request.response_format)),
        ("structured_outputs.json", "json", inner.json),
        ("structured_outputs.regex", "regex", inner.regex),
        ("structured_outputs.choice", "choice", inner.choice),
        ("structured_outputs.grammar", "grammar", inner.grammar),
        ("guided_json", "json", request.guided_json),
        ("guided_regex", "regex", request.guided_regex),
        ("guided_choice", "choice", request.guided_choice),
        ("guided_grammar", "grammar", request.guided_grammar),
        ("regex", "regex", request.regex),
        ("grammar", "grammar", request.grammar),
        ("json_schema", "json", request.json_schema),
    ]
    found = [(param, kind, value) for param, kind, value in given if value is not None and value != ""]
    if not found:
        return None
    if len(found) > 1:
        names = " and ".join(param for param, _, _ in found)
        raise RequestError(f"{names} both guide the answer.", hint="Leave one of them.", param=found[1][0])
    param, kind, value = found[0]
    if kind == "choice":
        kind, value = "regex", "|".join(f"({re.escape(text)})" for text in value)
    if kind in ("json", "format"):
        kind, value = "json_schema", value if isinstance(value, str) else json.dumps(value)
    return {kind: value, "param": param}


def compact(structured: dict[str, str]) -> dict[str, str]:
    """The same, with a schema turned into a grammar of compact JSON, if it can be."""
    grammar = grammar_of(structured["json_schema"]) if "json_schema" in structured else None
    return {"grammar": grammar, "param": structured.get("param", "response_format")} if grammar else structured


def _format(wanted: ResponseFormat | None) -> Any:
    """The schema that a `response_format` wants; None for plain text."""
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return wanted.schema if wanted.schema is not None else {"type": "object"}
    schema = wanted.json_schema.schema if wanted.json_schema else None
    if schema is None:
        raise RequestError(
            "response_format is json_schema without a schema.",
            hint="Put it at response_format.json_schema.schema.",
            param="response_format.json_schema.schema",
        )
    return schema
