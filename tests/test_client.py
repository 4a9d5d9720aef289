"""The client against a transport that plays the host."""

from __future__ import annotations

import json

import httpx
import pytest

import illama
from illama.client import AsyncClient, Client, Reply
from illama.client.wire import Lines, choose
from illama.config import Settings
from illama.errors import (
    AuthError,
    EngineDiedError,
    HostBusyError,
    HostError,
    IllamaError,
    ModelNotFoundError,
    PullError,
    RequestError,
)
from illama.transport import is_loopback, options

URL = "http://127.0.0.1:9"
ANSWER = {
    "id": "chatcmpl-1",
    "model": "SmolLM2",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Paris."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
    "timings": {"ttft_ms": 12.0, "device": "CPU"},
}


def chunk(text: str | None = None, *, finish: str | None = None, **more: object) -> str:
    delta = {} if text is None else {"content": text}
    frame = {"id": "chatcmpl-1", "model": "SmolLM2", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    return f"data: {json.dumps({**frame, **more}, ensure_ascii=False)}\n\n"


class Host:
    """Plays a host: answers from a table of (method, path), and remembers what was asked."""

    def __init__(self, table: dict[tuple[str, str], object]) -> None:
        self.table = table
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.table[request.method, request.url.path]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx.Response):
            return answer
        if isinstance(answer, str):
            return httpx.Response(200, content=answer.encode(), headers={"content-type": "text/event-stream"})
        return httpx.Response(200, json=answer)

    def body(self, index: int = -1) -> dict[str, object]:
        return json.loads(self.requests[index].content)


def client_of(host: Host, home: object) -> Client:
    settings = Settings.load({"ILLAMA_HOME": str(home)})
    return Client(URL, "the-key", settings=settings, transport=httpx.MockTransport(host))


def chatting(answer: object) -> Host:
    return Host({("POST", "/v1/chat/completions"): answer})


def test_an_answer_is_a_reply_that_prints_as_its_text(tmp_path):
    host = chatting(ANSWER)
    reply = client_of(host, tmp_path).chat("Capital of France?", model="SmolLM2", max_tokens=5, temperature=0)
    assert (str(reply), reply.text) == ("Paris.", "Paris.")
    assert reply._repr_markdown_().startswith("Paris.\n\n<small")
    assert (reply.finish_reason, reply.model, reply.id) == ("stop", "SmolLM2", "chatcmpl-1")
    assert reply.usage["completion_tokens"] == 2
    assert reply.timings["device"] == "CPU"
    assert reply.message == {"role": "assistant", "content": "Paris."}
    assert reply.request == host.body()
    assert host.requests[0].headers["authorization"] == "Bearer the-key"


def test_only_what_was_given_is_sent(tmp_path):
    host = chatting(ANSWER)
    client_of(host, tmp_path).chat("hi", model="m", system="Be brief.", seed=0, keep_alive="5m")
    assert host.body() == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}],
        "seed": 0,
        "keep_alive": "5m",
    }


def test_messages_are_sent_as_they_are_and_not_changed(tmp_path):
    host, history = chatting(ANSWER), [{"role": "user", "content": [{"type": "text", "text": "{braces}"}]}]
    client_of(host, tmp_path).chat(history, model="m", system="S")
    assert host.body()["messages"][1:] == history
    assert len(history) == 1


@pytest.mark.parametrize(
    ("wanted", "sent"),
    [
        ("json", {"type": "json_object"}),
        ({"type": "json_object"}, {"type": "json_object"}),
        (
            {"type": "object", "properties": {}},
            {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": {"type": "object", "properties": {}}, "strict": True},
            },
        ),
    ],
)
def test_a_format_is_json_a_schema_or_openais_object(tmp_path, wanted, sent):
    host = chatting(ANSWER)
    client_of(host, tmp_path).chat("hi", model="m", response_format=wanted)
    assert host.body()["response_format"] == sent


def test_a_format_that_is_none_of_these_is_refused_before_anything_is_sent(tmp_path):
    host = chatting(ANSWER)
    with pytest.raises(RequestError, match="type int"):
        client_of(host, tmp_path).chat("hi", model="m", response_format=3)
    assert host.requests == []


