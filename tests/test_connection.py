"""What a kernel finds out about the way to its models from outside, and how the magics show it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from illama import connection
from illama.connection import through_jupyter
from illama.errors import ConfigError


class Jupyter(BaseHTTPRequestHandler):
    """Answers as a server with illama's extension does, or as one without."""

    kind = "application/json"
    status = 200
    seen: list[str]

    def do_GET(self) -> None:
        self.seen.append(self.path)
        self.send_response(self.status)
        self.send_header("Content-Type", self.kind)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def played(kind: str = "application/json", status: int = 200) -> Iterator[tuple[str, list[str]]]:
    seen: list[str] = []
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), type("Mine", (Jupyter,), {"kind": kind, "status": status, "seen": seen})
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "runtime"
    folder.mkdir()
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(folder))
    return folder


def server_file(runtime: Path, **fields: object) -> dict[str, str]:
    (runtime / "jpserver-42.json").write_text(json.dumps({"token": "abc", **fields}))
    return {"JPY_PARENT_PID": "42"}


def test_a_kernel_finds_the_server_that_started_it(runtime: Path):
    with played() as (url, seen):
        found = through_jupyter(server_file(runtime, url=f"{url}base/"))
    assert found is not None
    assert (found.base_url, found.key, found.problem) == (f"{url}base/illama/v1", "abc", "")
    assert seen == ["/base/illama/api/version?no_track_activity=1"]
    assert "abc" not in repr(found)


@pytest.mark.parametrize("environ", [{}, {"JPY_PARENT_PID": "43"}, {"JPY_PARENT_PID": "x"}])
def test_a_kernel_of_something_else_has_no_server(runtime: Path, environ: dict[str, str]):
    server_file(runtime, url="http://127.0.0.1:1/")
    assert through_jupyter(environ) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"url": "http+unix://x"}', '{"url": 5}'])
def test_a_file_that_names_no_address_is_no_server(runtime: Path, text: str):
    (runtime / "jpserver-42.json").write_text(text)
    assert through_jupyter({"JPY_PARENT_PID": "42"}) is None


def test_a_server_without_a_token_takes_inference_keys_only(runtime: Path):
    with played() as (url, _):
        found = through_jupyter(server_file(runtime, url=url, token=""))
    assert found is not None
    assert found.key is None
    assert "no token" in found.problem
    assert found.takes_inference_keys


def test_a_server_without_the_extension_is_told_from_one_that_has_it(runtime: Path):
    with played("text/html", 404) as (url, _):
        found = through_jupyter(server_file(runtime, url=url))
    assert found is not None
    assert "extension" in found.problem
    assert not found.takes_inference_keys


HUB = {"JUPYTERHUB_SERVICE_PREFIX": "/user/ada/", "JUPYTERHUB_API_TOKEN": "hub-token"}


def test_on_a_hub_the_public_address_is_found():
    found = through_jupyter({**HUB, "JUPYTERHUB_PUBLIC_URL": "https://hub.example/user/ada/"})
    assert found is not None
    assert (found.base_url, found.key) == ("https://hub.example/user/ada/illama/v1", "hub-token")


def test_on_a_hub_that_does_not_know_its_address_the_user_does():
    found = through_jupyter(HUB)
    assert found is not None
    assert found.url == f"{connection.UNKNOWN_HUB}/user/ada/illama"
    assert "address bar" in " ".join(found.notes)


@pytest.mark.parametrize(
    ("at", "url"),
    [
        ("https://hub.example", "https://hub.example/user/ada/illama"),
        ("https://hub.example/", "https://hub.example/user/ada/illama"),
        ("https://hub.example/user/ada/lab/tree/x.ipynb", "https://hub.example/user/ada/illama"),
        ("http://proxy.example:8080/team", "http://proxy.example:8080/team/user/ada/illama"),
    ],
)
def test_the_address_that_others_use_can_be_given(at: str, url: str):
    found = through_jupyter(HUB, at=at)
    assert found is not None
    assert found.url == url


@pytest.mark.parametrize("at", ["hub.example", "ftp://hub.example", "https://", "x y"])
def test_what_is_no_address_is_refused(at: str):
    with pytest.raises(ConfigError, match="no address"):
        through_jupyter(HUB, at=at)
