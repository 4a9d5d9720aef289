"""Which interpreter converts, and how its environment is made: whole or not at all, once, and only when agreed to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import support_checkpoints

from illama.config import Settings
from illama.errors import CancelledError, ConverterNeededError, PullError
from illama.pull import children, environment
from illama.pull.children import Finished
from illama.pull.progress import Progress

VERSIONS = json.dumps(dict.fromkeys(environment.NEEDED, "9.9"))


@pytest.fixture
def alone(monkeypatch):
    """This interpreter cannot convert, whatever is installed."""
    monkeypatch.setattr(environment, "_version", lambda name: None)


@pytest.fixture
def steps(monkeypatch, alone):
    """The commands of an environment's making, none of them carried out. `fails` are marks of those that fail."""

    class Steps(list):
        fails: tuple[str, ...] = ()
        during = staticmethod(lambda words: None)

    made = Steps()

    def run(command, *, tick, cwd, env=None, log=None):
        tick()
        words = " ".join(command)
        made.append((words, env))
        made.during(words)
        if any(mark in words for mark in made.fails):
            return Finished(1, "ERROR: No matching distribution found for torch")
        if " -m venv " in words:
            python = environment._python(Path(command[-1]))
            python.parent.mkdir(parents=True)
            python.write_text("")
        return Finished(0, VERSIONS if "metadata" in words else "")

    monkeypatch.setattr(children, "run", run)
    return made


def progress(lines=None):
    return Progress((lines if lines is not None else []).append)


def leftovers(settings):
    return [path for path in settings.converter_dir.iterdir() if path.is_dir()]


def test_this_interpreter_converts_if_it_has_all_that_is_needed(monkeypatch):
    monkeypatch.setattr(environment, "_version", {**dict.fromkeys(environment.NEEDED, "9.9")}.get)
    assert environment.find(Settings.load()) == environment.Converter(Path(sys.executable), own=False)
    monkeypatch.setattr(environment, "_version", {**dict.fromkeys(environment.NEEDED, "9"), "nncf": None}.get)
    assert environment.find(Settings.load()) is None
    monkeypatch.setattr(
        environment, "_version", {**dict.fromkeys(environment.NEEDED, "9"), "optimum-intel": "1.27"}.get
    )
    assert environment.find(Settings.load()) is None


def test_nothing_heavy_is_imported_to_find_out():
    code = "from illama.config import Settings; from illama.pull import environment; environment.find(Settings.load());"
    code += "import sys; print([m for m in ('torch', 'optimum', 'openvino', 'transformers') if m in sys.modules])"
    root = str(Path(__file__).parent.parent)
    assert subprocess.check_output([sys.executable, "-c", code], cwd=root, text=True).strip() == "[]"


def test_a_named_interpreter_without_the_packages_is_refused_with_what_it_lacks(monkeypatch, home):
    python = home / "python"
    python.write_text('#!/bin/sh\necho \'{"torch": "2", "nncf": "3"}\'\n')
    python.chmod(0o700)
    monkeypatch.setenv("ILLAMA_CONVERTER_PYTHON", str(python))
    with pytest.raises(PullError, match="has no optimum-intel, openvino, openvino-tokenizers, transformers"):
        environment.find(Settings.load())
    python.write_text(f"#!/bin/sh\necho '{VERSIONS}'\n")
    assert environment.find(Settings.load()) == environment.Converter(python, own=False)
    monkeypatch.setenv("ILLAMA_CONVERTER_PYTHON", str(home / "none"))
    with pytest.raises(PullError, match="cannot be started"):
        environment.find(Settings.load())


def test_without_consent_nothing_is_made_and_the_error_says_how(alone, home):
    settings = Settings.load()
    with pytest.raises(ConverterNeededError) as caught:
        environment.need(settings, "microsoft/Phi-4", make=False)
    assert caught.value.code == "converter_needed"
    assert "--yes" in caught.value.hint
    assert str(home / "converter") in caught.value.hint
    environment.need(settings, "microsoft/Phi-4", make=True)
    assert not settings.converter_dir.exists()


