"""Pulls from a hub that are refused: hostile repositories, what is no model, who may not; and whose token it is."""

from __future__ import annotations

import json

import pytest
from support_hub import Repo
from support_models import run_pull
from support_pull import NAME, downloads, failure

from illama.pull.hub import Hub, refused

pytestmark = pytest.mark.usefixtures("fake_engine")


@pytest.mark.parametrize(
    "name",
    ["../../evil", "/etc/evil", "a\\..\\evil", "C:\\evil", "C:evil", "a/../../evil", "x\nopenvino", "", "\u202e.md"],
)
def test_a_repository_with_a_dangerous_name_is_refused_whole(hub, tiny, home, name):
    tiny.files[name] = b"evil" * 20
    problem = failure()
    assert "dangerous name" in problem.message
    assert "\n" not in problem.message
    assert downloads(home) == []
    assert [each for each in hub.asked if each.server == "storage"] == []


def test_a_hub_that_talks_nonsense_is_not_believed(hub, tiny):
    tiny.commit = "../../../evil"
    assert "cannot be understood" in failure().message
    tiny.commit = "c" * 40
    tiny.lies["openvino_model.bin"] = {"size": -5}
    assert "cannot be understood" in failure().message


def test_a_link_in_the_cache_is_not_written_through(hub, tiny, home, tmp_path):
    folder = home / "cache" / "downloads" / f"OpenVINO--Tiny-1B-int4-ov--{'c' * 40}"
    folder.mkdir(parents=True)
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    (folder / "openvino_model.bin.part").symlink_to(victim)
    failure()
    assert victim.read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"model.safetensors": b"x" * 99, "config.json": b"{}"}, "config.json is missing or says nothing"),
        ({"pytorch_model.bin": b"x" * 99, "config.json": b"{}"}, "pickles alone"),
        ({"README.md": b"nothing"}, "neither OpenVINO IR, nor a GGUF file, nor a checkpoint"),
        ({}, "neither OpenVINO IR, nor a GGUF file, nor a checkpoint"),
        ({"openvino_model.bin": b"x", "openvino_model.xml": b"x"}, r"openvino_tokenizer.xml is missing"),
        ({"openvino_language_model.xml": b"x"}, "openvino_detokenizer.xml is missing"),
        ({"a-00001-of-00002.gguf": b"x", "a-00002-of-00002.gguf": b"x"}, "split into parts"),
        ({"a-Q5_K_M.gguf": b"x" * 99}, "cannot read Q5_K_M"),
    ],
)
def test_what_cannot_be_used_is_refused_before_it_is_fetched(hub, files, message):
    hub.repos["some/model"] = Repo(files)
    problem = failure("some/model")
    assert message in problem.message
    assert problem.status == 400
    assert set(hub.sent) <= {"config.json"}


def test_what_came_whole_and_is_no_model_is_not_kept(hub, tiny, home, registry):
    tiny.files["openvino_tokenizer.xml"] = b"not a graph"
    problem = failure()
    assert problem.message.startswith(f"{NAME} cannot be used as a model: openvino_tokenizer.xml")
    assert downloads(home) == []
    assert registry.entries() == []


# Who may.


def test_every_refusal_has_a_message_of_its_own(hub, tiny, monkeypatch):
    said = {}
    said["missing, as the hub says it to nobody"] = failure("nobody/nothing")
    said["missing"] = failure("nobody/nothing", token="hf_good")
    said["revision"] = failure(f"{NAME}@no-such")
    said["token"] = failure(token="hf_bad")
    tiny.gated = True
    said["gated"] = failure()
    tiny.gated = False
    hub.status = 503
    said["down"] = failure()
    hub.status = 429
    said["busy"] = failure()
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    said["network"] = failure()
    parts = {
        "missing, as the hub says it to nobody": "nobody/nothing is private on 127.0.0.1",
        "missing": "There is no model nobody/nothing",
        "revision": "has no revision 'no-such'",
        "token": "does not accept this HF_TOKEN",
        "gated": "is gated",
        "down": "HTTP 503",
        "busy": "too many requests",
        "network": "cannot be reached",
    }
    assert {key: parts[key] in problem.message for key, problem in said.items()} == dict.fromkeys(parts, True)
    assert len({problem.message for problem in said.values()}) == len(parts)
    assert not any("hf_bad" in f"{problem}{problem.__cause__!r}" for problem in said.values())


def test_a_gated_repository_is_pulled_with_a_token_that_nobody_else_sees(hub, tiny, registry, home):
    tiny.gated = tiny.private = True
    lines = run_pull({"source": NAME, "hf_token": "hf_good"}, home, HF_ENDPOINT=hub.url)
    assert lines[-1]["status"] == "success"
    assert {each.path: each.token for each in hub.asked if each.server == "hub" and each.token != "hf_good"} == {}
    elsewhere = [each for each in hub.asked if each.server == "storage"]
    assert elsewhere
    assert not any("hf_good" in f"{each}" for each in elsewhere)
    assert "hf_good" not in json.dumps(lines)
    written = [path for path in home.rglob("*") if path.is_file()]
    assert not [path for path in written if b"hf_good" in path.read_bytes()]


@pytest.mark.parametrize("status", [401, 403])
def test_a_gated_repository_says_more_to_an_account_without_access(status):
    stranger, known = (refused(Hub("https://hub.example", token), "a/b", status, "GatedRepo") for token in (None, "t"))
    assert "Accept its terms at https://hub.example/a/b" in stranger.hint
    assert "has no access" in known.hint
    assert refused(Hub("https://hub.example", "t"), "a/b", 403, None).message != known.message


def test_a_token_does_not_show_in_what_is_printed():
    assert "secret" not in repr(Hub("https://hub.example", "secret"))


def test_what_is_no_token_is_refused_without_being_quoted(home):
    lines = run_pull({"source": NAME, "hf_token": "hf_secret\r\nEvil: 1"}, home)
    assert lines[-1]["code"] == "invalid_request" or lines[-1]["status_code"] == 400
    assert "hf_secret" not in json.dumps(lines)
