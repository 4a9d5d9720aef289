"""Copying and removing models through a running host."""

from __future__ import annotations

import pytest
from support_host import fake_model, running_host

from illama import space
from illama.client import Client
from illama.config import Settings
from illama.errors import ModelExistsError, ModelNotFoundError
from illama.registry import Registry


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    home = tmp_path_factory.mktemp("host")
    fake_model(home, "tiny")
    with running_host(home) as running:
        yield running


@pytest.fixture
def client(host):
    with Client(settings=Settings.load({"ILLAMA_HOME": str(host.home)}), start=False) as made:
        yield made


def test_a_copy_answers_like_ollama_and_talks_like_its_model(host, client):
    answer = host.http.post("/api/copy", json={"source": "tiny", "destination": "twin"})
    assert (answer.status_code, answer.content) == (200, b"")
    said = [host.chat(name, "hello", max_tokens=4).json()["choices"][0]["message"] for name in ("tiny", "twin")]
    assert said[0] == said[1]
    client.copy("twin", "third")
    assert client.delete("third") < 10_000
    assert {"tiny", "twin"} <= {model["name"] for model in client.list()}


def test_a_copy_overwrites_nothing_and_names_what_is_missing(host, client):
    fake_model(host.home, "other")
    with pytest.raises(ModelExistsError):
        client.copy("tiny", "Other")
    with pytest.raises(ModelNotFoundError):
        client.copy("nothing", "new")
    answer = host.http.post("/api/copy", json={"source": "tiny"})
    assert answer.status_code == 400
    assert "destination is missing" in answer.json()["error"]
    assert host.http.post("/api/copy", json={"source": "tiny", "destination": "../evil"}).status_code == 400


def test_a_loaded_model_is_unloaded_and_removed_with_what_was_compiled_for_it(host, client):
    fake_model(host.home, "going", digest="9" * 64)
    host.chat("going", "hello", max_tokens=4)
    blob = space.compiled(host.home / "cache", Registry(host.home / "registry").get("going")) / "1.blob"
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"x" * 5_000_000)
    assert 5_000_000 < client.delete("going") < 5_010_000
    assert not blob.parent.exists()
    assert "going" not in {model["name"] for model in [*client.list(), *client.ps()]}
