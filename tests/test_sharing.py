"""One engine for all: two real kernels and a terminal, on the real model; what a kernel's end costs the others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager
from support_host import eventually
from support_kernels import end_host, environment, run_cell
from support_models import real_model_cache

from illama.client import Client
from illama.config import Settings

pytestmark = pytest.mark.slow

ASK = """
reply = illama.chat("What is the capital of France?", temperature=0)
print(reply, round(reply.timings["load_ms"]))
"""


@pytest.fixture
def env(home: Path) -> Iterator[dict[str, str]]:
    env = environment(home, ILLAMA_REGISTRY_DIR=str(real_model_cache() / "registry"))
    yield env
    end_host(env)


@contextmanager
def running_kernel(env: dict[str, str], folder: Path) -> Iterator[tuple[KernelManager, Any]]:
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(env=env, cwd=str(folder))
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        yield manager, client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


def ask(kernel: Any) -> tuple[str, int]:
    """The answer in a cell, and the milliseconds of the load that it waited for."""
    messages = run_cell(kernel, "import illama" + ASK)
    assert [content for kind, content in messages if kind == "error"] == []
    text, _, load = "".join(content["text"] for kind, content in messages if kind == "stream").rpartition(" ")
    return text, int(load)


def test_two_kernels_and_a_terminal_share_one_engine_that_outlives_them(env: dict[str, str], tmp_path: Path) -> None:
    with ExitStack() as stack:
        manager, first = stack.enter_context(running_kernel(env, tmp_path))
        _, second = stack.enter_context(running_kernel(env, tmp_path))
        client = stack.enter_context(Client(start=False, settings=Settings.load(env)))

        text, load = ask(first)
        assert "Paris" in text
        assert load > 0
        engine = client.ps()[0]["pid"]

        assert ask(second) == (text, 0)
        command = [sys.executable, "-m", "illama.cli", "run", "smollm2", "What is the capital of France?"]
        terminal = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        assert "Paris" in terminal.stdout

        manager.restart_kernel(now=True)
        first.wait_for_ready(timeout=60)
        assert ask(first) == (text, 0)
        assert [model["pid"] for model in client.ps()] == [engine]


def test_a_kernel_that_is_killed_in_an_answer_frees_the_device_and_leaves_the_host(
    env: dict[str, str], tmp_path: Path
) -> None:
    with running_kernel(env, tmp_path) as (manager, kernel), Client(settings=Settings.load(env)) as client:
        kernel.execute("import illama\nillama.chat('Tell me a long story.', ignore_eos=True)")
        eventually(lambda: [model for model in client.ps() if model["running"]], "the kernel's request runs", 60)
        engine = client.ps()[0]["pid"]
        os.kill(manager.provisioner.pid, signal.SIGKILL)
        eventually(lambda: client.ps()[0]["running"] == 0, "the device is free")
        assert client.ps()[0]["pid"] == engine
        assert "Paris" in str(client.chat("What is the capital of France?", temperature=0))


def test_ctrl_c_in_a_terminal_stops_the_answer_and_leaves_the_host(env: dict[str, str]) -> None:
    command = [sys.executable, "-m", "illama.cli", "run", "smollm2", "Tell me a very long story."]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    with Client(start=False, settings=Settings.load(env)) as client:
        eventually(lambda: client.ps()[0]["running"] == 0, "the device is free")
        assert client.ps()[0]["state"] == "ready"
