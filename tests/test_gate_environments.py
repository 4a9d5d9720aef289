"""A Jupyter server in an environment of its own, without OpenVINO, and a kernel in another one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from jupyter_client.manager import start_new_kernel
from packaging.requirements import Requirement
from support_gate import TOKEN
from support_host import fake_model
from support_kernels import ROOT, end_host, environment, run_cell
from support_lab import server_url

from illama.host import state

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

KEY = {"Authorization": f"Bearer {TOKEN}"}
CHAT = {"model": "echo", "messages": [{"role": "user", "content": "hello there"}]}


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter with a Jupyter server and illama, and all that illama needs but OpenVINO."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    found = folder / "bin" / "python"
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    others = [each for each in needed if Requirement(each).name != "openvino-genai"]
    subprocess.run([str(found), "-m", "pip", "install", "-q", *others], check=True)
    subprocess.run([str(found), "-m", "pip", "install", "-q", "--no-deps", str(ROOT)], check=True)
    return found


@contextmanager
def server(python: Path, home: Path, **variables: str) -> Iterator[str]:
    """A server of that environment, the extension enabled by its installation alone. Gives its URL."""
    env = environment(home, **variables)
    del env["PYTHONPATH"]
    command = [str(python), "-m", "jupyter_server", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0"]
    log = home.parent / "jupyter.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={home.parent}"],
            env=env,
            cwd=home.parent,
            stdout=output,
            stderr=output,
        )
    try:
        yield server_url(Path(env["JUPYTER_RUNTIME_DIR"]), process, log)
    finally:
        process.terminate()
        process.wait(30)
        end_host(env)


def ask(url: str) -> httpx.Response:
    return httpx.post(f"{url}illama/v1/chat/completions", json=CHAT, headers=KEY, timeout=120, trust_env=False)


def test_without_openvino_the_extension_loads_and_says_what_is_missing(python: Path, home: Path):
    fake_model(home, "echo")
    with server(python, home) as url:
        answers = [httpx.get(f"{url}illama/v1/models", headers=KEY, timeout=60, trust_env=False), ask(url)]
        page = httpx.get(f"{url}illama/ui/", headers=KEY, timeout=60, trust_env=False)
    assert page.status_code == 200
    for answer in answers:
        assert answer.status_code == 503
        assert "no OpenVINO GenAI" in answer.json()["error"]["message"]
        assert "pip install openvino-genai" in answer.json()["error"]["hint"]


def test_a_server_and_a_kernel_in_two_environments_share_one_host(python: Path, home: Path):
    fake_model(home, "echo")
    with server(python, home, ILLAMA_ENGINE="fake") as url:
        assert ask(url).json()["choices"][0]["message"]["content"] == "hello there"
        begun = state.read(home / "run")
        kernel_env = {**environment(home, ILLAMA_ENGINE="fake"), "PYTHONPATH": os.fspath(ROOT)}
        manager, client = start_new_kernel(env=kernel_env)
        try:
            run_cell(client, "%load_ext illama")
            said = run_cell(client, "import illama; print(illama.chat('hello from here'))")
            messages = run_cell(client, "import sys; print(sys.executable)")
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
        after = state.read(home / "run")
    printed = ["".join(c["text"] for k, c in each if k == "stream") for each in (said, messages)]
    assert printed[0].strip() == "hello from here"
    assert printed[1].strip() != os.fspath(python)
    assert begun is not None
    assert after is not None
    assert begun.pid == after.pid
