"""The Responses API with OpenAI's own client, and the fake engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import openai
import pydantic
import pytest
from support_host import RunningHost, events, eventually, fake_model, running_host

from illama.host.events_responses import ResponseEvent

HERMES = "{% for tool in tools %}<tool_call>{% endfor %}{{ message.tool_calls }}{% if message.role == 'tool' %}<think>"
WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "description": "Tells the weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": True,
}
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>'


class Answer(pydantic.BaseModel):
    city: str
    warm: bool


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    home = tmp_path_factory.mktemp("home")
    fake_model(home, "plain")
    fake_model(home, "hermes", chat_template=HERMES)
    with running_host(home) as running:
        yield running


@pytest.fixture(scope="module")
def client(host: RunningHost) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{host.url}/v1", api_key=host.key, max_retries=0) as made:
        yield made


def says(text: str, **more: Any) -> str:
    return f"/fake {json.dumps({'text': text, **more})} x"


def told(client: openai.OpenAI, model: str = "plain", **body: Any) -> dict[str, Any]:
    """What the engine was told."""
    found: dict[str, Any] = json.loads(client.responses.create(model=model, **body).output_text)
    return found


def test_a_text_is_answered_whole(client: openai.OpenAI) -> None:
    response = client.responses.create(model="plain", input="Hello there", metadata={"a": "b"})
    assert (response.output_text, response.status, response.object) == ("Hello there", "completed", "response")
    assert response.output[0].type == "message"
    assert response.usage is not None
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    assert response.store is False
    assert response.metadata == {"a": "b"}


def test_an_answer_is_streamed_by_the_official_events_in_their_order(client: openai.OpenAI) -> None:
    events = list(client.responses.create(model="plain", input="Grüße 世界 😀 " * 5, stream=True))
    kinds = [event.type for event in events]
    unique = [kind for at, kind in enumerate(kinds) if at == 0 or kinds[at - 1] != kind]
    assert unique == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == text == "Grüße 世界 😀 " * 5


def test_reasoning_and_a_call_are_items_of_their_own(client: openai.OpenAI) -> None:
    text = says(f"<think>Hm.</think>Let me see.\n{CALL}\n{CALL}", step_sec=0.002)
    whole = client.responses.create(model="hermes", input=text, tools=[WEATHER])
    with client.responses.stream(model="hermes", input=text, tools=[WEATHER]) as stream:
        kinds = {event.type for event in stream}
        streamed = stream.get_final_response()
    assert {
        "response.reasoning_text.delta",
        "response.reasoning_text.done",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
    } <= kinds
    for response in (whole, streamed):
        assert [item.type for item in response.output] == ["reasoning", "message", "function_call", "function_call"]
        assert response.output_text == "Let me see."
        call = response.output[2]
        assert call.type == "function_call"
        assert (call.name, call.arguments, call.status) == ("weather", '{"city": "Paris"}', "completed")
        assert call.call_id.startswith("call_")
        assert len({item.id for item in response.output}) == 4


def test_a_call_and_its_output_are_history(client: openai.OpenAI) -> None:
    first = client.responses.create(model="hermes", input=says(f"<think>Hm.</think>{CALL}"), tools=[WEATHER])
    call = next(item for item in first.output if item.type == "function_call")
    items: list[Any] = [
        {"role": "user", "content": "How is the weather?"},
        *[item.model_dump() for item in first.output],
        {"type": "function_call_output", "call_id": call.call_id, "output": "8 degrees"},
        {"role": "user", "content": [{"type": "input_text", "text": '/fake {"echo": true} x'}]},
    ]
    messages = told(client, "hermes", input=items, instructions="Be kind.")["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "tool", "user"]
    assert messages[2]["tool_calls"][0]["id"] == messages[3]["tool_call_id"] == call.call_id
    assert messages[3]["content"] == "8 degrees"


def test_an_answer_is_parsed_into_a_class(client: openai.OpenAI) -> None:
    response = client.responses.parse(model="plain", input=says('{"city": "Paris", "warm": true}'), text_format=Answer)
    assert response.output_parsed == Answer(city="Paris", warm=True)
    structured = told(client, input='/fake {"echo": true} x', text={"format": {"type": "json_object"}})["structured"]
    assert structured["grammar"]


def test_options_reach_the_engine(client: openai.OpenAI) -> None:
    message = told(
        client,
        input='/fake {"echo": true} x',
        max_output_tokens=500,
        temperature=0.5,
        reasoning={"effort": "low"},
        extra_body={"seed": 7},
    )
    assert message["sampling"] == {"temperature": 0.5, "seed": 7, "max_tokens": 500}
    assert message["template"]["reasoning_effort"] == "low"


def test_a_required_call_is_guided(client: openai.OpenAI) -> None:
    text = says('{"name": "weather", "arguments": {"city": "Paris"}}')
    response = client.responses.create(
        model="plain", input=text, tools=[WEATHER], tool_choice={"type": "function", "name": "weather"}
    )
    assert [item.type for item in response.output] == ["function_call"]


def test_an_answer_cut_by_the_limit_is_incomplete(client: openai.OpenAI) -> None:
    response = client.responses.create(model="plain", input="Hello there, world", max_output_tokens=2)
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    *_, last = client.responses.create(model="plain", input="Hello there, world", max_output_tokens=2, stream=True)
    assert last.type == "response.incomplete"


def test_a_failure_in_a_stream_is_an_event(client: openai.OpenAI) -> None:
    body = {"header_wait": 0}
    *_, last = client.responses.create(model="plain", input='/fake {"drop": true} x', stream=True, extra_body=body)
    assert last.type == "response.failed"
    assert last.response.error is not None
    assert last.response.error.code == "engine_error"


def test_log_probabilities_come_if_they_are_asked_for(client: openai.OpenAI) -> None:
    response = client.responses.create(model="plain", input="Hello there", include=["message.output_text.logprobs"])
    (item,) = response.output
    assert item.type == "message"
    part = item.content[0]
    assert part.type == "output_text"
    assert part.logprobs is not None
    assert "".join(one.token for one in part.logprobs) == "Hello there"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"input": []}, "input"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        ({"input": [{"content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0]"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"top_logprobs": 5}, "top_logprobs"),
        ({"input": [5]}, "input[0]"),
    ],
)
def test_what_cannot_be_is_refused_by_name(host: RunningHost, body: dict[str, Any], param: str) -> None:
    refused = host.http.post("/v1/responses", json={"model": "plain", "input": "x", **body})
    assert refused.status_code == 400, refused.text
    assert refused.json()["error"]["param"] == param


def test_what_clients_leave_on_is_no_error(host: RunningHost) -> None:
    usual = {"store": True, "truncation": "auto", "service_tier": "auto", "include": ["reasoning.encrypted_content"]}
    nulls = dict.fromkeys(["previous_response_id", "tools", "text", "reasoning", "instructions", "temperature"])
    answer = host.http.post("/v1/responses", json={"model": "plain", "input": "x", **usual, **nulls})
    assert answer.status_code == 200


def test_who_leaves_frees_the_device(host: RunningHost) -> None:
    body = {"model": "plain", "input": says("again ", tokens=4000, step_sec=0.01), "stream": True}
    with host.http.stream("POST", "/v1/responses", json=body) as response:
        lines = response.iter_lines()
        while "output_text.delta" not in next(lines):
            pass
    eventually(lambda: next(m for m in host.ps() if m["name"] == "plain")["running"] == 0, "the answer is dropped")


def test_an_unknown_model_is_a_404(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="nobody", input="x")


def test_a_response_that_is_asked_for_later_is_not_there(host: RunningHost) -> None:
    answer: httpx.Response = host.http.get("/v1/responses/resp_1")
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("text", "more", "last"),
    [
        ("Grüße 世界", {}, "completed"),
        ("Grüße 世界", {"include": ["message.output_text.logprobs"]}, "completed"),
        (f"<think>Hm.</think>Let me see.\n{CALL}\n{CALL}", {"tools": [WEATHER]}, "completed"),
        ("Grüße 世界", {"max_output_tokens": 2}, "incomplete"),
        (CALL, {"tools": [WEATHER], "max_output_tokens": 12}, "failed"),
    ],
)
def test_every_event_is_of_a_type_that_is_published(
    host: RunningHost, text: str, more: dict[str, Any], last: str
) -> None:
    body = {"model": "hermes", "input": says(text), "stream": True, **more}
    with host.http.stream("POST", "/v1/responses", json=body) as response:
        frames = list(events(response))
    for frame in frames:
        msgspec.convert(frame, ResponseEvent)
    assert frames[-1]["type"] == f"response.{last}"
