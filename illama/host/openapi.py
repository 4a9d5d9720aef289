"""`GET /openapi.json`: both dialects described, made from the same types that requests are parsed with.

Knows: how a table of handlers becomes an OpenAPI document. Does not know: what any endpoint does.

Each handler says in `operations`, for each method, what it takes and answers; paths are those of the route table, and
summaries are the handlers' own first lines. So the document cannot be about anything else than what is served.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec

import illama
from illama.host.base import Handler
from illama.host.operations import JSON, LINES, PLAIN, Operation

_REF = "#/components/schemas/{name}"
_GROUP = re.compile(r"\([^()]*\)")
_METHODS = ("get", "head", "post", "delete")
# What may go wrong on every path, and what it means.
_FAILURES = {
    "4XX": "The request is at fault, or asks for what is not there: 400, 401, 403, 404, 405, 413.",
    "5XX": "The host or an engine failed (500, 502), is busy (503, with Retry-After), or cannot do this at all (501).",
}


@dataclass(frozen=True)
class Route:
    """A line of the route table: a regular expression, its handler, and the names of the expression's groups."""

    pattern: str
    handler: type[Handler]
    groups: Sequence[str] = ()

    @property
    def path(self) -> str:
        """The path with the groups' names in braces."""
        names = iter(self.groups)
        return _GROUP.sub(lambda _: "{" + next(names) + "}", self.pattern)


class OpenAIError(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The error object of OpenAI's API. `hint`, which is ours, says what to do next."""

    message: str
    type: str
    param: str | None
    code: str
    hint: str | msgspec.UnsetType = msgspec.UNSET


class OpenAIFailure(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Every error of `/v1`, and an event of a stream that failed."""

    error: OpenAIError


class OllamaFailure(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Every error of `/api`, and the last line of a stream that failed. All but `error` is ours.

    `job` and `status_code` come with a pull that failed.
    """

    error: str
    code: str
    hint: str | msgspec.UnsetType = msgspec.UNSET
    job: str | msgspec.UnsetType = msgspec.UNSET
    status_code: int | msgspec.UnsetType = msgspec.UNSET


class OpenApi(Handler):
    """`GET /openapi.json`: this description."""

    needs = "inference"
    operations: ClassVar = {"get": Operation(dict[str, Any])}

    def initialize(self, host: Any, page: Callable[[], bytes] | None = None) -> None:
        """Take what the route says."""
        super().initialize(host)
        assert page is not None, "the route says who makes the page"
        self._page = page

    async def get(self) -> None:
        """Answer from memory."""
        self.write(self._page())


def render(routes: Sequence[Route]) -> bytes:
    """The document as JSON."""
    return msgspec.json.encode(document(routes))


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of these routes."""
    operations = list(_operations(routes))
    types = [OpenAIFailure, OllamaFailure]
    for _, _, _, each in operations:
        types += [kind for kind in (each.answer, each.request, each.stream) if kind is not None]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    # The same type may occur often; types that are no classes, such as dict[str, int], are told apart by their place.
    known = iter(schemas)
    failures = {"v1": next(known), "api": next(known)}
    paths: dict[str, dict[str, Any]] = {}
    for route, path, method, each in operations:
        made: dict[str, Any] = {"summary": _summary(route.handler), "operationId": _operation_id(method, path)}
        if each.query:
            made["parameters"] = [
                {"name": name, "in": "query", "description": meaning, "schema": {"type": "string"}}
                for name, meaning in each.query.items()
            ]
        answer = next(known)
        if each.request is not None:
            made["requestBody"] = {"required": True, "content": {JSON: {"schema": next(known)}}}
        content = {PLAIN if each.plain else JSON: {"schema": answer}}
        failure = failures["api" if path.startswith("/api") else "v1"]
        if each.stream is not None:
            content[each.media] = {"schema": _streamed(each.media, next(known), failure)}
        made["responses"] = {
            "200": {"description": "The answer.", **({} if method == "head" else {"content": content})},
            **{status: _failed(text, failure, method) for status, text in _FAILURES.items()},
        }
        if route.handler.open_to_all:
            made["security"] = []
        described = paths.setdefault(path, {})
        if route.groups:
            described["parameters"] = [
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in route.groups
            ]
        described[method] = made
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "illama",
            "version": illama.__version__,
            "description": "OpenAI's API under /v1, Ollama's under /api; docs/api.md says where they differ.",
        },
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "The host's API key."}},
        },
    }


def _operations(routes: Sequence[Route]) -> Iterator[tuple[Route, str, str, Operation]]:
    for route in routes:
        for method in _METHODS:
            if method in route.handler.operations:
                yield route, route.path, method, route.handler.operations[method]


def _streamed(media: str, one: dict[str, Any], failure: dict[str, Any]) -> dict[str, Any]:
    """One line, or one event with JSON as its data; the last one may be a failure, and of events `[DONE]`."""
    either = {"anyOf": [one, failure]}
    if media == LINES:
        return either
    data = {"type": "string", "contentMediaType": JSON, "contentSchema": either}
    end = {"const": "[DONE]"}
    return {"type": "object", "properties": {"data": {"anyOf": [data, end]}}, "required": ["data"]}


def _failed(description: str, failure: dict[str, Any], method: str) -> dict[str, Any]:
    content = {} if method == "head" else {"content": {JSON: {"schema": failure}}}
    return {"description": description, **content}


def _summary(handler: type[Handler]) -> str:
    """The first line of the handler's description, without the path at its beginning."""
    line = (handler.__doc__ or "").strip().splitlines()[0]
    found = re.sub(r"^(`[A-Z]+ [^`]*`(, | and )?)+[:,]?\s*", "", line).rstrip(".")
    return found[:1].upper() + found[1:]


def _operation_id(method: str, path: str) -> str:
    words = re.findall(r"[a-z0-9]+", path.replace("{", "by_"))
    return "_".join([method, *words])
