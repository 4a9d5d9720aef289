"""The official `ollama` package."""

from __future__ import annotations

import json

import ollama
import pytest
from conftest import CITY, QUESTION, WEATHER, Target

TOOL = {"type": "function", "function": WEATHER}
SHORT = {"temperature": 0, "num_predict": 24}
MESSAGES = [{"role": "user", "content": QUESTION}]


@pytest.fixture(scope="module")
def client(real: Target) -> ollama.Client:
    return ollama.Client(real.url, headers=real.headers)


def test_whole(client: ollama.Client, real: Target) -> None:
    answer = client.chat(real.chat, MESSAGES, options=SHORT)
    assert "Paris" in answer.message.content
    assert answer.done
    assert answer.eval_count > 0
    assert answer.total_duration >= answer.eval_duration > 0
    assert "Paris" in client.generate(real.chat, QUESTION, options=SHORT).response


def test_streamed(client: ollama.Client, real: Target) -> None:
    pieces = list(client.chat(real.chat, MESSAGES, options=SHORT, stream=True))
    assert "Paris" in "".join(piece.message.content for piece in pieces)
    assert [piece.done for piece in pieces].index(True) == len(pieces) - 1
    assert "Paris" in "".join(
        piece.response for piece in client.generate(real.chat, QUESTION, options=SHORT, stream=True)
    )


def test_raw(client: ollama.Client, real: Target) -> None:
    assert "Paris" in client.generate(real.chat, "The capital of France is", raw=True, options=SHORT).response


def test_structured(client: ollama.Client, real: Target) -> None:
    answer = client.chat(real.chat, MESSAGES, format=CITY, options={"num_predict": 100})
    assert set(json.loads(answer.message.content)) == {"name", "capital"}


def test_a_tool_and_its_result(caller: Target) -> None:
    client = ollama.Client(caller.url, headers=caller.headers)
    answer = client.chat(caller.chat, MESSAGES, tools=[TOOL])
    (call,) = answer.message.tool_calls
    assert (call.function.name, call.function.arguments) == ("weather", {"city": "Paris"})
    said = [*MESSAGES, answer.message, {"role": "tool", "tool_name": "weather", "content": "20 degrees"}]
    assert client.chat(caller.chat, said, tools=[TOOL]).done
    pieces = list(client.chat(caller.chat, MESSAGES, tools=[TOOL], stream=True))
    assert [c.function.name for piece in pieces for c in piece.message.tool_calls or []] == ["weather"]


def test_offered_tools_break_nothing(client: ollama.Client, real: Target) -> None:
    assert "Paris" in client.chat(real.chat, MESSAGES, tools=[TOOL], options=SHORT).message.content


def test_embeddings(client: ollama.Client, real: Target) -> None:
    cat, kitten, bank = client.embed(real.embed, ["a cat", "a kitten", "a bank"]).embeddings
    assert sum(a * b for a, b in zip(cat, kitten, strict=True)) > sum(a * b for a, b in zip(cat, bank, strict=True))
    assert len(client.embeddings(real.embed, "a cat").embedding) == len(cat)


def test_models(client: ollama.Client, real: Target) -> None:
    assert real.chat in {model.model for model in client.list().models}
    shown = client.show(real.chat)
    assert "completion" in shown.capabilities
    assert "im_start" in shown.template
    assert shown.modelinfo["general.architecture"] == "llama"
    client.generate(real.chat, keep_alive="5m")
    loaded = {model.model: model for model in client.ps().models}[real.chat]
    assert loaded.expires_at.tzinfo is not None
    assert client.generate(real.chat, keep_alive=0).done_reason == "unload"
    assert real.chat not in {model.model for model in client.ps().models}


def test_errors_are_the_packages_own(client: ollama.Client) -> None:
    for call in (client.show, lambda name: client.chat(name, MESSAGES), lambda name: client.generate(name, "x")):
        with pytest.raises(ollama.ResponseError, match="not found") as caught:
            call("nobody")
        assert caught.value.status_code == 404
    with pytest.raises(ollama.ResponseError) as caught:
        client.push("nobody")
    assert caught.value.status_code == 501
