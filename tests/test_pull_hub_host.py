"""Pulls from a hub through a real host: who sees the token, who shares a download, what a killed host leaves."""

from __future__ import annotations

import hashlib
import json
import threading

import pytest
from support_host import eventually, running_host
from support_hub import Repo, playing, repo_of
from support_models import real_model_cache, tiny_ir

from illama.client import Client
from illama.config import Settings
from illama.errors import PullError
from illama.pull import CATALOGUE
from illama.registry import Registry

pytestmark = pytest.mark.usefixtures("fake_engine")

REPO = "OpenVINO/phi-4-int4-ov"


@pytest.fixture
def hub(tmp_path):
    with playing() as running:
        running.repos[REPO] = repo_of(tiny_ir(tmp_path / "repo", weights=b"weights!" * 250_000))
        yield running


def client_of(home, **variables):
    return Client(settings=Settings.load({"ILLAMA_HOME": str(home), **variables}), start=False)


def test_the_token_is_sent_to_ones_own_host_and_only_where_the_hub_is_needed(home, tmp_path):
    own = client_of(home, HF_TOKEN="hf_good")
    assert [own._hub_token(source) for source in ("a/b", "phi4", "hf.co/a/b:Q8_0")] == ["hf_good"] * 3
    assert [own._hub_token(source) for source in ("smollm2", str(tmp_path), "x.gguf", "unheard-of")] == [None] * 4
    named = client_of(home, HF_TOKEN="hf_good", ILLAMA_BASE_URL="http://127.0.0.1:9")
    assert named._hub_token("a/b") is None
    assert Client("http://127.0.0.1:9", settings=own.session.settings)._hub_token("a/b") is None
    assert client_of(home)._hub_token("a/b") is None


def test_a_gated_model_is_pulled_with_the_callers_token_which_stays_nowhere(hub, home):
    hub.repos[REPO].gated = True
    with running_host(home, HF_ENDPOINT=hub.url) as host:
        with client_of(home) as client, pytest.raises(PullError, match="is gated"):
            list(client.pull(REPO))
        with client_of(home, HF_TOKEN="hf_good") as client:
            assert list(client.pull(REPO))[-1]["name"] == "phi-4"
        assert "hf_good" not in json.dumps(host.http.post("/api/show", json={"model": "phi4"}).json())
    assert not [path for path in home.rglob("*") if path.is_file() and b"hf_good" in path.read_bytes()]
    assert not any("hf_good" in f"{asked}" for asked in hub.asked if asked.server == "storage")


def test_a_wrong_type_of_token_is_refused_without_being_quoted(hub, home):
    with running_host(home, HF_ENDPOINT=hub.url) as host:
        answer = host.http.post("/api/pull", json={"model": REPO, "hf_token": ["hf_secret"]})
    assert answer.status_code == 400
    assert "hf_secret" not in answer.text


def test_two_names_of_one_repository_are_one_job_whoever_asks(hub, home):
    hub.gate = threading.Event()
    with running_host(home, HF_ENDPOINT=hub.url):
        last, joined = [], threading.Event()

        def pull(source, token):
            with client_of(home, HF_TOKEN=token) as client:
                for line in client.pull(source):
                    if line.get("completed"):
                        joined.set()
                last.append(line)

        first = threading.Thread(target=pull, args=("phi4", "hf_good"))
        first.start()
        assert hub.halfway.wait(30)
        assert joined.wait(30)
        joined.clear()
        second = threading.Thread(target=pull, args=(REPO, "hf_other"))
        second.start()
        assert joined.wait(30)
        hub.gate.set()
        first.join()
        second.join()
    assert [(line["status"], line["name"]) for line in last] == [("success", "phi-4")] * 2
    assert len({line["job"] for line in last}) == 1
    assert len([asked for asked in hub.asked if asked.path.startswith("/api/models/")]) == 1


def test_what_a_killed_host_had_fetched_is_not_fetched_again(hub, home):
    hub.gate = threading.Event()
    name = "openvino_model.bin"
    with running_host(home, HF_ENDPOINT=hub.url) as host, client_of(home) as client:
        lines = client.pull(REPO)
        next(lines)
        assert hub.halfway.wait(30)
        downloads = home / "cache" / "downloads"
        eventually(
            lambda: [p.stat().st_size for p in downloads.rglob(f"{name}.part")] == [hub.reached], "it is on disk"
        )
        host.process.kill()
        host.process.wait()
        lines.close()
    hub.gate.set()
    reached, hub.gate = hub.reached, None
    with running_host(home, HF_ENDPOINT=hub.url), client_of(home) as client:
        assert list(client.pull(REPO))[-1]["status"] == "success"
        assert [each["name"] for each in client.list()] == ["phi-4"]
    asked = [each.headers.get("range") for each in hub.asked if each.path.endswith(name) and each.server == "storage"]
    assert len(asked) == 2
    assert int(asked[1].removeprefix("bytes=").rstrip("-")) >= reached


@pytest.mark.slow
def test_a_real_model_is_pulled_from_a_hub_through_cuts_and_answers(hub, home):
    origin = Registry(real_model_cache() / "registry")
    given = origin.get("smollm2")
    repo = repo_of(origin.folder(given))
    del repo.files["illama.json"]
    repo.files["config.json"] = b'{"model_type": "llama", "max_position_embeddings": 8192}'
    hub.repos["OpenVINO/SmolLM2-135M-Instruct-int4-ov"] = repo
    hub.cut = lambda name, start, length: 20_000_000 if length > 20_000_000 else None
    with running_host(home, HF_ENDPOINT=hub.url, ILLAMA_ENGINE="openvino", ILLAMA_DEVICE="CPU"):
        with client_of(home) as client:
            last = list(client.pull("OpenVINO/SmolLM2-135M-Instruct-int4-ov"))[-1]
            assert (last["status"], last["name"]) == ("success", "SmolLM2-135M-Instruct")
            reply = client.chat("What is the capital of France?", model=last["name"], max_tokens=20, temperature=0)
        assert "Paris" in reply.text
    registry = Registry(home / "registry")
    entry = registry.get("SmolLM2-135M-Instruct")
    weights = (registry.folder(entry) / "openvino_model.bin").read_bytes()
    assert entry.digest == hashlib.sha256(weights).hexdigest()
    assert len([each for each in hub.asked if each.server == "storage" and "range" in each.headers]) >= 3
    assert hub.bytes_sent() < 1.1 * entry.size


@pytest.mark.slow
def test_a_real_gguf_file_is_pulled_from_a_hub_converted_and_answers(hub, home):
    file = real_model_cache() / "cache" / "downloads" / CATALOGUE[0].file_name
    hub.repos["some/SmolLM2-GGUF"] = Repo({"SmolLM2-Q4_1.gguf": file, "SmolLM2-Q8_0.gguf": b"another"})
    with (
        running_host(home, HF_ENDPOINT=hub.url, ILLAMA_ENGINE="openvino", ILLAMA_DEVICE="CPU"),
        client_of(home) as client,
    ):
        assert list(client.pull("some/SmolLM2-GGUF:q4_1"))[-1]["name"] == "SmolLM2"
        reply = client.chat(
            "What is the capital of France?", model="some/SmolLM2-GGUF:Q4_1", max_tokens=20, temperature=0
        )
        assert "Paris" in reply.text
    entry = Registry(home / "registry").get("smollm2")
    assert (entry.digest, entry.weight_format, entry.context_length) == (CATALOGUE[0].sha256, "q4_1", 8192)
