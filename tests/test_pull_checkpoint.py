"""Pulls of checkpoints with a made-up optimum-intel: the steps around the conversion, its failures, what is kept."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from support_host import eventually
from support_hub import playing, repo_of
from support_models import pull_environment

from illama.config import Settings
from illama.errors import ConverterNeededError, ModelNotFoundError, PullError
from illama.host import memory
from illama.pull import environment, export
from illama.pull.job import pull
from illama.pull.progress import Progress

pytestmark = pytest.mark.usefixtures("fake_engine")

CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "max_position_embeddings": 2048,
    "dtype": "bfloat16",
}
# What stands for optimum-intel: `fails` are the names of settings for which a compression fails, `tuned` what it has
# found for a model, `export` a statement that is run in the export.
OPTIMUM = """
import pathlib, sys
sys.path[:0] = [{tests!r}, {root!r}]
FAILS, TUNED = {fails!r}, {tuned!r}

def main_export(source, output, **kwargs):
    assert kwargs["library_name"] == "transformers" and kwargs["convert_tokenizer"] is True
    assert kwargs["trust_remote_code"] is {trusted!r}
    assert sorted(p.name for p in pathlib.Path(source).iterdir()) == {files!r}, list(pathlib.Path(source).iterdir())
    {export}
    import support_models
    for path in support_models.tiny_ir(pathlib.Path(output) / "made").iterdir():
        path.rename(pathlib.Path(output) / path.name)

class OVModelForCausalLM:
    @classmethod
    def from_pretrained(cls, folder, quantization_config, **kwargs):
        model = cls()
        model.folder, model.config = pathlib.Path(folder), quantization_config
        return model
    def save_pretrained(self, folder):
        if any(self.config.get(key) == value for key, value in FAILS):
            raise ValueError("this group does not divide that")
        for name in ("openvino_model.xml", "openvino_model.bin"):
            (pathlib.Path(folder) / name).write_bytes((self.folder / name).read_bytes())

class OVConfig:
    def __init__(self, **kwargs):
        pass

def get_default_quantization_config(model, weight_format):
    return TUNED.get(model)
