"""`/openapi.json` against what the host really serves: every path, every request's field, every answer."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest
from support_host import RunningHost, events, fake_model, running_host

from illama.config import Settings
from illama.host import answers, answers_ollama, openapi
from illama.host.app import Host
from illama.host.base import Handler

METHODS = ("get", "head", "post", "delete")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    home = tmp_path_factory.mktemp("home")
    fake_model(home, "A")
    with running_host(home) as running:
        yield running


@pytest.fixture(scope="module")
def document(host: RunningHost) -> dict[str, Any]:
    found: dict[str, Any] = host.http.get("/openapi.json").json()
    return found


@pytest.fixture
def handlers() -> list[type[Handler]]:
    """Every handler in the host's own route table."""
    return [route.handler for route in Host.table()]


def test_every_method_of_every_handler_says_what_it_takes_and_answers(handlers: list[type[Handler]]) -> None:
    for handler in handlers:
        has = {method for method in METHODS if inspect.iscoroutinefunction(getattr(handler, method))}
        has -= {method for method in METHODS if getattr(handler, method) is getattr(Handler, method)}
        assert has, handler
        assert set(handler.operations) == has, f"{handler.__qualname__}.operations describes other methods than it has"


def test_the_document_has_every_handler_of_the_table(document: dict[str, Any], handlers: list[type[Handler]]) -> None:
    described = sum(len(set(methods) & set(METHODS)) for methods in document["paths"].values())
    assert described == sum(len(handler.operations) for handler in handlers)
    assert {"/", "/v1/chat/completions", "/v1/completions", "/api/chat", "/api/blobs/{digest}"} <= set(
        document["paths"]
    )


def test_every_reference_leads_somewhere_and_every_operation_has_its_own_id(document: dict[str, Any]) -> None:
    def references(part: Any) -> Iterator[str]:
        if isinstance(part, dict):
            yield from (value for key, value in part.items() if key == "$ref")
            part = list(part.values())
        if isinstance(part, list):
            for each in part:
                yield from references(each)

    names = {reference.removeprefix("#/components/schemas/") for reference in references(document)}
    assert names == set(document["components"]["schemas"])
    ids = [
        each["operationId"] for methods in document["paths"].values() for key, each in methods.items() if key in METHODS
    ]
    assert len(ids) == len(set(ids))


def test_a_requests_fields_are_those_that_are_parsed(document: dict[str, Any]) -> None:
    body = document["paths"]["/v1/completions"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    found = document["components"]["schemas"][body["$ref"].rpartition("/")[2]]
    assert {"model", "prompt", "stop", "keep_alive"} <= set(found["properties"])
    assert found["required"] == ["model", "prompt"]


def test_the_document_needs_a_key_and_says_what_does_not(host: RunningHost, document: dict[str, Any]) -> None:
    assert httpx.get(f"{host.url}/openapi.json").status_code == 401
    for path, methods in document["paths"].items():
        free = {key for key, each in methods.items() if key in METHODS and each.get("security") == []}
        for method in free:
            assert httpx.request(method, host.url + path).status_code == 200
        assert bool(free) == (path in ("/", "/health"))


def test_the_document_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(openapi, "render", lambda routes: made.append(len(routes)) or b"{}")
    application = Host(Settings.load(), None, on_demand=True).application()
    rules = [rule for group in application.default_router.rules for rule in group.target.rules]
    (rule,) = [rule for rule in rules if rule.target is openapi.OpenApi]
    assert made == []
    assert rule.target_kwargs["page"]() is rule.target_kwargs["page"]()
    assert len(made) == 1


ASK = {"model": "A", "messages": [{"role": "user", "content": "Hello there"}]}
LOOK = {"model": "A", "prompt": "Hello there"}


@pytest.mark.parametrize(
    ("method", "path", "body", "kind"),
    [
        ("GET", "/v1/models", None, answers.Models),
        ("GET", "/v1/models/A", None, answers.Model),
        ("POST", "/v1/chat/completions", ASK, answers.ChatCompletion),
        ("POST", "/v1/chat/completions", {**ASK, "logprobs": True, "n": 2}, answers.ChatCompletion),
        ("POST", "/v1/completions", {**LOOK, "logprobs": 1}, answers.TextCompletion),
        ("GET", "/api/version", None, answers_ollama.Version),
        ("GET", "/api/tags", None, answers_ollama.Tags),
        ("GET", "/api/ps", None, answers_ollama.Ps),
        ("POST", "/api/show", {"model": "A"}, answers_ollama.Shown),
        ("POST", "/api/generate", {**LOOK, "stream": False}, answers_ollama.Generated),
        ("POST", "/api/chat", {**ASK, "stream": False}, answers_ollama.Chatted),
        ("GET", "/v1/models/B", None, openapi.OpenAIFailure),
        ("POST", "/v1/chat/completions", {"model": "A"}, openapi.OpenAIFailure),
        ("GET", "/nothing", None, openapi.OpenAIFailure),
        ("POST", "/api/show", {"model": "B"}, openapi.OllamaFailure),
        ("POST", "/api/push", {}, openapi.OllamaFailure),
        ("GET", "/api/nothing", None, openapi.OllamaFailure),
        ("GET", "/api/generate", None, openapi.OllamaFailure),
    ],
)
def test_an_answer_is_of_the_type_that_is_published(
    host: RunningHost, method: str, path: str, body: Any, kind: type
) -> None:
    response = host.http.request(method, path, json=body)
    msgspec.json.decode(response.content, type=kind)


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        (
            "/v1/chat/completions",
            {**ASK, "logprobs": True, "stream_options": {"include_usage": True}},
            answers.ChatChunk,
        ),
        ("/v1/completions", {**LOOK, "logprobs": 1, "stream_options": {"include_usage": True}}, answers.TextCompletion),
    ],
)
def test_every_event_of_a_stream_is_of_the_type_that_is_published(
    host: RunningHost, path: str, body: Any, kind: type
) -> None:
    with host.http.stream("POST", path, json={**body, "stream": True}) as response:
        frames = list(events(response))
    assert len(frames) >= 3
    for frame in frames:
        msgspec.convert(frame, kind)
