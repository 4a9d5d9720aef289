"""The quickstart in the programs that people run notebooks with, on the real small model."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from support_kernels import ROOT, end_host, environment
from support_models import real_model_cache

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
QUICKSTART = ROOT / "notebooks" / "01_quickstart.ipynb"
WAIT = 300


@pytest.fixture
def env(home: Path) -> Iterator[dict[str, str]]:
    kept = real_model_cache()
    env = environment(home, ILLAMA_REGISTRY_DIR=str(kept / "registry"), ILLAMA_CACHE_DIR=str(kept / "cache"))
    yield env
    end_host(env)


def run(env: dict[str, str], *command: str) -> None:
    done = subprocess.run([sys.executable, "-m", *command], env=env, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]


def outputs(path: Path) -> str:
    notebook = nbformat.read(path, as_version=4)
    return str([cell.get("outputs") for cell in notebook.cells])


def test_nbconvert_executes_the_quickstart(env: dict[str, str], tmp_path: Path):
    run(env, "nbconvert", "--execute", "--to", "notebook", "--output-dir", str(tmp_path), str(QUICKSTART))
    assert "The capital of France is Paris." in outputs(tmp_path / QUICKSTART.name)


def test_papermill_executes_the_quickstart(env: dict[str, str], tmp_path: Path):
    pytest.importorskip("papermill")
    run(env, "papermill", "--no-progress-bar", "-k", "python3", str(QUICKSTART), str(tmp_path / "out.ipynb"))
    assert "The capital of France is Paris." in outputs(tmp_path / "out.ipynb")


@pytest.mark.skipif(os.name == "nt", reason="there is no pseudo-terminal")
@pytest.mark.parametrize(
    ("program", "prompt"), [(("IPython", "--colors=NoColor"), r"In \[1\]: "), (("jupyter_console",), r"In \[1\]: ")]
)
def test_a_terminal_runs_the_quickstart(env: dict[str, str], program: tuple[str, ...], prompt: str):
    pytest.importorskip(program[0])
    pexpect = pytest.importorskip("pexpect")
    terminal = {**env, "TERM": "dumb", "COLUMNS": "120"}
    child = pexpect.spawn(
        sys.executable, ["-m", *program, "--simple-prompt"], env=terminal, cwd=str(ROOT), encoding="utf-8", timeout=WAIT
    )
    try:
        child.expect(prompt)
        child.sendline(f"%run {QUICKSTART}")
        child.expect("The capital of France is Paris")
        child.expect("SmolLM2-135M-Instruct is unloaded")
        child.expect(r"In \[\d+\]: ")
        child.sendline("%illama list")
        child.expect("text-generation")
        assert "Traceback" not in child.before
        child.sendline("exit")
        child.expect(pexpect.EOF)
    finally:
        child.close(force=True)
