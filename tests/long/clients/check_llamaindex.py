"""LlamaIndex: `OpenAILike`, `Ollama`, `OpenAILikeEmbedding`."""

from __future__ import annotations

import json

import pytest
from conftest import QUESTION, WEATHER, Target
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.ollama import Ollama
from llama_index.llms.openai_like import OpenAILike
from ollama import Client
from pydantic import BaseModel, Field

MESSAGES = [ChatMessage(role="user", content=QUESTION)]


class City(BaseModel):
    """A city."""

    name: str = Field(max_length=20)
    capital: bool


def weather(city: str) -> str:
    """The weather in a city."""
    return f"20 degrees in {city}"


def openai_way(target: Target) -> OpenAILike:
    known = {"is_chat_model": True, "is_function_calling_model": True, "context_window": 8192, "max_retries": 0}
    return OpenAILike(model=target.chat, api_base=target.v1, api_key=target.key, temperature=0, max_tokens=100, **known)


def ollama_way(target: Target) -> Ollama:
    client = Client(target.url, headers=target.headers)
    more = {"num_predict": 100}
    return Ollama(model=target.chat, client=client, temperature=0, context_window=8192, additional_kwargs=more)


@pytest.fixture(params=[openai_way, ollama_way])
def model(request: pytest.FixtureRequest, real: Target) -> OpenAILike | Ollama:
    return request.param(real)


def test_whole(model: OpenAILike | Ollama) -> None:
    assert "Paris" in model.chat(MESSAGES).message.content
    assert model.complete(QUESTION).text


def test_streamed(model: OpenAILike | Ollama) -> None:
    assert "Paris" in "".join(piece.delta or "" for piece in model.stream_chat(MESSAGES))


def test_structured(real: Target) -> None:
    for made in (openai_way, ollama_way):
        model = made(real)
        model.__dict__["should_use_structured_outputs"] = True
        found = model.as_structured_llm(City).complete(QUESTION)
        assert set(json.loads(found.text)) == {"name", "capital"}


@pytest.mark.parametrize("made", [openai_way, ollama_way])
def test_a_tool_that_the_model_chooses(made: type, caller: Target) -> None:
    tool = FunctionTool.from_defaults(weather, name=WEATHER["name"])
    model = made(caller)
    (call,) = model.get_tool_calls_from_response(model.chat_with_tools([tool], user_msg=QUESTION))
    assert (call.tool_name, call.tool_kwargs) == ("weather", {"city": "Paris"})


def test_embeddings(real: Target) -> None:
    model = OpenAILikeEmbedding(model_name=real.embed, api_base=real.v1, api_key=real.key)
    cat, kitten, bank = model.get_text_embedding_batch(["a cat", "a kitten", "a bank"])
    assert sum(a * b for a, b in zip(cat, kitten, strict=True)) > sum(a * b for a, b in zip(cat, bank, strict=True))