def test_a_stream_gives_its_pieces_and_then_the_whole_reply(tmp_path):
    frames = chunk("") + chunk("Par") + chunk("is.") + chunk(finish="stop", usage={"total_tokens": 11})
    host = chatting(frames + "data: [DONE]\n\n")
    with client_of(host, tmp_path).stream("hi", model="m") as stream:
        assert list(stream) == ["Par", "is."]
        assert stream.reply.text == "Paris."
    assert (stream.reply.finish_reason, stream.reply.usage) == ("stop", {"total_tokens": 11})
    assert host.body()["stream"] is True
    assert host.body()["stream_options"] == {"include_usage": True}


def test_notes_are_told_as_they_come_and_pings_are_not(tmp_path):
    host = chatting(": ping\n\n: loading SmolLM2 …\n\n" + chunk("x", finish="stop") + "data: [DONE]\n\n")
    told: list[str] = []
    stream = client_of(host, tmp_path).stream("hi", model="m", on_note=told.append)
    assert list(stream) == ["x"]
    assert told == stream.notes == ["loading SmolLM2 …"]


def test_a_stream_that_breaks_off_is_an_error_and_never_a_short_answer(tmp_path):
    stream = client_of(chatting(chunk("Par")), tmp_path).stream("hi", model="m")
    with pytest.raises(HostError, match="broke off"):
        list(stream)
    assert stream.reply.text == "Par"
    assert stream.reply.finish_reason != "stop"


def test_a_stream_without_done_has_ended_if_it_gave_a_reason(tmp_path):
    assert list(client_of(chatting(chunk("x", finish="length")), tmp_path).stream("hi", model="m")) == ["x"]


def test_an_error_frame_is_raised_as_what_it_was(tmp_path):
    died = EngineDiedError("The engine ended.", hint="Ask again.")
    host = chatting(chunk("Par") + f"data: {json.dumps(died.to_openai())}\n\ndata: [DONE]\n\n")
    with pytest.raises(EngineDiedError) as caught:
        list(client_of(host, tmp_path).stream("hi", model="m"))
    assert (caught.value.message, caught.value.hint, caught.value.status) == ("The engine ended.", "Ask again.", 502)


def test_a_closed_stream_says_that_it_was_cancelled_and_keeps_its_text(tmp_path):
    stream = client_of(chatting(chunk("Par") + chunk("is.", finish="stop")), tmp_path).stream("hi", model="m")
    assert next(stream) == "Par"
    stream.close()
    assert (stream.reply.text, stream.reply.finish_reason) == ("Par", "cancelled")
    assert list(stream) == []


def test_nothing_is_sent_by_a_stream_that_nobody_reads(tmp_path):
    host = chatting("")
    client_of(host, tmp_path).stream("hi", model="m").close()
    assert host.requests == []


def test_tool_calls_are_put_together_from_their_pieces(tmp_path):
    def piece(**function: str) -> str:
        call = {"index": 0, "function": function, **({"id": "c1", "type": "function"} if "name" in function else {})}
        return "data: " + json.dumps({"choices": [{"delta": {"tool_calls": [call]}}]}) + "\n\n"

    host = chatting(piece(name="sum", arguments="") + piece(arguments='{"a":') + piece(arguments="1}"))
    host.table["POST", "/v1/chat/completions"] += chunk(finish="tool_calls") + "data: [DONE]\n\n"
    stream = client_of(host, tmp_path).stream("hi", model="m")
    assert list(stream) == []
    call = {"id": "c1", "type": "function", "function": {"name": "sum", "arguments": '{"a":1}'}}
    assert stream.reply.message == {"role": "assistant", "content": None, "tool_calls": [call]}


def test_lines_are_cut_at_the_line_feed_alone():
    text = "data: a\u2028b\x85c\r\n: note"
    lines = Lines()
    found = [line for byte in text.encode() for line in lines.feed(bytes([byte]))]
    assert [*found, *lines.end()] == ["data: a\u2028b\x85c", ": note"]


