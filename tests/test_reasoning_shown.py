"""Reasoning, from the fake engine to who asked: Python and the terminal."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator

import pytest
from support_host import RunningHost, fake_model, running_host

from illama.cli.run import answer
from illama.client import AsyncClient, Client

TEXT = "<think>\nHm, 6 \x1b[31mtimes 7.\n</think>\n\nIt is 42."
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    home = tmp_path_factory.mktemp("home")
    fake_model(home, "thinks", chat_template="<think>{{ tools }}<tool_call>")
    with running_host(home) as running:
        yield running


@pytest.fixture
def client(host: RunningHost) -> Iterator[Client]:
    with Client(host.url, host.key) as made:
        yield made


def test_the_pieces_of_reasoning_are_told_beside_those_of_the_answer(client: Client) -> None:
    thoughts: list[str] = []
    stream = client.stream(TEXT, model="thinks", on_thought=thoughts.append)
    assert "".join(stream) == "It is 42."
    assert "".join(thoughts) == stream.reply.reasoning == "Hm, 6 \x1b[31mtimes 7."
    assert client.chat(TEXT, model="thinks").reasoning == stream.reply.reasoning


@pytest.mark.anyio
async def test_the_asynchronous_client_tells_them_too(host: RunningHost) -> None:
    thoughts: list[str] = []
    async with AsyncClient(host.url, host.key) as client:
        stream = client.stream(TEXT, model="thinks", on_thought=thoughts.append)
        assert "".join([piece async for piece in stream]) == "It is 42."
    assert "".join(thoughts) == "Hm, 6 \x1b[31mtimes 7."


def test_of_several_answers_a_stream_shows_the_first(client: Client) -> None:
    assert "".join(client.stream("Hello there", model="thinks", n=3)) == "Hello there"


def test_calls_of_tools_come_with_the_reply(client: Client) -> None:
    call = '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>'
    whole = client.chat(call, model="thinks", tools=[WEATHER])
    stream = client.stream(call, model="thinks", tools=[WEATHER])
    assert list(stream) == []
    for reply in (whole, stream.reply):
        assert reply.tool_calls[0]["function"] == {"name": "weather", "arguments": '{"city": "Paris"}'}
        assert reply.finish_reason == "tool_calls"


def test_a_terminal_shows_the_reasoning_dimmed_and_obeys_nothing_in_it(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    answer(client, TEXT, model="thinks")
    shown = screen.getvalue()
    assert shown.endswith("\n\nIt is 42.\n")
    assert shown.startswith("\x1b[2m")
    assert shown.replace("\x1b[2m", "").replace("\x1b[22m", "") == "Hm, 6 [31mtimes 7.\n\nIt is 42.\n"


def test_what_is_piped_on_is_the_answer_alone(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stdout", pipe)
    answer(client, TEXT, model="thinks")
    assert pipe.getvalue() == "It is 42.\n"
