"""LiteLLM, by its OpenAI-compatible and its Ollama providers."""

from __future__ import annotations

import json

import litellm
import pytest
from conftest import CITY, QUESTION, WEATHER, Target

TOOL = {"type": "function", "function": WEATHER}
MESSAGES = [{"role": "user", "content": QUESTION}]


def openai_way(target: Target) -> dict[str, object]:
    return {"model": f"openai/{target.chat}", "api_base": target.v1, "api_key": target.key}


def ollama_way(target: Target) -> dict[str, object]:
    return {"model": f"ollama_chat/{target.chat}", "api_base": target.url, "api_key": target.key}


@pytest.fixture(params=[openai_way, ollama_way])
def way(request: pytest.FixtureRequest, real: Target) -> dict[str, object]:
    return {**request.param(real), "temperature": 0, "num_retries": 0}


def test_whole(way: dict[str, object]) -> None:
    answer = litellm.completion(**way, messages=MESSAGES, max_tokens=24)
    assert "Paris" in answer.choices[0].message.content
    assert answer.usage.completion_tokens > 0


def test_streamed(way: dict[str, object]) -> None:
    pieces = list(litellm.completion(**way, messages=MESSAGES, max_tokens=24, stream=True))
    assert "Paris" in "".join(piece.choices[0].delta.content or "" for piece in pieces)


def test_structured(way: dict[str, object]) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "city", "strict": True, "schema": CITY}}
    answer = litellm.completion(**way, messages=MESSAGES, response_format=wanted, max_tokens=100)
    assert set(json.loads(answer.choices[0].message.content)) == {"name", "capital"}


def test_a_required_tool(real: Target) -> None:
    more = {"tools": [TOOL], "tool_choice": "required", "max_tokens": 100}
    (call,) = litellm.completion(**openai_way(real), messages=MESSAGES, **more).choices[0].message.tool_calls
    assert json.loads(call.function.arguments)["city"] in {"Paris", "Rome"}


@pytest.mark.parametrize("made", [openai_way, ollama_way])
def test_a_tool_that_the_model_chooses(made: type, caller: Target) -> None:
    answer = litellm.completion(**made(caller), messages=MESSAGES, tools=[TOOL])
    (call,) = answer.choices[0].message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "Paris"})


def test_embeddings(real: Target) -> None:
    # Its Ollama provider sends no key with embeddings.
    way = {"model": f"openai/{real.embed}", "api_base": real.v1, "api_key": real.key}
    data = litellm.embedding(**way, input=["a cat", "a kitten", "a bank"], encoding_format="float").data
    cat, kitten, bank = (each["embedding"] for each in data)
    assert sum(a * b for a, b in zip(cat, kitten, strict=True)) > sum(a * b for a, b in zip(cat, bank, strict=True))


def test_an_overflow_is_known_as_one(way: dict[str, object]) -> None:
    # Its Ollama provider knows a bad request, but no kinds of it.
    kind = litellm.BadRequestError if "ollama" in str(way["model"]) else litellm.ContextWindowExceededError
    with pytest.raises(kind, match="maximum context length"):
        litellm.completion(**way, messages=[{"role": "user", "content": "word " * 20000}])
