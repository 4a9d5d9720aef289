"""What goes through the gate, seen at both ends: a real Jupyter server before a real host."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import openai
import pytest
from support_gate import TOKEN, Jupyter, jupyter_server
from support_host import RunningHost, events, eventually, fake_model, running_host, text_of

from illama_server.front import FOLDER

pytestmark = pytest.mark.slow

KEY = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningHost, Jupyter]]:
    home = tmp_path_factory.mktemp("gate") / "home"
    home.mkdir(mode=0o700)
    fake_model(home, "echo", slots=64)
    fake_model(home, "slow-to-load", load_sec=60)
    # A base URL as JupyterHub gives it.
    with running_host(home) as host, jupyter_server(home, base_url="/user/ada/") as server:
        yield host, server


def question(text: str, **more: object) -> dict[str, object]:
    return {"model": "echo", "messages": [{"role": "user", "content": text}], **more}


def idle(host: RunningHost) -> bool:
    return all(model["running"] == 0 and model["queued"] == 0 for model in host.ps())


def test_the_openai_sdk_works_unmodified(both: tuple[RunningHost, Jupyter]):
    with openai.OpenAI(base_url=both[1].gate + "/v1", api_key=TOKEN, max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["echo", "slow-to-load"]
        whole = client.chat.completions.create(model="echo", messages=[{"role": "user", "content": "Is it you?"}])
        stream = client.chat.completions.create(
            model="echo", messages=[{"role": "user", "content": "Is it you?"}], stream=True
        )
        pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="org/none", messages=[{"role": "user", "content": "x"}])
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("org/none")
    assert whole.choices[0].message.content == "Is it you?"
    assert "".join(pieces) == "Is it you?"


def test_the_openai_sdk_understands_a_wrong_key(both: tuple[RunningHost, Jupyter]):
    with (
        openai.OpenAI(base_url=both[1].gate + "/v1", api_key="wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError, match="Jupyter token"),
    ):
        client.models.list()


def test_the_first_piece_is_there_while_the_engine_is_at_work(both: tuple[RunningHost, Jupyter]):
    host, server = both
    body = question('/fake {"step_sec": 0.1, "tokens": 40, "text": "word"}', stream=True)
    with server.http.stream("POST", server.gate + "/v1/chat/completions", json=body, headers=KEY) as response:
        frames = events(response)
        first = next(frame for frame in frames if text_of([frame]))
        (running,) = [model["running"] for model in host.ps() if model["name"] == "echo"]
        rest = list(frames)
    assert response.headers["X-Accel-Buffering"] == "no"
    assert running == 1
    assert text_of([first, *rest]) == "word" * 40


def test_a_client_that_leaves_frees_the_device(both: tuple[RunningHost, Jupyter]):
    host, server = both
    body = question('/fake {"step_sec": 0.05, "tokens": 4000, "text": "word"}', stream=True)
    with server.http.stream("POST", server.gate + "/v1/chat/completions", json=body, headers=KEY) as response:
        next(events(response))
    eventually(lambda: idle(host), "the host is idle again")


def test_a_client_that_leaves_before_the_first_token_stops_the_load(both: tuple[RunningHost, Jupyter]):
    host, server = both
    body = json.dumps({**question("hello"), "model": "slow-to-load"})
    address = urlsplit(server.gate)
    with socket.create_connection((str(address.hostname), address.port or 80)) as connection:
        head = f"POST {address.path}/v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
        connection.sendall(f"{head}Authorization: Bearer {TOKEN}\r\n\r\n{body}".encode())
        eventually(lambda: "slow-to-load" in [model["name"] for model in host.ps()], "it loads")
    eventually(lambda: "slow-to-load" not in [model["name"] for model in host.ps()], "it loads no more")


def test_sixty_streams_at_once_are_all_whole(both: tuple[RunningHost, Jupyter]):
    body = question('/fake {"step_sec": 0.01, "tokens": 30, "text": "word"}', stream=True)

    async def one(client: httpx.AsyncClient) -> str:
        answer = await client.post(both[1].gate + "/v1/chat/completions", json=body, headers=KEY)
        return text_of(list(events(answer)))

    async def all_of_them() -> list[str]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(timeout=60, trust_env=False, limits=limits) as client:
            return await asyncio.gather(*[one(client) for _ in range(60)])

    assert asyncio.run(all_of_them()) == ["word" * 30] * 60


def test_a_long_prompt_goes_through_whole_and_the_hosts_refusal_comes_back(both: tuple[RunningHost, Jupyter]):
    host, server = both
    body = question("x" * 20_000_000)
    theirs = host.http.post("/v1/chat/completions", json=body)
    ours = server.cookieless("POST", "/v1/chat/completions", json=body, headers=KEY)
    assert theirs.status_code == 400
    assert ours.status_code == 400
    assert ours.json()["error"] == theirs.json()["error"]


def test_a_body_over_the_hosts_limit_is_refused(both: tuple[RunningHost, Jupyter]):
    def endless() -> Iterator[bytes]:
        for _ in range(66):
            yield b" " * 2**20

    sized = {**KEY, "Content-Length": str(65 * 2**20)}
    answer = both[1].cookieless("POST", "/v1/chat/completions", headers=sized, content=b" " * (65 * 2**20))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
    answer = both[1].cookieless("POST", "/v1/chat/completions", headers=KEY, content=endless())
    assert answer.status_code == 413


@pytest.mark.parametrize("method", ["PUT", "PATCH", "TRACE", "CONNECT", "PROPFIND", "BREW"])
def test_a_verb_that_nobody_uses_is_refused_in_json(both: tuple[RunningHost, Jupyter], method: str):
    answer = both[1].cookieless(method, "/v1/models", headers=KEY)
    assert answer.status_code in {403, 405}
    assert answer.json()["error"]["message"]


def test_the_hosts_own_refusal_of_a_verb_comes_back(both: tuple[RunningHost, Jupyter]):
    answer = both[1].cookieless("DELETE", "/v1/models", headers=KEY)
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")


@pytest.mark.parametrize("path", ["", "/", "/health", "/v2/models", "/uix", "/ui/../v1/models", "/ui/nothing.js"])
def test_nothing_else_is_there(both: tuple[RunningHost, Jupyter], path: str):
    answer = both[1].cookieless("GET", path, headers=KEY)
    if path == "/ui/../v1/models":
        assert answer.url.path.endswith("/illama/v1/models")  # httpx itself tidies it up
        return
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


def test_polls_are_no_activity_and_requests_are(both: tuple[RunningHost, Jupyter]):
    server = both[1]

    def last_activity() -> str:
        answer = server.http.get(server.url + "api/status", headers=KEY)
        return str(answer.json()["last_activity"])

    before = last_activity()
    assert server.cookieless("GET", "/api/ps?no_track_activity=1", headers=KEY).status_code == 200
    polled = last_activity()
    body = question('/fake {"step_sec": 0.05, "tokens": 100}', stream=True)
    with server.http.stream("POST", server.gate + "/v1/chat/completions", json=body, headers=KEY) as response:
        frames = events(response)  # kept: what is thrown away closes the stream
        next(frames)
        streaming = last_activity()
    assert polled == before
    assert streaming > before


def test_the_page_is_strict_about_what_it_loads(both: tuple[RunningHost, Jupyter]):
    server = both[1]
    page = server.cookieless("GET", "/ui/", headers=KEY)
    policy = page.headers["Content-Security-Policy"]
    assert page.headers["Content-Type"].startswith("text/html")
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'self'" in policy
    assert TOKEN not in page.text
    for name in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert server.cookieless("GET", f"/ui/{name}", headers=KEY).status_code == 200
    assert re.findall(r"<script(?![^>]*src=)|\son\w+=|style=", page.text) == []


def test_the_panels_files_are_served_and_nothing_beside_them(both: tuple[RunningHost, Jupyter]):
    server = both[1]
    listed = {file.name for file in FOLDER.iterdir()}
    asked = [*listed, "nothing.js", "__init__.py"]
    got = {name: server.cookieless("GET", f"/ui/{name}", headers=KEY) for name in asked}
    served = {name for name, answer in got.items() if answer.status_code == 200}
    assert served == {name for name in listed if name.endswith((".html", ".js", ".css", ".svg"))}
    assert {answer.status_code for name, answer in got.items() if name not in served} == {404}
    kinds = {got[name].headers["Content-Type"] for name in served if name.endswith(".js")}
    assert kinds == {"text/javascript; charset=utf-8"}
    again = {**KEY, "If-None-Match": got["panel.js"].headers["ETag"]}
    assert server.cookieless("GET", "/ui/panel.js", headers=again).status_code == 304


def test_the_page_gives_a_browser_the_proof_for_its_requests(both: tuple[RunningHost, Jupyter]):
    assert "_xsrf=" in both[1].cookieless("GET", "/ui/", headers=KEY).headers["Set-Cookie"]


def test_the_page_sends_strangers_to_the_login_page(both: tuple[RunningHost, Jupyter]):
    answer = both[1].cookieless("GET", "/ui/")
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith("/user/ada/login?next=")
