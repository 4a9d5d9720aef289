"""Inference keys: how they are kept, what they open at a real host, how the command makes and revokes them."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support_host import RunningHost, fake_model, running_host

from illama.cli import main
from illama.client import Client
from illama.config import Settings
from illama.errors import ForbiddenError, NotFoundError, RequestError
from illama.host.app import Host
from illama.host.keys import InferenceKeys

# All that an inference key opens. Whoever adds a path decides: a class of `illama.host.base.Handler` whose `needs` is
# "inference" may show or do nothing that touches other people's work, and belongs into this list.
OPEN = {
    *("/api/version", "/api/tags", "/api/show", "/api/generate", "/api/chat", "/api/embed", "/api/embeddings"),
    "/openapi.json",
}


@pytest.fixture
def keys(home: Path) -> InferenceKeys:
    return InferenceKeys(Settings.load({"ILLAMA_HOME": str(home)}))


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    home = tmp_path_factory.mktemp("home")
    fake_model(home, "A")
    with running_host(home) as running:
        yield running


def keys_of(host: RunningHost) -> InferenceKeys:
    return InferenceKeys(Settings.load({"ILLAMA_HOME": str(host.home)}))


def ask(host: RunningHost, key: str, method: str, path: str, body: Any = None) -> httpx.Response:
    return httpx.request(method, host.url + path, headers={"Authorization": f"Bearer {key}"}, json=body, timeout=30)


CHAT = {"model": "A", "messages": [{"role": "user", "content": "hello"}]}


# How they are kept.


def test_a_key_is_kept_as_a_hash_that_only_its_owner_can_read(keys: InferenceKeys):
    key = keys.add("open-webui")
    (file,) = keys.folder.iterdir()
    assert key.rpartition("-")[2] not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    assert keys.folder.stat().st_mode & 0o777 == 0o700


def test_a_key_names_its_holder_until_it_is_revoked(keys: InferenceKeys):
    key = keys.add("open-webui")
    assert keys.holder(key) == "open-webui"
    keys.remove("open-webui")
    assert keys.holder(key) is None


def test_when_a_key_was_last_used_is_known(keys: InferenceKeys):
    key = keys.add("a")
    (before,) = keys.list()
    keys.holder(key)
    (after,) = keys.list()
    assert before.used is None
    assert after.used is not None
    assert after.used >= after.created


def test_a_wrong_key_is_no_use_of_the_right_one(keys: InferenceKeys):
    right = keys.add("a")
    assert keys.holder(right[:-1] + ("0" if right[-1] != "0" else "1")) is None
    assert keys.list()[0].used is None


@pytest.mark.parametrize(
    "key",
    ["", "x", "sk-illama-", "sk-illama-a-", "sk-illama-../../key-" + "0" * 48, "sk-illama-a-" + "0" * 48, "é" * 60],
)
def test_what_is_no_key_has_no_holder(keys: InferenceKeys, key: str):
    keys.add("a")
    assert keys.holder(key) is None


@pytest.mark.parametrize("name", ["", "A", "a b", "../key", "a/b", "-a", "a.", "a" * 41, "é", "a\n"])
def test_a_name_that_could_mean_another_file_is_refused(keys: InferenceKeys, name: str):
    with pytest.raises(RequestError):
        keys.add(name)
    with pytest.raises(RequestError):
        keys.remove(name)


def test_two_keys_cannot_have_one_name(keys: InferenceKeys):
    key = keys.add("a")
    with pytest.raises(RequestError, match="already"):
        keys.add("a")
    assert keys.holder(key) == "a"


def test_a_file_that_is_no_key_is_passed_over(keys: InferenceKeys):
    keys.add("a")
    for name, text in {"b": "", "c": "[]", "d": "{}", "e": '{"sha256": 1}'}.items():
        (keys.folder / f"{name}.json").write_text(text)
        assert keys.holder(f"sk-illama-{name}-" + "0" * 48) is None
    assert [key.name for key in keys.list()] == ["a"]


def test_a_key_that_is_not_there_cannot_be_revoked(keys: InferenceKeys):
    with pytest.raises(NotFoundError, match="no key named a"):
        keys.remove("a")


# What they open.


def test_every_path_says_whose_key_it_takes():
    table = Host(Settings.load(), "key", on_demand=True).application().wildcard_router.rules
    opened = {
        rule.matcher.regex.pattern.rstrip("$")  # type: ignore[attr-defined]
        for rule in table
        if rule.target.needs == "inference"
    }
    served = {rule.matcher.regex.pattern.rstrip("$") for rule in table}  # type: ignore[attr-defined]
    v1 = {path for path in served if path.startswith("/v1/")}
    assert opened == v1 | (OPEN & served), (
        'Each handler says whose key it takes: `needs = "inference"` in its class for all of /v1 and for what only '
        "uses models under /api (listed in OPEN), nothing for the rest, which is the owner's."
    )


def test_an_inference_key_uses_models(host: RunningHost):
    key = keys_of(host).add("uses")
    assert ask(host, key, "GET", "/v1/models").json()["data"][0]["id"] == "A"
    assert ask(host, key, "POST", "/v1/chat/completions", CHAT).status_code == 200
    assert ask(host, key, "GET", "/api/tags").status_code == 200
    assert ask(host, key, "POST", "/api/show", {"model": "A"}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/pull", {"model": "smollm2"}),
        ("DELETE", "/api/delete", {"model": "A"}),
        ("GET", "/api/ps", None),
        ("GET", "/metrics", None),
        ("POST", "/api/generate", {"model": "A"}),
        ("POST", "/api/generate", {"model": "A", "keep_alive": 0}),
    ],
)
def test_an_inference_key_opens_nothing_of_the_owners(host: RunningHost, method: str, path: str, body: Any):
    name = f"may-not-{secrets.token_hex(4)}"
    answer = ask(host, keys_of(host).add(name), method, path, body)
    assert answer.status_code == 403
    assert answer.json()["code" if path.startswith("/api") else "error"]
    assert "inference key" in answer.text
    assert host.http.post("/api/show", json={"model": "A"}).status_code == 200


def test_a_revoked_key_is_refused_at_once(host: RunningHost):
    keys = keys_of(host)
    key = keys.add("brief")
    assert ask(host, key, "GET", "/v1/models").status_code == 200
    keys.remove("brief")
    assert ask(host, key, "GET", "/v1/models").status_code == 401


def test_the_host_says_which_inference_key_asks(host: RunningHost):
    key = keys_of(host).add("who")
    assert ask(host, key, "GET", "/api/version").json()["inference_key"] == "who"
    assert "inference_key" not in host.http.get("/api/version").json()


def test_no_log_has_a_key(host: RunningHost):
    key = keys_of(host).add("secret")
    ask(host, key, "POST", "/v1/chat/completions", CHAT)
    ask(host, key, "POST", "/api/pull", {"model": "x"})
    assert "/api/pull" in host.log()
    assert key.rpartition("-")[2] not in host.log()


def test_the_client_answers_with_an_inference_key_though_it_may_not_see_what_is_loaded(host: RunningHost):
    with Client(host.url, keys_of(host).add("client")) as client:
        assert client.chat("hello").text
        with pytest.raises(ForbiddenError):
            client.ps()


def test_a_host_without_a_key_keeps_an_inference_key_within_its_bounds(tmp_path: Path):
    home = tmp_path / "open"
    home.mkdir(mode=0o700)
    fake_model(home, "A")
    with running_host(home, "--no-key", ILLAMA_HOST="127.0.0.1") as host:
        key = keys_of(host).add("a")
        assert ask(host, key, "GET", "/v1/models").status_code == 200
        assert ask(host, key, "GET", "/api/ps").status_code == 403
        assert ask(host, "nobody", "GET", "/api/ps").status_code == 200


# The command.


def test_the_key_alone_is_on_stdout(home: Path, capsys: pytest.CaptureFixture[str], keys: InferenceKeys):
    assert main(["key", "add", "open-webui"]) == 0
    said = capsys.readouterr()
    assert keys.holder(said.out.strip()) == "open-webui"
    assert "only time" in said.err


def test_keys_are_listed_and_revoked(home: Path, capsys: pytest.CaptureFixture[str]):
    main(["key", "add", "open-webui"])
    key = capsys.readouterr().out.strip()
    assert main(["key", "list"]) == 0
    listed = capsys.readouterr().out
    assert "open-webui" in listed
    assert "never" in listed
    assert key not in listed
    assert main(["key", "rm", "open-webui", "other"]) == 1
    said = capsys.readouterr()
    assert "Revoked open-webui" in said.out
    assert "no key named other" in said.err
    assert main(["key", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_keys_of_another_host_are_not_made_here(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ILLAMA_BASE_URL", "http://models.example")
    assert main(["key", "add", "a"]) == 1
    assert "on its machine" in capsys.readouterr().err
    assert not (home / "keys").exists()


def test_a_folder_that_cannot_be_written_is_named(home: Path, capsys: pytest.CaptureFixture[str]):
    (home / "keys").write_text("")
    assert main(["key", "add", "a"]) == 1
    assert os.fspath(home / "keys") in capsys.readouterr().err