def test_an_environment_is_made_aside_and_found_afterwards(steps, home):
    settings = Settings.load()
    steps.during = lambda words: assert_not_ready(settings)
    lines = []
    made = environment.ensure(settings, progress(lines))
    assert made == environment.find(settings) == environment.Converter(made.python, own=True)
    assert made.python.is_relative_to(environment.place(settings))
    assert leftovers(settings) == [environment.place(settings)]
    assert {line["phase"] for line in lines} == {"environment"}
    count = len(steps)
    environment.ensure(settings, progress())
    assert len(steps) == count


def assert_not_ready(settings):
    assert environment.find(settings) is None


def test_pytorchs_own_index_is_tried_quickly_and_then_the_users(steps, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(environment.platform, "machine", lambda: "x86_64")
    steps.fails = (environment.CPU_INDEX,)
    environment.ensure(Settings.load(), progress())
    installs = [words for words, _ in steps if " install " in words]
    assert "--index-url https://download.pytorch.org/whl/cpu --timeout 5 --retries 0" in installs[0]
    assert "--index-url" not in installs[1]
    assert "torch==" in installs[1]
    assert "--constraint" in installs[2]


def test_a_torchvision_that_does_not_fit_is_removed(steps):
    steps.fails = ("import torchvision",)
    environment.ensure(Settings.load(), progress())
    assert [words for words, _ in steps if " uninstall " in words and words.endswith("--yes torchvision")]


def test_settings_that_would_put_packages_elsewhere_are_not_passed_on(steps, monkeypatch):
    monkeypatch.setenv("PIP_TARGET", "/somewhere")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("PIP_INDEX_URL", "https://example.org")
    environment.ensure(Settings.load(), progress())
    assert steps
    for _, env in steps:
        assert not {"PIP_TARGET", "PYTHONPATH", "HF_TOKEN"} & env.keys()
        assert env["PIP_INDEX_URL"] == "https://example.org"


@pytest.mark.parametrize("failing", ["-m venv", "optimum-intel==", "import nncf"])
def test_what_fails_or_is_stopped_leaves_nothing_that_is_taken_for_ready(steps, failing):
    settings = Settings.load()
    steps.fails = (failing,)
    with pytest.raises(PullError, match="The converter's environment could not be made"):
        environment.ensure(settings, progress())
    assert leftovers(settings) == []
    assert environment.find(settings) is None
    steps.fails = ()
    stopped = Progress(lambda line: stopped.cancel() if "trying" in line["status"] else None)
    with pytest.raises(CancelledError):
        environment.ensure(settings, stopped)
    assert leftovers(settings) == []


def test_what_a_kill_left_behind_is_cleaned_up_by_the_next(steps):
    settings = Settings.load()
    left = settings.converter_dir / ".building-dead"
    left.mkdir(parents=True)
    half = environment.place(settings)
    (half / "bin").mkdir(parents=True)
    assert environment.find(settings) is None
    environment.ensure(settings, progress())
    assert leftovers(settings) == [half]
    assert environment.find(settings) is not None


def test_two_at_once_make_one(steps):
    settings = Settings.load()
    at_work, go_on = threading.Event(), threading.Event()

    def during(words):
        at_work.set()
        assert go_on.wait(30)

    steps.during = during
    waits = threading.Event()
    second_lines = Progress(lambda line: waits.set() if "waiting" in line["status"] else None)
    found = []
    first = threading.Thread(target=lambda: found.append(environment.ensure(settings, progress())))
    second = threading.Thread(target=lambda: found.append(environment.ensure(settings, second_lines)))
    first.start()
    assert at_work.wait(30)
    second.start()
    assert waits.wait(30)
    go_on.set()
    first.join()
    second.join()
    assert found[0] == found[1]
    assert len([words for words, _ in steps if " -m venv " in words]) == 1


@pytest.mark.slow
def test_the_real_environment_can_convert_and_the_users_packages_are_the_same_after_it():
    python = support_checkpoints.converter_python()
    assert support_checkpoints.packages() == support_checkpoints.packages_before()
    settings = Settings.load({"ILLAMA_HOME": str(support_checkpoints.cache())})
    assert environment.find(settings) == environment.Converter(python, own=True)
    code = "import torch, optimum.intel, sys; print(sys.prefix, torch.version.cuda)"
    out = subprocess.check_output([str(python), "-c", code], text=True, env=environment.environ(), cwd=os.sep)
    assert out.split()[0] == str(environment.place(settings))