def test_an_event_may_have_several_data_lines(tmp_path):
    frame = chunk("x", finish="stop").removeprefix("data: ").strip()
    half = frame.index(",") + 1
    host = chatting(f"data: {frame[:half]}\ndata: {frame[half:]}\n\n")
    assert list(client_of(host, tmp_path).stream("hi", model="m")) == ["x"]


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (httpx.Response(401, json=AuthError("No such key.").to_openai()), AuthError),
        (httpx.Response(404, json=ModelNotFoundError("No model x.").to_openai()), ModelNotFoundError),
        (httpx.Response(503, json={"error": "busy"}, headers={"retry-after": "7"}), HostBusyError),
        (httpx.Response(500, text="<html>"), IllamaError),
        (httpx.Response(200, text="<html>"), HostError),
        (httpx.Response(200, json={"no": "choices"}), HostError),
    ],
)
def test_each_status_is_the_error_that_it_stands_for(tmp_path, response, kind):
    with pytest.raises(kind) as caught:
        client_of(chatting(response), tmp_path).chat("hi", model="m")
    assert type(caught.value) is kind
    assert caught.value.retry_after == (7 if response.status_code == 503 else None)


def test_a_named_host_that_cannot_be_reached_is_an_error_that_names_the_variable(tmp_path):
    host = chatting(httpx.ConnectError("refused"))
    with pytest.raises(HostError) as caught:
        client_of(host, tmp_path).chat("hi", model="m")
    assert URL in caught.value.message
    assert "ILLAMA_BASE_URL" in caught.value.hint
    assert len(host.requests) == 1


def test_a_connection_that_breaks_before_the_answer_is_not_tried_again(tmp_path):
    host = chatting(httpx.RemoteProtocolError("disconnected"))
    with pytest.raises(HostError, match="broke off"):
        client_of(host, tmp_path).chat("hi", model="m")
    assert len(host.requests) == 1


def test_the_managing_calls_speak_ollamas_dialect(tmp_path):
    host = Host(
        {
            ("GET", "/api/version"): {"version": "0.1.0", "protocol": 1},
            ("GET", "/api/tags"): {"models": [{"name": "A"}]},
            ("GET", "/api/ps"): {"models": []},
            ("POST", "/api/show"): {"entry": {"name": "A"}},
            ("POST", "/api/generate"): {"done": True},
            ("DELETE", "/api/delete"): {"freed": 7},
        }
    )
    with client_of(host, tmp_path) as client:
        assert client.version()["protocol"] == 1
        assert client.list() == [{"name": "A"}]
        assert client.ps() == []
        assert client.show("A")["entry"] == {"name": "A"}
        client.load("A", keep_alive=-1)
        assert host.body() == {"model": "A", "stream": False, "keep_alive": -1}
        client.unload("A", force=True)
        assert host.body() == {"model": "A", "stream": False, "keep_alive": 0, "force": True}
        assert client.delete("A") == 7
        assert host.body() == {"model": "A"}


def pulling(*lines: dict[str, object]) -> Host:
    return Host({("POST", "/api/pull"): "".join(json.dumps(line) + "\n" for line in lines)})


def test_a_pull_gives_its_progress_and_ends_with_success(tmp_path):
    steps = [{"status": "downloading", "phase": "download", "completed": 1, "total": 2}, {"status": "success"}]
    host = pulling(*steps)
    assert list(client_of(host, tmp_path).pull("smollm2", device="CPU")) == steps
    body = host.body()
    assert body.pop("watcher")
    assert body == {"model": "smollm2", "device": "CPU", "stream": True}


def test_a_pull_that_fails_raises_what_its_last_line_says(tmp_path):
    error = {"error": "No space left. Free some.", "code": "pull_failed", "hint": "Free some.", "status_code": 507}
    with pytest.raises(PullError) as caught:
        list(client_of(pulling({"status": "downloading"}, error), tmp_path).pull("x"))
    assert (caught.value.message, caught.value.hint, caught.value.status) == ("No space left.", "Free some.", 507)


def test_a_pull_that_breaks_off_is_an_error(tmp_path):
    with pytest.raises(HostError, match="broke off"):
        list(client_of(pulling({"status": "downloading"}), tmp_path).pull("x"))


