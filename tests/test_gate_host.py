"""The gate before hosts that are absent, strange, broken or somebody else's."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from support_gate import TOKEN, Jupyter, jupyter_server
from support_host import eventually, fake_model

from illama import discovery
from illama.config import Settings
from illama.host import state

pytestmark = pytest.mark.slow

KEY = {"Authorization": f"Bearer {TOKEN}"}
HOSTS_KEY = "the-key-of-the-host"


class Recorder(BaseHTTPRequestHandler):
    """Stands in for a shared host: keeps what it is sent, and answers as the path's end says."""

    protocol_version = "HTTP/1.1"
    seen: list[tuple[str, str, dict[str, str], bytes]]

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.seen.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        what = self.path.partition("?")[0].rsplit("/", 1)[-1]
        if what in {"redirect", "unauthorized"}:
            self.send_response(302 if what == "redirect" else 401)
            self.send_header("Location", "http://127.0.0.1:1/")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif what in {"broken-stream", "broken-json"}:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream" if what == "broken-stream" else "application/json")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"8\r\ndata: {}\r\n")
            self.close_connection = True
        elif what == "large":
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(20 * 2**20))
            self.end_headers()
            for _ in range(20):
                self.wfile.write(b"x" * 2**20)
        else:
            self.send_response(200)
            for name, value in {
                "Content-Type": "application/json",
                "Content-Length": "2",
                "Set-Cookie": "theirs=1",
                "Access-Control-Allow-Origin": "*",
                "X-Their-Secret": HOSTS_KEY,
                "Connection": "keep-alive",
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"{}" if self.command != "HEAD" else b"")

    do_GET = do_POST = do_DELETE = do_HEAD = answer  # noqa: N815 - the standard library's names

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def recording() -> Iterator[tuple[str, list[tuple[str, str, dict[str, str], bytes]]]]:
    seen: list[tuple[str, str, dict[str, str], bytes]] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Mine", (Recorder,), {"seen": seen}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Jupyter, list[Any]]]:
    """A server whose gate leads to a host of somebody else's."""
    home = tmp_path_factory.mktemp("shared") / "home"
    home.mkdir(mode=0o700)
    with recording() as (url, seen):
        options = [f"--IllamaServerApp.base_url={url}/", f"--IllamaServerApp.api_key={HOSTS_KEY}"]
        with jupyter_server(home, *options) as server:
            yield server, seen


def test_nothing_of_the_callers_credentials_reaches_the_host(shared: tuple[Jupyter, list[Any]]):
    server, seen = shared
    seen.clear()
    headers = {
        **KEY,
        "Cookie": "session=secret",
        "X-XSRFToken": "secret",
        "X-Illama-User": "root",
        "X-Forwarded-Access-Token": "secret",
        "Proxy-Authorization": "secret",
        "Origin": "https://somewhere.example",
        "Connection": "keep-alive, X-Hop",
        "X-Hop": "secret",
        "Content-Type": "application/json",
    }
    path = f"/v1/chat/completions?token={TOKEN}&_xsrf=secret&kept=1"
    assert server.cookieless("POST", path, headers=headers, content=b'{"a": 1}').status_code == 200
    ((method, path, got, body),) = seen
    assert (method, path, body) == ("POST", "/v1/chat/completions?kept=1", b'{"a": 1}')
    assert got["authorization"] == f"Bearer {HOSTS_KEY}"
    assert got["host"] != urlsplit(server.url).netloc
    assert len(got["x-illama-user"]) == 32  # the id that Jupyter made up for who has the token
    sent = " ".join([path, *got.values()])
    assert "secret" not in sent
    assert TOKEN not in sent
    assert set(got) <= {
        *("accept", "accept-encoding", "authorization", "content-length", "content-type", "host", "user-agent"),
        "x-illama-user",
    }


def test_nothing_of_the_hosts_own_reaches_the_caller(shared: tuple[Jupyter, list[Any]]):
    answer = shared[0].cookieless("GET", "/v1/models", headers=KEY)
    assert answer.json() == {}
    assert HOSTS_KEY not in str(answer.headers)
    assert "theirs" not in str(answer.headers)
    assert answer.headers.get("Access-Control-Allow-Origin", "") != "*"


