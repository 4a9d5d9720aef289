"""Nothing is registered that the engine has not loaded and used; here the fake engine, with faults."""

from __future__ import annotations

import json

import pytest
from support_models import tiny_ir

from illama.config import Settings
from illama.errors import CancelledError, PullError
from illama.pull import proof
from illama.pull.job import pull
from illama.pull.progress import Progress
from illama.registry import Registry

pytestmark = pytest.mark.usefixtures("fake_engine")


def subject(tmp_path, task="text-generation", *, chat_template=True, **faults):
    folder = tmp_path / "model"
    folder.mkdir(parents=True)
    (folder / "fake.json").write_text(json.dumps(faults))
    return proof.Subject("Tiny", folder, task, 100, 2048, chat_template, {})


def prove(what, *, device=None, progress=None):
    return proof.prove(what, device, Settings.load(), progress or Progress(lambda line: None))


@pytest.mark.parametrize("task", ["text-generation", "embedding", "rerank"])
def test_a_model_that_runs_is_proven_with_the_device_and_the_engines_versions(tmp_path, task):
    assert prove(subject(tmp_path, task)) == {"device": "CPU", "fake": "1"}


def test_a_model_without_a_template_is_asked_by_a_raw_prompt(tmp_path):
    assert prove(subject(tmp_path, chat_template=False))["device"] == "CPU"
    with pytest.raises(PullError):
        prove(subject(tmp_path / "other", chat_template=False, die_at=1))


def test_a_model_for_a_device_that_is_elsewhere_is_proven_on_the_cpu(tmp_path):
    assert prove(subject(tmp_path), device="GPU.1")["device"] == "CPU"


@pytest.mark.parametrize(
    ("faults", "reason"),
    [
        ({"load_error": "no such layer"}, "no such layer"),
        ({"load_dies": True}, "ended with code 9"),
        ({"die_at": 1}, "ended with code"),
        ({"drop": True}, "KV cache"),
    ],
)
def test_what_fails_says_why_and_where_the_log_is(tmp_path, faults, reason):
    with pytest.raises(PullError) as caught:
        prove(subject(tmp_path, **faults))
    assert "does not run, so it was not kept" in caught.value.message
    assert reason in caught.value.message
    assert str(Settings.load().log_dir) in caught.value.hint


def test_an_engine_that_hangs_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setenv("ILLAMA_STEP_LIMIT_SEC", "1")
    with pytest.raises(PullError, match="did nothing for 1 seconds"):
        prove(subject(tmp_path, hang_at=1))


def test_a_pull_that_is_stopped_stops_its_proof(tmp_path):
    progress = Progress(lambda line: progress.cancel() if "on CPU" in line["status"] else None)
    with pytest.raises(CancelledError):
        prove(subject(tmp_path, load_sec=60), progress=progress)


def test_what_does_not_run_is_not_registered_and_leaves_nothing(tmp_path, home):
    folder = tiny_ir(tmp_path / "Phi-4")
    (folder / "chat_template.jinja").write_text("x")
    settings = Settings.load()
    registry = Registry(settings.registry_dir)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "max_position_embeddings": 4}))
    with pytest.raises(PullError, match="does not run"):
        pull(str(folder), name=None, device=None, settings=settings, progress=Progress(lambda line: None))
    assert registry.entries() == []
    assert list((registry.root / ".staging").iterdir()) == []