"""


@pytest.fixture
def optimum(tmp_path, monkeypatch):
    """An interpreter whose optimum-intel is as the arguments say."""
    site, python = tmp_path / "site", tmp_path / "python"

    def make(fails=(), tuned=None, export="pass", trusted=False, files=("config.json", "model.safetensors")):
        text = OPTIMUM.format(
            tests=str(Path(__file__).parent),
            root=str(Path(__file__).parent.parent),
            fails=list(fails),
            tuned=tuned or {},
            export=export,
            trusted=trusted,
            files=sorted(files),
        )
        for package in ("optimum", "optimum/exporters", "optimum/exporters/openvino", "optimum/intel/openvino"):
            (site / package).mkdir(parents=True, exist_ok=True)
        (site / "fake_optimum.py").write_text(text)
        for module in ("exporters/openvino/__init__", "intel/__init__", "intel/openvino/configuration"):
            (site / "optimum" / f"{module}.py").write_text("from fake_optimum import *\n")
        for name in environment.NEEDED:
            info = site / f"{name.replace('-', '_')}-9.9.dist-info"
            info.mkdir(exist_ok=True)
            (info / "METADATA").write_text(f"Name: {name}\nVersion: 9.9\n")
        python.write_text(f'#!/bin/sh\nPYTHONPATH={site} exec {sys.executable} "$@"\n')
        python.chmod(0o700)
        monkeypatch.setenv("ILLAMA_CONVERTER_PYTHON", str(python))
        return python

    return make


@pytest.fixture
def checkpoint(tmp_path):
    """A folder with a checkpoint, of 3 kB."""
    folder = tmp_path / "Tiny-1B"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "model.safetensors").write_bytes(b"w" * 3000)
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    return folder


def do_pull(source, *, lines=None, **wanted):
    progress = Progress((lines if lines is not None else []).append)
    return pull(str(source), name=None, device=None, settings=Settings.load(), progress=progress, **wanted)


def test_a_checkpoint_becomes_a_model_with_its_recipe(optimum, checkpoint, registry):
    optimum()
    lines = []
    assert do_pull(checkpoint, weight_format="int4", lines=lines).name == "Tiny-1B"
    entry = registry.get("tiny-1b")
    assert (entry.task, entry.weight_format, entry.context_length) == ("text-generation", "int4", 2048)
    assert entry.recipe["name"] == "int4-sym-128"
    assert entry.recipe["optimum_intel"] == "9.9"
    assert entry.recipe["proven"] == {"device": "CPU", "fake": "1"}
    assert "failed" not in entry.recipe
    assert not any(name.endswith((".safetensors", "job.json")) or "/" in name for name in entry.files)
    assert [line["phase"] for line in lines if line["phase"] in {"convert", "prove", "register"}][-1] == "register"
    assert do_pull(checkpoint, weight_format="int4").existing
    assert do_pull(checkpoint, weight_format="int8").name == "Tiny-1B:int8"


def test_the_next_best_recipe_is_taken_and_told_of(optimum, checkpoint, registry):
    optimum(fails=[("group_size", 128)])
    lines = []
    do_pull(checkpoint, weight_format="int4", lines=lines)
    entry = registry.get("tiny-1b")
    assert entry.recipe["name"] == "int4-sym-fitted"
    assert entry.recipe["failed"] == [{"recipe": "int4-sym-128", "reason": "this group does not divide that"}]
    optimum(fails=[("bits", 4), ("bits", 8)])
    with pytest.raises(PullError, match="could not be converted"):
        do_pull(checkpoint, weight_format="int8")
    assert [each.name for each in registry.entries()] == ["Tiny-1B"]


def test_auto_goes_on_to_another_format_and_is_called_what_it_became(optimum, checkpoint, registry):
    optimum(fails=[("bits", 8)])
    do_pull(checkpoint)
    entry = registry.get("tiny-1b")
    assert (entry.weight_format, entry.recipe["name"], entry.recipe["asked"]) == ("fp16", "fp16", "auto")
    assert entry.options == {"cpu_precision": "f32"}


def test_optimums_own_recipe_for_a_model_goes_first_without_its_data(optimum, checkpoint, registry, monkeypatch):
    tuned = {"bits": 4, "sym": False, "group_size": 64, "ratio": 0.8, "dataset": "wikitext2", "scale_estimation": True}
    optimum(tuned={"some/Tiny": tuned})
    with playing() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.repos["some/Tiny"] = repo_of(checkpoint)
        do_pull("some/Tiny", weight_format="int4")
        assert "pytorch_model.bin" not in hub.sent
    entry = registry.get("some/tiny")
    assert entry.recipe["name"] == "tuned-Tiny-without-data"
    assert entry.recipe["options"] == {
        "bits": 4,
        "sym": False,
        "group_size": 64,
        "ratio": 0.8,
        "quant_method": "default",
    }
    assert entry.aliases == ("some/Tiny", "some/Tiny:int4")
    assert entry.source["files"] == {"model.safetensors": entry.digest}
    assert registry.get("some/tiny:int4") == entry


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("raise OSError(28, 'No space left on device')", "disk is full"),
        ("raise ValueError('that is a custom or unsupported architecture')", "does not know its architecture"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "lack of memory"),
    ],
)
def test_a_conversion_that_fails_says_why_and_leaves_nothing_but_its_log(
    optimum, checkpoint, registry, home, statement, words
):
    optimum(export=statement)
    with pytest.raises(PullError, match=words) as caught:
        do_pull(checkpoint)
    log = Path(caught.value.hint.rpartition("The full log: ")[2].rstrip("."))
    assert log.parent == home / "logs"
    assert log.exists()
    assert registry.entries() == []
    assert list((registry.root / ".staging").iterdir()) == []


def test_a_checkpoint_with_code_is_refused_and_runs_only_when_asked(optimum, checkpoint, registry):
    config = {**CONFIG, "auto_map": {"AutoModelForCausalLM": "modeling_tiny.Tiny"}}
    (checkpoint / "config.json").write_text(json.dumps(config))
    (checkpoint / "modeling_tiny.py").write_text("raise SystemExit('this was run')\n")
    optimum(trusted=True, files=("config.json", "model.safetensors", "modeling_tiny.py"))
    with pytest.raises(PullError, match="brings code of its own"):
        do_pull(checkpoint)
    do_pull(checkpoint, trust_remote_code=True)
    assert registry.get("tiny-1b").recipe["remote_code"] is True


def test_without_a_converter_nothing_big_is_fetched(checkpoint, monkeypatch, registry):
    monkeypatch.setattr(environment, "_version", lambda name: None)
    with playing() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.repos["some/Tiny"] = repo_of(checkpoint)
        with pytest.raises(ConverterNeededError, match="some/Tiny is a checkpoint"):
            do_pull("some/Tiny")
        assert set(hub.sent) == {"config.json"}


def test_memory_is_looked_at_before_with_figures(optimum, checkpoint, monkeypatch):
    optimum()
    monkeypatch.setattr(memory, "machine", lambda: memory.Room("the machine's memory", 8 * 10**9, 900_000_000))
    with pytest.raises(PullError, match=r"needs 1\.0 GB of memory, and 900 MB are free") as caught:
        do_pull(checkpoint)
    assert caught.value.status == 507


def test_a_link_out_of_the_folder_is_refused(optimum, checkpoint, tmp_path):
    optimum()
    (tmp_path / "secret.json").write_text("{}")
    (checkpoint / "tokenizer.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(PullError, match="leads out of the folder"):
        do_pull(checkpoint)


def test_a_weight_format_for_what_is_quantized_already_is_refused(tmp_path):
    from support_models import tiny_ir

    with pytest.raises(PullError, match="quantized already"):
        do_pull(tiny_ir(tmp_path / "Phi-4"), weight_format="int4")


def test_a_pull_killed_in_the_conversion_leaves_nothing_and_no_process(optimum, checkpoint, registry, home, tmp_path):
    marker = tmp_path / "pid"
    python = optimum(
        export=f"import os, time; pathlib.Path({str(marker)!r}).write_text(str(os.getpid())); time.sleep(60)",
    )
    with subprocess.Popen(
        [sys.executable, "-m", "illama.pull"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=pull_environment(home, ILLAMA_CONVERTER_PYTHON=str(python)),
    ) as process:
        process.stdin.write(json.dumps({"source": str(checkpoint)}).encode() + b"\n")
        process.stdin.flush()
        assert next(line for line in process.stdout if b"reading the model" in line and marker.exists())
        os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(ModelNotFoundError):
        registry.get("tiny-1b")
    optimum()
    do_pull(checkpoint)
    assert registry.check(registry.get("tiny-1b"))
    assert list((registry.root / ".staging").iterdir()) == []
    eventually(lambda: is_over(int(marker.read_text())), "the converter has seen that nobody waits for it")


def is_over(pid: int) -> bool:
    """Whether a process has ended; one that nobody has asked how has ended too."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_what_a_conversion_needs_grows_with_the_model():
    class Big:
        bytes_in_16_bits = 16_000_000_000

    assert export.memory_needed(Big) == 33_000_000_000
    assert export.disk_needed(Big, "int4") > export.disk_needed(Big, "fp16") > 16_000_000_000
