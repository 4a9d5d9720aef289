"""LangChain: `ChatOpenAI`, `OpenAIEmbeddings`, `ChatOllama`, `OllamaEmbeddings`."""

from __future__ import annotations

import pytest
from conftest import CITY, QUESTION, WEATHER, Target
from langchain_ollama import ChatOllama, OllamaEmbeddings
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

TOOL = {"type": "function", "function": WEATHER}


def openai_chat(target: Target, **more: object) -> ChatOpenAI:
    settings = {"temperature": 0, "max_tokens": 100, "max_retries": 0, **more}
    return ChatOpenAI(model=target.chat, base_url=target.v1, api_key=target.key, **settings)


def ollama_chat(target: Target, **more: object) -> ChatOllama:
    settings = {"temperature": 0, "num_predict": 100, **more}
    return ChatOllama(model=target.chat, base_url=target.url, client_kwargs={"headers": target.headers}, **settings)


@pytest.fixture(params=[openai_chat, ollama_chat])
def model(request: pytest.FixtureRequest, real: Target) -> ChatOpenAI | ChatOllama:
    return request.param(real)


def test_whole(model: ChatOpenAI | ChatOllama) -> None:
    answer = model.invoke(QUESTION)
    assert "Paris" in answer.text
    assert answer.usage_metadata["output_tokens"] > 0


def test_streamed(model: ChatOpenAI | ChatOllama) -> None:
    pieces = list(model.stream(QUESTION))
    assert len(pieces) > 3
    assert "Paris" in "".join(piece.text for piece in pieces)


@pytest.mark.anyio
async def test_streamed_asynchronously(model: ChatOpenAI | ChatOllama) -> None:
    assert "Paris" in "".join([piece.text async for piece in model.astream(QUESTION)])


def test_structured(model: ChatOpenAI | ChatOllama) -> None:
    assert set(model.with_structured_output(CITY, method="json_schema").invoke(QUESTION)) == {"name", "capital"}


def test_a_required_tool(real: Target) -> None:
    answer = openai_chat(real).bind_tools([TOOL], tool_choice="any").invoke("Weather in Paris?")
    (call,) = answer.tool_calls
    assert call["name"] == "weather"
    assert call["args"]["city"] in {"Paris", "Rome"}


@pytest.mark.parametrize("made", [openai_chat, ollama_chat])
def test_a_tool_that_the_model_chooses(made: type, caller: Target) -> None:
    model = made(caller).bind_tools([TOOL])
    assert [(c["name"], c["args"]) for c in model.invoke(QUESTION).tool_calls] == [("weather", {"city": "Paris"})]
    whole = None
    for piece in model.stream(QUESTION):
        whole = piece if whole is None else whole + piece
    assert [(c["name"], c["args"]) for c in whole.tool_calls] == [("weather", {"city": "Paris"})]


def test_embeddings(real: Target) -> None:
    by_openai = OpenAIEmbeddings(model=real.embed, base_url=real.v1, api_key=real.key)
    by_ollama = OllamaEmbeddings(model=real.embed, base_url=real.url, client_kwargs={"headers": real.headers})
    # LangChain sends OpenAI's own token ids unless told otherwise: no other model knows those.
    by_openai.check_embedding_ctx_length = False
    for embeddings in (by_openai, by_ollama):
        cat, kitten, bank = embeddings.embed_documents(["a cat", "a kitten", "a bank"])
        assert sum(a * b for a, b in zip(cat, kitten, strict=True)) > sum(a * b for a, b in zip(cat, bank, strict=True))
        assert len(embeddings.embed_query("a cat")) == len(cat)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
