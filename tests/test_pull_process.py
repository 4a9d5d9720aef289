"""A pull as the process that the host starts: its lines of JSON, its end, two of them at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support_models import pull_environment, run_pull, tiny_gguf, tiny_ir
from support_pull import WRITES_IR, leftovers

from illama.errors import from_wire
from illama.registry import Registry


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
