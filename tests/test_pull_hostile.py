"""Repositories that mean harm: nothing of them is run, and only what a model needs is written, where it belongs."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from pathlib import Path

import pytest
from support_hub import Repo, playing, repo_of
from support_models import run_pull, tiny_ir

from illama.pull.repos import parse
from illama.registry import Registry

NAME = "OpenVINO/Tiny-1B-int4-ov"
README = b"# readme\n" * 600_000


class Bomb:
    """What a pickle can do to who loads it."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return (os.mkdir, (str(self.canary),))


@pytest.fixture
def hub():
    with playing() as running:
        yield running


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    """The folder in which the pulls run, so that a file that they make there is seen."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture
def canary(tmp_path):
    """A path that exists if something of the repository was run."""
    return tmp_path / "canary"


def code(canary):
    return f"import os\nos.mkdir({str(canary)!r})\n".encode()


def everything(root):
    """Each path below a folder, with a file's content."""
    found = {}
    for path in root.rglob("*"):
        relative = path.relative_to(root).as_posix()
        found[relative] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
    return found


def pull(hub, home, source, **request):
    """The last line of a pull, after which all that lies outside of its home is as it was."""
    before = {path: what for path, what in everything(home.parent).items() if not path.startswith("home")}
    lines = run_pull({"source": source, **request}, home, HF_ENDPOINT=hub.url, ILLAMA_ENGINE="fake")
    after = {path: what for path, what in everything(home.parent).items() if not path.startswith("home")}
    assert after == before
    return lines[-1]


def test_of_a_repository_full_of_traps_only_the_model_is_taken(hub, home, tmp_path, canary):
    folder = tiny_ir(tmp_path / "repo", auto_map={"AutoModel": "modeling_evil.Evil"})
    repo = hub.repos[NAME] = repo_of(folder)
    wanted = set(repo.files)
    repo.files |= {
        "modeling_evil.py": code(canary),
        "setup.py": code(canary),
        "pytorch_model.bin": pickle.dumps(Bomb(canary)) + b"x" * 99,
        "openvino_model.bin; touch canary": b"x" * 99,
        "$(touch canary).json": b"{}",
        "`touch canary`.txt": b"x",
        "--upgrade": b"x",
        "a name with spaces & a | b > c.json": b"{}",
        "link": b"../../../../etc/passwd",
        "README.md": README,
        "sub/openvino_model.bin": b"x" * 99,
    }
    assert pull(hub, home, NAME)["status"] == "success"
    registry = Registry(home / "registry")
    entry = registry.get(NAME)
    assert set(entry.files) == wanted
    assert set(hub.sent) == wanted
    assert not canary.exists()
    assert list(tmp_path.rglob("*canary*")) == []
    assert [path for path in home.rglob("*") if path.is_symlink()] == []


@pytest.mark.parametrize("config", ["config.json", "tokenizer_config.json"])
def test_a_checkpoint_that_brings_code_is_refused_before_its_weights_are_fetched(hub, home, canary, config):
    files = {
        "config.json": json.dumps({"architectures": ["LlamaForCausalLM"], "model_type": "llama"}).encode(),
        "tokenizer_config.json": b"{}",
        "tokenizer.json": b"{}",
        "model.safetensors": b"w" * 1000,
        "modeling_evil.py": code(canary),
    }
    told = json.loads(files[config])
    files[config] = json.dumps({**told, "auto_map": {"AutoModelForCausalLM": "modeling_evil.Evil"}}).encode()
    hub.repos["evil/Model"] = Repo(files)
    last = pull(hub, home, "evil/Model")
    assert "brings code of its own" in last["error"]
    assert "--trust-remote-code" in last["error"]
    assert {"model.safetensors", "modeling_evil.py"}.isdisjoint(hub.sent)
    assert not canary.exists()
    assert Registry(home / "registry").entries() == []


def test_pickles_alone_are_refused_and_not_fetched(hub, home, canary):
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    weights = pickle.dumps(Bomb(canary)) + b"x" * 99
    hub.repos["evil/Model"] = Repo(
        {"config.json": json.dumps(config).encode(), "pytorch_model.bin": weights, "training_args.bin": weights}
    )
    last = pull(hub, home, "evil/Model", trust_remote_code=True)
    assert "pickles alone" in last["error"]
    assert {"pytorch_model.bin", "training_args.bin"}.isdisjoint(hub.sent)
    assert not canary.exists()


@pytest.mark.parametrize(
    "file", ["../../evil.bin", "/tmp/evil.bin", "a\\..\\evil.bin", "openvino_model.xml/../../evil"]
)
def test_a_name_that_leads_elsewhere_is_refused_with_all_that_comes_with_it(hub, home, tmp_path, file):
    repo = hub.repos[NAME] = repo_of(tiny_ir(tmp_path / "repo"))
    repo.files[file] = b"evil" * 20
    last = pull(hub, home, NAME)
    assert "dangerous name" in last["error"]
    assert hub.sent == {}
    assert Registry(home / "registry").entries() == []


@pytest.mark.parametrize(
    "source",
    [
        "org/$(touch canary)",
        "org/name; touch canary",
        "org/`touch canary`",
        "org/../../name",
        "org/na\nme",
        "-e/x",
        "org/-x",
    ],
)
def test_a_source_with_a_shells_characters_is_no_repository(hub, home, source):
    assert parse(source) is None
    assert "error" in pull(hub, home, source)
    assert hub.asked == []
