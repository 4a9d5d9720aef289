"""The official `openai` package."""

from __future__ import annotations

import json

import openai
import pytest
from conftest import CITY, QUESTION, WEATHER, Target
from pydantic import BaseModel, Field

TOOL = {"type": "function", "function": WEATHER}


class City(BaseModel):
    name: str = Field(max_length=20)
    capital: bool


@pytest.fixture(scope="module")
def client(real: Target) -> openai.OpenAI:
    return openai.OpenAI(base_url=real.v1, api_key=real.key, max_retries=0)


def ask(text: str = QUESTION) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_whole(client: openai.OpenAI, real: Target) -> None:
    answer = client.chat.completions.create(model=real.chat, messages=ask(), temperature=0, max_tokens=24)
    assert "Paris" in answer.choices[0].message.content
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_streamed(client: openai.OpenAI, real: Target) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(
        client.chat.completions.create(model=real.chat, messages=ask(), temperature=0, max_tokens=24, **options)
    )
    assert "Paris" in "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert chunks[-1].usage.completion_tokens > 0


def test_streamed_by_the_helper(client: openai.OpenAI, real: Target) -> None:
    with client.chat.completions.stream(model=real.chat, messages=ask(), temperature=0, max_tokens=24) as stream:
        final = stream.get_final_completion()
    assert "Paris" in final.choices[0].message.content


def test_structured(client: openai.OpenAI, real: Target) -> None:
    answer = client.chat.completions.parse(model=real.chat, messages=ask(), response_format=City, max_tokens=100)
    assert isinstance(answer.choices[0].message.parsed, City)


def test_structured_by_a_schema(client: openai.OpenAI, real: Target) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "city", "strict": True, "schema": CITY}}
    answer = client.chat.completions.create(model=real.chat, messages=ask(), response_format=wanted, max_tokens=100)
    assert set(json.loads(answer.choices[0].message.content)) == {"name", "capital"}


def test_a_required_tool(client: openai.OpenAI, real: Target) -> None:
    more = {"tools": [TOOL], "tool_choice": "required", "max_tokens": 100}
    answer = client.chat.completions.create(model=real.chat, messages=ask("Weather in Paris?"), **more)
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls
    assert json.loads(call.function.arguments)["city"] in {"Paris", "Rome"}
    # Its result goes back with the message as the package has it, nulls and all.
    said = [
        *ask("Weather in Paris?"),
        choice.message,
        {"role": "tool", "tool_call_id": call.id, "content": "20 degrees"},
    ]
    last = client.chat.completions.create(model=real.chat, messages=said, tools=[TOOL], max_tokens=24)
    assert last.choices[0].message.content


def test_a_streamed_tool_call(client: openai.OpenAI, real: Target) -> None:
    choice = {"type": "function", "function": {"name": "weather"}}
    more = {"tools": [TOOL], "tool_choice": choice, "max_tokens": 100, "stream": True}
    name, arguments = "", ""
    for chunk in client.chat.completions.create(model=real.chat, messages=ask("Weather in Paris?"), **more):
        for call in (chunk.choices[0].delta.tool_calls or []) if chunk.choices else []:
            name += call.function.name or ""
            arguments += call.function.arguments or ""
    assert name == "weather"
    assert json.loads(arguments)["city"] in {"Paris", "Rome"}


def test_offered_tools_break_nothing(client: openai.OpenAI, real: Target) -> None:
    answer = client.chat.completions.create(model=real.chat, messages=ask(), tools=[TOOL], temperature=0, max_tokens=24)
    assert "Paris" in answer.choices[0].message.content


def test_completions(client: openai.OpenAI, real: Target) -> None:
    answer = client.completions.create(model=real.chat, prompt="The capital of France is", temperature=0, max_tokens=8)
    assert "Paris" in answer.choices[0].text


def test_responses(client: openai.OpenAI, real: Target) -> None:
    answer = client.responses.create(model=real.chat, input=QUESTION, temperature=0, max_output_tokens=24)
    assert "Paris" in answer.output_text
    kinds = [
        event.type
        for event in client.responses.create(model=real.chat, input=QUESTION, stream=True, max_output_tokens=24)
    ]
    assert kinds[0] == "response.created"
    assert kinds[-1] in ("response.completed", "response.incomplete")


def test_embeddings(client: openai.OpenAI, real: Target) -> None:
    vectors = client.embeddings.create(model=real.embed, input=["a cat", "a kitten", "a bank"]).data
    cat, kitten, bank = (each.embedding for each in vectors)
    assert dot(cat, kitten) > dot(cat, bank)


def dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_models(client: openai.OpenAI, real: Target) -> None:
    assert real.chat in {model.id for model in client.models.list()}
    assert client.models.retrieve(real.chat).id == real.chat


def test_errors_are_the_packages_own(client: openai.OpenAI, real: Target) -> None:
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="nobody", messages=ask())
    with pytest.raises(openai.BadRequestError, match="maximum context length"):
        client.chat.completions.create(model=real.chat, messages=ask("word " * 20000))
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=real.v1, api_key="wrong", max_retries=0).models.list()