def test_the_model_that_is_meant_is_the_loaded_one_then_the_only_one_then_the_latest():
    old, new = {"name": "old", "modified_at": "2026-01-01"}, {"name": "new", "modified_at": "2026-02-01"}
    assert choose([{"name": "old", "state": "ready"}], [old, new]) == "old"
    assert choose([{"name": "old"}, {"name": "new"}], [old, new]) == "new"
    assert choose([{"name": "new", "state": "unloading"}], [old]) == "old"
    assert choose([], [old, {**new, "task": "embedding"}]) == "old"
    with pytest.raises(ModelNotFoundError) as caught:
        choose([], [])
    assert "illama pull smollm2" in caught.value.hint


def test_the_default_model_is_asked_for_where_none_is_named(tmp_path):
    tables = {("GET", "/api/ps"): {"models": []}, ("GET", "/api/tags"): {"models": [{"name": "only"}]}}
    host = Host({**tables, ("POST", "/v1/chat/completions"): ANSWER})
    client_of(host, tmp_path).chat("hi")
    assert host.body()["model"] == "only"


def test_a_base_url_may_end_in_v1(tmp_path):
    client = Client(URL + "/v1/", "k", settings=Settings.load({"ILLAMA_HOME": str(tmp_path)}))
    assert client.base_url == URL
    variables = {"ILLAMA_HOME": str(tmp_path), "ILLAMA_BASE_URL": URL + "/v1", "ILLAMA_API_KEY": "theirs"}
    named = Client(settings=Settings.load(variables))
    assert (named.base_url, named.api_key) == (URL, "theirs")


def test_proxies_of_the_environment_are_asked_for_a_named_host_elsewhere_alone():
    assert [is_loopback(f"http://{n}:1") for n in ("127.0.0.1", "[::1]", "localhost", "10.0.0.1", "a.example")] == [
        True,
        True,
        True,
        False,
        False,
    ]
    assert options(URL, named=True)["trust_env"] is False
    assert options("http://10.0.0.1:1", named=False)["trust_env"] is False
    assert options("https://gpu.example", named=True)["trust_env"] is True
    assert "verify" not in options("https://gpu.example", named=True)


def test_the_module_function_uses_one_default_client(tmp_path, monkeypatch):
    monkeypatch.setenv("ILLAMA_HOME", str(tmp_path))
    monkeypatch.setattr("illama.client.sync._default", client_of(chatting(ANSWER), tmp_path))
    assert isinstance(illama.chat("hi", model="m"), Reply)


def async_client_of(host: Host, home: object) -> AsyncClient:
    settings = Settings.load({"ILLAMA_HOME": str(home)})
    return AsyncClient(URL, "the-key", settings=settings, transport=httpx.MockTransport(host))


@pytest.mark.anyio
async def test_the_async_client_answers_streams_and_pulls_alike(tmp_path):
    host = Host({**chatting(ANSWER).table, **pulling({"status": "success", "name": "A"}).table})
    async with async_client_of(host, tmp_path) as client:
        assert str(await client.chat("hi", model="m")) == "Paris."
        assert [step async for step in client.pull("a")] == [{"status": "success", "name": "A"}]
        host.table["POST", "/v1/chat/completions"] = chunk("Par") + chunk("is.", finish="stop") + "data: [DONE]\n\n"
        async with client.stream("hi", model="m") as stream:
            assert [piece async for piece in stream] == ["Par", "is."]
        assert stream.reply.text == "Paris."


@pytest.mark.anyio
async def test_an_async_stream_that_breaks_off_is_an_error(tmp_path):
    async with async_client_of(chatting(chunk("Par")), tmp_path) as client:
        with pytest.raises(HostError, match="broke off"):
            [piece async for piece in client.stream("hi", model="m")]


@pytest.mark.anyio
async def test_a_closed_async_stream_keeps_its_text(tmp_path):
    async with async_client_of(chatting(chunk("Par") + chunk("is.", finish="stop")), tmp_path) as client:
        stream = client.stream("hi", model="m")
        assert await stream.__anext__() == "Par"
        await stream.close()
        assert (stream.reply.text, stream.reply.finish_reason) == ("Par", "cancelled")
        assert [piece async for piece in stream] == []


@pytest.mark.anyio
async def test_the_async_client_raises_what_the_status_says(tmp_path):
    response = httpx.Response(404, json=ModelNotFoundError("No model x.").to_openai())
    async with async_client_of(chatting(response), tmp_path) as client:
        with pytest.raises(ModelNotFoundError):
            await client.chat("hi", model="x")