def test_the_panel_is_told_where_models_are_not_managed(shared: tuple[Jupyter, list[Any]]):
    assert shared[0].cookieless("GET", "/api/ps", headers=KEY).headers["X-Illama-Manage"] == "no"


def test_a_head_request_has_no_body(shared: tuple[Jupyter, list[Any]]):
    answer = shared[0].cookieless("HEAD", "/v1/models", headers=KEY)
    assert (answer.status_code, answer.headers["Content-Length"], answer.content) == (200, "2", b"")


def test_an_answer_of_twenty_megabytes_arrives_whole(shared: tuple[Jupyter, list[Any]]):
    assert len(shared[0].cookieless("GET", "/v1/large", headers=KEY).content) == 20 * 2**20


@pytest.mark.parametrize("path", ["/api/pull", "/api/delete", "/api/create", "/api/copy", "/api/%70ull"])
def test_a_shared_hosts_models_are_not_managed_through_the_gate(shared: tuple[Jupyter, list[Any]], path: str):
    server, seen = shared
    seen.clear()
    answer = server.cookieless("DELETE" if path.endswith("delete") else "POST", path, headers=KEY, json={"model": "a"})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert "allow_manage" in answer.json()["hint"]
    assert seen == []


@pytest.mark.parametrize(
    ("path", "said"), [("/v1/redirect", "sends elsewhere"), ("/api/unauthorized", "does not accept")]
)
def test_a_host_that_does_not_know_the_gate_is_the_gates_problem(
    shared: tuple[Jupyter, list[Any]], path: str, said: str
):
    answer = shared[0].cookieless("GET", path, headers=KEY)
    assert answer.status_code == 503
    assert said in answer.text
    assert "IllamaServerApp" in answer.text


def test_a_stream_that_breaks_off_says_so(shared: tuple[Jupyter, list[Any]]):
    answer = shared[0].cookieless("GET", "/v1/broken-stream", headers=KEY)
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
    assert lines[0] == "{}"
    assert json.loads(lines[1])["error"]["code"] == "host_unavailable"
    assert lines[2] == "[DONE]"


def test_an_answer_that_breaks_off_does_not_look_whole(shared: tuple[Jupyter, list[Any]]):
    import httpx

    with pytest.raises(httpx.RemoteProtocolError):
        shared[0].cookieless("GET", "/v1/broken-json", headers=KEY)


def test_no_path_leads_anywhere_else(shared: tuple[Jupyter, list[Any]]):
    server, seen = shared
    seen.clear()
    address = urlsplit(server.url)
    with socket.socket() as other:  # a port that must never be called
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        paths = [
            *(
                "/illama/v1/../health",
                "/illama/v1/..%2fhealth",
                "/illama/v1/%2e%2e/health",
                "/illama/v1/%252e%252e/health",
            ),
            *(
                "/illama/v1//",
                "/illama//v1/models",
                "/illama/v1/a/../../../etc",
                "/illama/v1/.%2e",
                "/illama/v1\\..\\x",
            ),
            *(
                f"/illama/v1/http://127.0.0.1:{port}/",
                f"/illama/v1/%2f%2f127.0.0.1:{port}/",
                f"/illama/v1/@127.0.0.1:{port}",
            ),
            *(
                f"http://127.0.0.1:{port}/illama/v1/models",
                f"//127.0.0.1:{port}/illama/v1/models",
                "*",
                "/illama/v1/\xff",
            ),
            *(
                "/illama/v1/%00",
                "/illama/v1/%0d%0aX:%20y",
                "/illama/v1/%zz",
                "/illama/v1/a;b",
                "/illama/v1/" + "a" * 9000,
            ),
            *(f"/illama/illama-tile/{port}/", f"/illama-tile/{port}/", f"/illama-tile/http://127.0.0.1:{port}/"),
        ]
        for path in paths:
            with socket.create_connection((str(address.hostname), address.port or 80), timeout=20) as connection:
                head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}"
                connection.sendall(f"{head}\r\n\r\n".encode("latin-1"))
                received = b"".join(iter(lambda: connection.recv(65536), b""))
            assert received.startswith(b"HTTP/1.1 "), path
        other.settimeout(0)
        with pytest.raises(BlockingIOError):
            other.accept()
    assert {path for _, path, _, _ in seen} <= {
        f"/v1/@127.0.0.1:{port}",  # a model may be called that; the host is asked for it by that name
        "/v1/a;b",
        "/v1/" + "a" * 9000,
    }


