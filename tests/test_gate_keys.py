"""Inference keys through Jupyter: without its login, on inference paths only, before one's own host or a shared one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support_gate import PASSWORD, TOKEN, Jupyter, jupyter_server
from support_host import fake_model, running_host
from test_gate_host import recording

from illama.config import Settings
from illama.host.keys import InferenceKeys

pytestmark = pytest.mark.slow

CHAT = {"model": "echo", "messages": [{"role": "user", "content": "hello"}]}
BOGUS = "sk-illama-bogus-" + "0" * 48


def keys_of(home: Path) -> InferenceKeys:
    return InferenceKeys(Settings.load({"ILLAMA_HOME": str(home)}))


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture(scope="module", params=["token", "password", "none"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Jupyter, Path]]:
    home = tmp_path_factory.mktemp("gate") / "home"
    home.mkdir(mode=0o700)
    fake_model(home, "echo")
    login = {"token": (TOKEN, ""), "password": ("", PASSWORD), "none": ("", "")}[request.param]
    with running_host(home), jupyter_server(home, token=login[0], password=login[1]) as running:
        yield running, home


@pytest.fixture
def key(server: tuple[Jupyter, Path]) -> Iterator[str]:
    keys = keys_of(server[1])
    yield keys.add("test")
    keys.remove("test")


def test_an_inference_key_needs_no_login(server: tuple[Jupyter, Path], key: str):
    assert server[0].cookieless("GET", "/v1/models", headers=bearer(key)).json()["data"][0]["id"] == "echo"
    answer = server[0].cookieless("POST", "/v1/chat/completions", headers=bearer(key), json=CHAT)
    assert answer.status_code == 200, answer.text
    answer = server[0].cookieless("POST", "/v1/chat/completions", headers={"Authorization": f"token {key}"}, json=CHAT)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/api/pull"), ("DELETE", "/api/delete"), ("GET", "/api/ps"), ("POST", "/api/copy")]
)
def test_an_inference_key_opens_nothing_of_the_owners(server: tuple[Jupyter, Path], key: str, method: str, path: str):
    answer = server[0].cookieless(method, path, headers=bearer(key), json={"model": "echo"})
    assert answer.status_code == 403
    assert "inference key" in answer.json()["error"]


def test_an_inference_key_opens_nothing_else_of_jupyters(server: tuple[Jupyter, Path], key: str):
    running = server[0]
    running.http.cookies.clear()
    for path in ("api/contents", "api/kernels", "illama/ui/"):
        answer = running.http.get(running.url + path, headers=bearer(key))
        open_to_all = running.http.get(running.url + path)
        assert answer.status_code == open_to_all.status_code


def test_a_revoked_key_is_refused_at_once(server: tuple[Jupyter, Path]):
    keys = keys_of(server[1])
    key = keys.add("brief")
    assert server[0].cookieless("GET", "/v1/models", headers=bearer(key)).status_code == 200
    keys.remove("brief")
    answer = server[0].cookieless("POST", "/v1/chat/completions", headers=bearer(key), json=CHAT)
    assert answer.status_code in {401, 403}
    assert answer.json()["error"]["hint"]


def test_an_inference_key_is_refused_under_another_host_name(server: tuple[Jupyter, Path], key: str):
    answer = server[0].cookieless("GET", "/v1/models", headers={**bearer(key), "Host": "evil.example"})
    assert answer.status_code == 403


def test_an_inference_key_in_the_query_is_none(server: tuple[Jupyter, Path], key: str):
    answer = server[0].cookieless("POST", f"/v1/chat/completions?token={key}", json=CHAT)
    assert answer.status_code in {401, 403}


def test_no_log_has_a_key(server: tuple[Jupyter, Path], key: str):
    for method, path in (("GET", "/v1/models"), ("GET", "/v1/nothing"), ("POST", "/api/pull")):
        server[0].cookieless(method, path, headers=bearer(key), json={})
    server[0].cookieless("GET", "/v1/models", headers=bearer(BOGUS))
    digits = key.rpartition("-")[2]
    assert digits not in server[0].log.read_text()
    assert digits not in (server[1] / "host.log").read_text()


def test_a_shared_host_is_asked_and_keeps_the_key_within_its_bounds(tmp_path: Path, home: Path):
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o700)
    fake_model(theirs, "echo")
    with running_host(theirs) as host:
        options = [f"--IllamaServerApp.base_url={host.url}", f"--IllamaServerApp.api_key={host.key}"]
        with jupyter_server(home, *options) as server:
            keys = keys_of(theirs)
            key = keys.add("shared")
            assert server.cookieless("POST", "/v1/chat/completions", headers=bearer(key), json=CHAT).status_code == 200
            assert server.cookieless("GET", "/api/ps", headers=bearer(key)).status_code == 403
            assert server.cookieless("GET", "/v1/models", headers=bearer(BOGUS)).status_code == 401
            keys.remove("shared")
            assert server.cookieless("GET", "/v1/models", headers=bearer(key)).status_code == 401


def test_the_holder_of_a_key_is_named_to_the_host_and_no_other_key_is_sent(home: Path):
    with recording() as (url, seen):
        options = [f"--IllamaServerApp.base_url={url}", "--IllamaServerApp.api_key=the-owners"]
        with jupyter_server(home, *options) as server:
            # This host answers everybody, but does not say that it knows the key.
            assert server.cookieless("GET", "/v1/models", headers=bearer(BOGUS)).status_code == 401
    assert [(path, got["authorization"]) for _, path, got, _ in seen] == [("/api/version", f"Bearer {BOGUS}")]
