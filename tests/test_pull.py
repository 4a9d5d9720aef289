"""A pull from its request to the registry, in this process, with made-up models: folders and GGUF files."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import pytest
from support_models import tiny_gguf, tiny_ir
from support_pull import WRITES_IR, do_pull, leftovers

from illama.errors import (
    BrokenModelError,
    CancelledError,
    ConfigError,
    InvalidNameError,
    ModelExistsError,
    PullError,
    RegistryError,
)
from illama.pull import children, convert, wheel
from illama.pull.job import Result
from illama.pull.progress import Progress

pytestmark = pytest.mark.usefixtures("fake_engine")


def test_a_folder_becomes_a_model_and_stays_the_users_own(registry, tmp_path):
    folder = tiny_ir(tmp_path / "Phi-4", weights=b"x" * 100)
    assert do_pull(folder, device="npu") == Result("Phi-4", existing=False)
    entry = registry.get("phi-4")
    registry.check(entry)
    assert entry.digest == entry.source["sha256"] == hashlib.sha256(b"x" * 100).hexdigest()
    assert entry.source == {"kind": "ir", "file": str(folder), "sha256": entry.digest}
    assert (entry.context_length, entry.device, entry.chat_template) == (2048, "NPU", True)
    registry.remove("Phi-4")
    assert (folder / "openvino_model.bin").read_bytes() == b"x" * 100


def test_what_is_installed_already_is_a_success_at_once(registry, tmp_path):
    folder = tiny_ir(tmp_path / "Phi-4")
    do_pull(folder)
    assert do_pull(folder) == Result("Phi-4", existing=True)
    assert do_pull(folder, name="PHI-4") == Result("Phi-4", existing=True)
    folder.rename(tmp_path / "moved")
    assert do_pull("phi-4") == Result("Phi-4", existing=True)


def test_what_is_installed_but_damaged_is_not_called_a_success(registry, tmp_path):
    folder = tiny_ir(tmp_path / "Phi-4")
    do_pull(folder)
    (registry.root / "Phi-4" / "openvino_model.bin").unlink()
    with pytest.raises(BrokenModelError):
        do_pull(folder)


def test_another_model_of_that_name_overwrites_nothing(registry, tmp_path):
    do_pull(tiny_ir(tmp_path / "one" / "Phi-4"))
    other = tiny_ir(tmp_path / "two" / "Phi-4", weights=b"other" * 20)
    with pytest.raises(ModelExistsError) as caught:
        do_pull(other)
    assert "--name" in caught.value.hint
    assert do_pull(other, name="Phi-4:other") == Result("Phi-4:other", existing=False)
    assert (registry.root / "Phi-4" / "openvino_model.bin").read_bytes() == b"w" * 64
    assert leftovers(registry) == []


@pytest.mark.parametrize("name", ["../x", "a/b", ""])
def test_a_bad_name_is_refused_before_anything_else(tmp_path, name):
    with pytest.raises(InvalidNameError):
        do_pull(tmp_path / "nowhere", name=name)


def test_a_bad_device_is_refused_before_anything_else(tmp_path):
    with pytest.raises(ConfigError, match="TPU"):
        do_pull(tmp_path / "nowhere", device="TPU")


def test_a_folder_whose_name_no_model_may_have_gets_one_that_is_near(tmp_path):
    assert do_pull(tiny_ir(tmp_path / "my model -- (v2)")).name == "my-model-v2"


def test_a_gguf_file_is_converted_by_the_engines_python_and_is_no_part_of_the_model(
    registry, tmp_path, fake_engine_python
):
    fake_engine_python(WRITES_IR)
    file = tiny_gguf(tmp_path / "Tiny.Q4_1.gguf")
    assert do_pull(file) == Result("Tiny", existing=False)
    entry = registry.get("tiny")
    assert set(entry.files) == {
        f"openvino_{p}.{k}" for p in ("model", "tokenizer", "detokenizer") for k in ("xml", "bin")
    }
    assert entry.recipe == {
        "name": "keep",
        "device": None,
        "weights": "q4_1",
        "openvino": "1.2.3",
        "openvino_genai": "4.5.6",
        "proven": {"device": "CPU", "fake": "1"},
    }
    assert entry.digest == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (entry.licence, entry.architecture, entry.weight_format) == ("apache-2.0", "llama", "q4_1")
    assert do_pull(file).existing


def test_the_same_model_in_another_weight_format_gets_it_behind_a_colon(tmp_path, fake_engine_python):
    fake_engine_python(WRITES_IR)
    do_pull(tiny_gguf(tmp_path / "Tiny.Q4_1.gguf"))
    assert do_pull(tiny_gguf(tmp_path / "Tiny.Q8_0.gguf", kind=8, block=34)).name == "Tiny:q8_0"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise RuntimeError('Check failed: unsupported tensor')", "unsupported tensor"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "out of memory"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "died of signal 11"),
        ("import os; os._exit(0)", "ended with code 0"),
        ("pass", "openvino_model.xml is missing"),
        (WRITES_IR + "open(Path(path).parent / 'openvino_model.bin', 'w').close()", "openvino_model.bin is empty"),
        ("raise OSError(28, 'No space left on device')", "disk is full"),
    ],
)
def test_a_failed_conversion_says_why_and_leaves_nothing(registry, tmp_path, fake_engine_python, code, message):
    fake_engine_python(code)
    with pytest.raises(PullError) as caught:
        do_pull(tiny_gguf(tmp_path / "Tiny.gguf"))
    assert message in caught.value.message
    assert caught.value.hint
    assert registry.entries() == []
    assert leftovers(registry) == []


def test_an_engine_python_without_openvino_genai_is_named(tmp_path, fake_engine_python):
    fake_engine_python("pass")
    (tmp_path / "site" / "openvino_genai.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'openvino_genai'\")"
    )
    with pytest.raises(PullError, match="has no openvino-genai") as caught:
        do_pull(tiny_gguf(tmp_path / "Tiny.gguf"))
    assert "ILLAMA_ENGINE_PYTHON" in caught.value.hint


def test_an_engine_python_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("ILLAMA_ENGINE_PYTHON", str(tmp_path / "nowhere" / "python"))
    with pytest.raises(PullError, match="cannot be started"):
        do_pull(tiny_gguf(tmp_path / "Tiny.gguf"))


def test_a_registry_that_cannot_be_written_is_found_out_before_the_download(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("ILLAMA_REGISTRY_DIR", str(tmp_path / "file" / "registry"))
    monkeypatch.setattr(wheel, "fetch", lambda *args: pytest.fail("downloaded"))
    with pytest.raises(RegistryError, match=r"file/registry"):
        do_pull("smollm2")


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("ILLAMA_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with pytest.raises(PullError, match=r"file/cache") as caught:
        do_pull("smollm2")
    assert "ILLAMA_CACHE_DIR" in caught.value.hint


def test_a_cancel_in_the_middle_of_a_conversion_ends_the_child_and_leaves_nothing(
    registry, tmp_path, fake_engine_python
):
    fake_engine_python(
        "import os, time\n(Path(path).parent.parent.parent / 'pid').write_text(str(os.getpid()))\ntime.sleep(600)"
    )
    pid_file = registry.root / "pid"
    lines = []

    def emit(line):
        lines.append(line)
        if pid_file.exists() and pid_file.read_text():
            progress.cancel()

    progress = Progress(emit)
    with pytest.raises(CancelledError):
        do_pull(tiny_gguf(tmp_path / "Tiny.gguf"), progress=progress)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)
    assert leftovers(registry) == []
    assert {line["phase"] for line in lines} >= {"resolve", "convert"}


def test_a_child_that_is_given_up_is_killed_with_its_own_children(tmp_path):
    code = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        "open('pid', 'w').write(str(p.pid)); p.wait()"
    )

    def tick():
        if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text():
            raise CancelledError("enough")

    with pytest.raises(CancelledError):
        children.run([sys.executable, "-c", code], tick=tick, cwd=tmp_path)
    grandchild = int((tmp_path / "pid").read_text())
    status = Path(f"/proc/{grandchild}/stat")
    assert not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"


def test_the_converter_gives_way_to_no_module_of_the_folder_it_lies_in(tmp_path):
    # gguf.py, files.py and the others beside it must not stand in for modules that openvino imports.
    neighbours = [path.stem for path in convert._SCRIPT.parent.glob("*.py")]
    assert "gguf" in neighbours
    (tmp_path / "openvino.py").write_text("import sys\nprint([p for p in sys.path if p.endswith('pull')])\nsys.exit(9)")
    done = children.run(
        [sys.executable, str(convert._SCRIPT), "x", "y"],
        tick=lambda: None,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert done == children.Finished(9, "[]\n")