def test_huge_headers_are_refused(shared: tuple[Jupyter, list[Any]]):
    import httpx

    try:
        answer = shared[0].cookieless("GET", "/v1/models", headers={**KEY, "X-Large": "x" * 2**20})
    except httpx.HTTPError:
        return  # Jupyter hung up
    assert answer.status_code >= 400


def test_a_poll_starts_no_host_a_request_does_and_the_server_ends_it(home: Path):
    fake_model(home, "echo")
    try:
        with jupyter_server(home, "--IllamaServerApp.stop_host=True") as server:
            polled = server.cookieless("GET", "/api/version?no_track_activity=1", headers=KEY)
            assert state.read(home / "run") is None
            asked = server.cookieless("GET", "/v1/models", headers=KEY)
            found = state.read(home / "run")
            assert found is not None
            # One that ended meanwhile is found again, without an error.
            discovery.stop(Settings.load())
            again = server.cookieless("GET", "/v1/models", headers=KEY)
        assert (polled.status_code, polled.json()["code"]) == (503, "host_unavailable")
        assert polled.json()["hint"]
        assert [model["id"] for model in asked.json()["data"]] == ["echo"]
        assert again.json() == asked.json()
        assert state.read(home / "run") is None
    finally:
        discovery.stop(Settings.load(), force=True)


def test_a_server_that_may_start_no_host_says_what_to_do(home: Path):
    with jupyter_server(home, "--IllamaServerApp.start_host=False") as server:
        answer = server.cookieless("GET", "/v1/models", headers=KEY)
    assert answer.status_code == 503
    assert "illama serve" in answer.json()["error"]["hint"]
    assert state.read(home / "run") is None


def test_a_host_of_a_newer_protocol_is_left_alone(home: Path):
    with recording() as (url, _):
        newer = state.HostState.of_this_process(
            version="9", host="127.0.0.1", port=urlsplit(url).port or 0, key="k", settings={}, on_demand=True
        )
        state.write(home / "run", newer)
        path = home / "run" / state.FILE_NAME
        path.write_text(json.dumps({**json.loads(path.read_text()), "protocol": state.PROTOCOL + 1}))
        with jupyter_server(home) as server:
            answer = server.cookieless("GET", "/v1/models", headers=KEY)
    assert answer.status_code == 503
    assert "Upgrade illama" in answer.json()["error"]["hint"]


def test_another_host_that_is_down_is_named_as_the_problem(home: Path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with jupyter_server(home, ILLAMA_BASE_URL=url) as server:
            answer = server.cookieless("POST", "/v1/chat/completions", headers=KEY, json={})
    assert answer.status_code == 503
    assert "cannot be reached" in answer.json()["error"]["message"]


def test_without_openvino_the_extension_loads_and_says_what_is_missing(home: Path):
    # As in an environment without it: nothing of that name can be found.
    (home.parent / "sitecustomize.py").write_text("import sys\nsys.modules['openvino_genai'] = None\n")
    with jupyter_server(home, ILLAMA_ENGINE="openvino") as server:
        answer = server.cookieless("GET", "/v1/models", headers=KEY)
        page = server.cookieless("GET", "/ui/", headers=KEY)
    assert page.status_code == 200
    assert answer.status_code == 503
    assert "no OpenVINO GenAI" in answer.json()["error"]["message"]
    assert "ILLAMA_ENGINE_PYTHON" in answer.json()["error"]["hint"]


def test_a_variable_that_is_wrong_is_told_and_breaks_nothing_else(home: Path):
    with jupyter_server(home, ILLAMA_PORT="eleven") as server:
        answer = server.cookieless("GET", "/v1/models", headers=KEY)
        assert server.http.get(server.url + "api/status", headers=KEY).status_code == 200
    assert answer.status_code == 503
    assert "ILLAMA_PORT" in answer.json()["error"]["message"]


def test_the_owner_of_the_server_can_forbid_pull_and_delete(home: Path):
    with jupyter_server(home, "--IllamaServerApp.allow_manage=False") as server:
        answer = server.cookieless("POST", "/api/pull", headers=KEY, json={"model": "smollm2"})
    assert answer.status_code == 403
    assert eventually(lambda: state.read(home / "run") is None, "no host was started")
