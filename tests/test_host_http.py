"""The host's HTTP, with the fake engine: who may ask, what is refused and how, what answers look like."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from support_host import RunningHost, events, eventually, fake_model, running_host, text_of

from illama.host.base import MAX_BODY

ASK = [{"role": "user", "content": "Hello there, world"}]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    home = tmp_path_factory.mktemp("home")
    fake_model(home, "A")
    fake_model(home, "Org-B:int8", slots=1)
    fake_model(home, "small", context_length=64)
    fake_model(home, "bad", load_error="the weights are cut")
    with running_host(home, ILLAMA_ORIGINS="https://good.example") as running:
        yield running


def post(host: RunningHost, **body: Any) -> httpx.Response:
    return host.http.post("/v1/chat/completions", json={"model": "A", "messages": ASK, **body})


def error(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    found: dict[str, Any] = response.json()["error"]
    assert {"message", "type", "param", "code"} <= found.keys()
    return found


# Who may ask.


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic abc", "Bearer", "Bearer ключ"])
@pytest.mark.parametrize("path", ["/v1/models", "/api/tags", "/v1/nothing", "/nothing"])
def test_without_the_key_there_is_nothing_to_see(host: RunningHost, path: str, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header.encode()}
    response = httpx.get(host.url + path, headers=headers)
    assert response.status_code == 401
    assert "key" in response.text
    assert host.key not in response.text


def test_a_wrong_key_is_told_in_each_dialect(host: RunningHost) -> None:
    assert error(httpx.post(f"{host.url}/v1/chat/completions", json={}), 401)["code"] == "invalid_api_key"
    assert isinstance(httpx.post(f"{host.url}/api/show", json={}).json()["error"], str)


def test_a_wrong_key_is_told_before_the_body_is_sent(host: RunningHost) -> None:
    name, port = host.url.removeprefix("http://").split(":")
    with socket.create_connection((name, int(port)), timeout=10) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {name}\r\nContent-Length: 50000000\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("path", ["/health", "/"])
def test_health_and_root_answer_without_a_key_and_tell_nothing(host: RunningHost, path: str) -> None:
    response = httpx.get(host.url + path)
    assert response.status_code == 200
    assert "A" not in response.text
    assert "Server" not in response.headers
    assert httpx.head(f"{host.url}/").status_code == 200


@pytest.mark.parametrize("name", ["evil.example", "localhost.evil.example", "10.0.0.1", ""])
def test_a_host_header_that_is_not_loopback_is_refused(host: RunningHost, name: str) -> None:
    response = host.http.get("/v1/models", headers={"Host": name})
    assert response.status_code in (400, 403)


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1:99", "[::1]:11434", "LOCALHOST"])
def test_every_name_of_loopback_is_taken(host: RunningHost, name: str) -> None:
    assert host.http.get("/v1/models", headers={"Host": name}).status_code == 200


def test_only_listed_origins_may_read_from_a_browser(host: RunningHost) -> None:
    allow = "Access-Control-Allow-Origin"
    good = host.http.options("/v1/models", headers={"Origin": "https://good.example"})
    assert good.status_code == 204
    assert good.headers[allow] == "https://good.example"
    assert allow not in host.http.get("/v1/models", headers={"Origin": "https://evil.example"}).headers


# What is refused.


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0]"),
        ({"model": 5}, "model"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"presence_penalty": -3}, "presence_penalty"),
        ({"stop": ["x"] * 17}, "stop"),
        ({"n": 129}, "n"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"logprobs": True, "top_logprobs": 5}, "top_logprobs"),
        ({"top_logprobs": 1}, "top_logprobs"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
        ({"keep_alive": "soon"}, "keep_alive"),
    ],
)
def test_a_field_at_fault_is_named(host: RunningHost, body: dict[str, Any], param: str) -> None:
    found = error(post(host, **body), 400)
    assert found["param"] == param
    assert param.split("[")[0].split(".")[0] in found["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"model": "A"', b"\xff\xfe", b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_refused(host: RunningHost, body: bytes) -> None:
    assert error(host.http.post("/v1/chat/completions", content=body), 400)["message"]
    assert host.http.post("/api/show", content=body).status_code == 400


def test_a_missing_field_is_named(host: RunningHost) -> None:
    assert error(host.http.post("/v1/chat/completions", json={"model": "A"}), 400)["param"] == "messages"


@pytest.mark.parametrize("name", ["nobody", "../A", "/etc/passwd", "a" * 5000, ""])
def test_an_unknown_model_is_a_404_that_says_what_to_do(host: RunningHost, name: str) -> None:
    found = error(post(host, model=name), 404)
    assert found["code"] == "model_not_found"
    assert found["param"] == "model"


def test_paths_and_methods_that_are_not_there_are_told_in_json(host: RunningHost) -> None:
    assert error(host.http.get("/v1/nothing"), 404)["message"]
    assert error(host.http.put("/v1/models"), 405)["message"]
    assert isinstance(host.http.get("/api/nothing").json()["error"], str)


def test_a_prompt_of_20_mb_is_refused_as_too_long_for_the_context(host: RunningHost) -> None:
    found = error(post(host, messages=[{"role": "user", "content": "word " * 4_000_000}]), 400)
    assert found["code"] == "context_length_exceeded"
    assert "maximum context length is 8192 tokens" in found["message"]


def test_a_prompt_longer_than_the_context_is_refused_before_the_stream_opens(host: RunningHost) -> None:
    found = error(post(host, model="small", stream=True, messages=[{"role": "user", "content": "x" * 256}]), 400)
    assert found["code"] == "context_length_exceeded"


def test_a_body_beyond_the_limit_is_refused_without_reading_it(host: RunningHost) -> None:
    name, port = host.url.removeprefix("http://").split(":")
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {name}\r\nAuthorization: Bearer {host.key}\r\n"
    with socket.create_connection((name, int(port)), timeout=10) as connection:
        connection.sendall(f"{head}Content-Length: {MAX_BODY + 1}\r\n\r\n".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("length", ["x", "1" * 5000, "3,5"])
def test_a_length_that_is_no_number_is_refused(host: RunningHost, length: str) -> None:
    name, port = host.url.removeprefix("http://").split(":")
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {name}\r\nAuthorization: Bearer {host.key}\r\n"
    with socket.create_connection((name, int(port)), timeout=10) as connection:
        connection.sendall(f"{head}Content-Length: {length}\r\n\r\n".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 400 ")


def test_a_chunked_body_beyond_the_limit_is_refused_too(host: RunningHost) -> None:
    def body() -> Iterator[bytes]:
        for _ in range(MAX_BODY // 2**20 + 2):
            yield b" " * 2**20

    try:
        status = host.http.post("/v1/chat/completions", content=body()).status_code
    except (httpx.WriteError, httpx.ReadError):
        status = 413  # the connection was closed while we were still sending
    assert status in (400, 413)
    assert host.http.get("/v1/models").status_code == 200


def test_a_model_that_cannot_be_loaded_says_why_with_a_real_status(host: RunningHost) -> None:
    for stream in (False, True):
        found = error(post(host, model="bad", stream=stream), 503)
        assert found["code"] == "model_load_failed"
        assert "the weights are cut" in found["message"]


def test_a_failure_after_the_stream_opened_is_a_frame(host: RunningHost) -> None:
    with host.stream("A", '/fake {"drop": true} x', header_wait=0) as response:
        assert response.status_code == 200
        body = response.read().decode()
    assert '"code":"engine_error"' in body
    assert body.endswith("data: [DONE]\n\n")


def test_a_request_that_the_engine_drops_is_an_error_and_never_an_empty_answer(host: RunningHost) -> None:
    assert error(post(host, messages=[{"role": "user", "content": '/fake {"drop": true} x'}]), 500)["code"]


# What answers look like.


def test_a_whole_answer_has_what_openai_says(host: RunningHost) -> None:
    body = post(host).json()
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["message"] == {"role": "assistant", "content": "Hello there, world", "refusal": None}
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + body["usage"]["completion_tokens"]
    assert body["timings"]["predicted_n"] == body["usage"]["completion_tokens"] == 5


def test_a_streamed_answer_is_the_whole_one_in_pieces(host: RunningHost) -> None:
    content = "Grüße 世界 😀 " * 20
    with host.stream("A", content, stream_options={"include_usage": True}) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        frames = list(events(response))
    assert text_of(frames) == content
    assert frames[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [f["choices"][0]["finish_reason"] for f in frames if f["choices"]][-1] == "stop"
    assert len({frame["id"] for frame in frames}) == len({frame["created"] for frame in frames}) == 1
    assert frames[-1]["choices"] == []
    assert frames[-1]["usage"]["completion_tokens"] == len(content.encode()) // 4


def test_an_answer_cut_by_the_limit_says_so(host: RunningHost) -> None:
    choice = post(host, max_tokens=2).json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("Hello th", "length")


def test_an_answer_without_a_limit_gets_the_documented_cap(host: RunningHost) -> None:
    answer = host.chat("A", '/fake {"tokens": 6000} x').json()
    assert answer["usage"]["completion_tokens"] == 4096
    assert answer["choices"][0]["finish_reason"] == "length"


def test_a_stop_string_ends_the_answer_and_is_not_part_of_it(host: RunningHost) -> None:
    for stream in (False, True):
        with (
            host.stream("A", "one two three", stop=[" three"])
            if stream
            else contextless(
                post(host, messages=[{"role": "user", "content": "one two three"}], stop=" three")
            ) as response
        ):
            if stream:
                frames = list(events(response))
                assert text_of(frames) == "one two"
            else:
                assert response.json()["choices"][0]["message"]["content"] == "one two"
                assert response.json()["choices"][0]["finish_reason"] == "stop"


class contextless:  # noqa: N801 - reads like contextlib's
    def __init__(self, response: httpx.Response) -> None:
        self.response = response

    def __enter__(self) -> httpx.Response:
        return self.response

    def __exit__(self, *_: object) -> None:
        pass


def test_logprobs_come_one_for_each_token(host: RunningHost) -> None:
    answer = post(host, logprobs=True).json()
    content = answer["choices"][0]["logprobs"]["content"]
    assert "".join(item["token"] for item in content) == "Hello there, world"
    assert content[0] == {"token": "Hell", "logprob": -0.5, "bytes": [72, 101, 108, 108], "top_logprobs": []}


def test_nulls_and_unknown_keys_and_offered_tools_change_nothing(host: RunningHost) -> None:
    nulls = dict.fromkeys(["temperature", "stop", "tools", "tool_choice", "n", "seed", "response_format", "logit_bias"])
    message = {"role": "user", "content": "Hello", "name": None, "tool_calls": None, "refusal": None, "audio": None}
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    for body in (
        {**nulls, "messages": [message]},
        {"user": "me", "store": True, "metadata": {"a": 1}},
        {"tools": tools},
    ):
        assert post(host, **body).status_code == 200


def test_text_parts_are_joined(host: RunningHost) -> None:
    parts = [{"type": "text", "text": "Hello "}, {"type": "text", "text": "you"}]
    answer = post(host, messages=[{"role": "user", "content": parts}]).json()
    assert answer["choices"][0]["message"]["content"] == "Hello you"


def test_models_are_listed_and_found_by_their_encoded_names(host: RunningHost) -> None:
    names = [model["id"] for model in host.http.get("/v1/models").json()["data"]]
    assert names == ["A", "bad", "Org-B:int8", "small"]
    assert host.http.get("/v1/models/Org-B%3Aint8").json()["id"] == "Org-B:int8"
    assert host.http.get("/v1/models/org-b:INT8").json()["id"] == "Org-B:int8"
    assert error(host.http.get("/v1/models/nope"), 404)["code"] == "model_not_found"


def test_version_tags_and_show_tell_what_ollamas_clients_ask(host: RunningHost) -> None:
    assert host.http.get("/api/version").json()["version"]
    tag = host.http.get("/api/tags").json()["models"][0]
    assert {"name", "model", "modified_at", "size", "digest", "details"} <= tag.keys()
    shown = host.http.post("/api/show", json={"model": "A"}).json()
    assert shown["entry"]["name"] == "A"
    assert {"details", "model_info", "capabilities", "modified_at"} <= shown.keys()


def test_the_tags_have_the_catalogue_if_they_are_asked_for_it(host: RunningHost) -> None:
    assert "catalogue" not in host.http.get("/api/tags").json()
    offers = host.http.get("/api/tags?catalogue=1").json()["catalogue"]
    (small,) = [offer for offer in offers if "smollm2" in offer["names"]]
    assert small["repo"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert small["size"] > 50_000_000


def test_ps_tells_the_devices_memory_and_whether_the_registry_has_changed(host: RunningHost) -> None:
    before = host.http.get("/api/ps").json()["registry"]
    host.http.post("/api/generate", json={"model": "A"})
    (device,) = eventually(
        lambda: [each for each in host.http.get("/api/ps").json()["devices"] if each["total"]], "memory is looked at"
    )
    assert device["name"] == "CPU"
    assert 0 < device["free"] < device["total"]
    assert not device["own"]
    assert host.http.get("/api/ps").json()["registry"] == before
    host.http.post("/api/generate", json={"model": "A", "keep_alive": 0})
    host.http.post("/api/copy", json={"source": "A", "destination": "Another"})
    assert host.http.get("/api/ps").json()["registry"] != before
    host.http.request("DELETE", "/api/delete", json={"model": "Another"})


def test_loading_and_unloading_by_generate_without_a_prompt(host: RunningHost) -> None:
    loaded = host.http.post("/api/generate", json={"model": "A", "keep_alive": "5m"}).json()
    assert (loaded["done"], loaded["done_reason"]) == (True, "load")
    assert host.loaded()["name"] == "A"
    assert 290 < host.loaded()["until_seconds"] <= 300
    assert host.loaded()["keep_alive"] == 300
    assert host.chat("A", "hello").status_code == 200
    assert host.loaded()["keep_alive"] == 300, "a request that says nothing changes nothing"
    assert host.http.get("/api/ps").json()["keep_alive"] == 600
    gone = host.http.post("/api/generate", json={"model": "A", "keep_alive": 0}).json()
    assert gone["done_reason"] == "unload"
    assert host.ps() == []


def test_the_key_and_the_prompt_stay_out_of_the_log(host: RunningHost) -> None:
    host.chat("A", "a secret of mine")
    host.http.get("/v1/models", params={"token": "hidden-token"})
    eventually(lambda: "/v1/chat/completions" in host.log(), "the request is logged")
    assert host.key not in host.log()
    assert "secret of mine" not in host.log()
    assert "hidden-token" not in host.log()


def test_a_header_that_never_ends_is_refused(host: RunningHost) -> None:
    name, port = host.url.removeprefix("http://").split(":")
    with socket.create_connection((name, int(port)), timeout=10) as connection:
        connection.sendall(b"GET /v1/models HTTP/1.1\r\nX: " + b"a" * 100_000)
        data = connection.recv(4096)
    assert data == b"" or b" 431 " in data.split(b"\r\n")[0] or b" 400 " in data.split(b"\r\n")[0]


def test_the_state_file_and_the_key_are_the_owners_alone(host: RunningHost) -> None:
    for path, mode in (
        (host.home / "key", 0o600),
        (host.home / "run" / "host.json", 0o600),
        (host.home / "run", 0o700),
    ):
        assert path.stat().st_mode & 0o777 == mode
    assert json.loads((host.home / "run" / "host.json").read_text())["key"] == host.key


def test_who_is_refused_is_told_that_the_connection_ends_and_the_next_request_takes_another(host: RunningHost) -> None:
    with httpx.Client(base_url=host.url) as client:
        for _ in range(50):
            refused = client.get("/v1/models")
            assert (refused.status_code, refused.headers["Connection"]) == (401, "close")
