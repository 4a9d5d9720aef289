"""The magics in a real kernel, with a real host and the fake engine."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager
from support_host import eventually
from support_hub import PlayHub, playing, repo_of
from support_kernels import ECHO, end_host, fake_home, run_cell, texts
from support_models import tiny_ir

from illama.client import Client
from illama.config import Settings

pytestmark = pytest.mark.slow

DISPLAYS = ("display_data", "update_display_data")


@pytest.fixture
def env(home: Path) -> Iterator[dict[str, str]]:
    env = fake_home(home)
    yield env
    end_host(env)


@pytest.fixture
def manager(env: dict[str, str], tmp_path: Path) -> Iterator[KernelManager]:
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(env=env, cwd=str(tmp_path))
    yield manager
    manager.shutdown_kernel(now=True)
    manager.cleanup_resources()


@pytest.fixture
def kernel(manager: KernelManager) -> Iterator[Any]:
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    messages = run_cell(client, "%load_ext illama")
    assert [content for kind, content in messages if kind == "error"] == []
    yield client
    client.stop_channels()


def test_an_answer_streams_into_one_display(kernel: Any):
    messages = run_cell(kernel, '%%illama\n/fake {"step_sec": 0.02, "tokens": 40} abcd')
    shown = [(kind, content) for kind, content in messages if kind in DISPLAYS]
    assert [kind for kind, _ in shown] == ["display_data"] + ["update_display_data"] * (len(shown) - 1)
    assert len({content["transient"]["display_id"] for _, content in shown}) == 1
    first_pieces = [text for text in texts(messages, *DISPLAYS) if text.startswith("abcd") and len(text) < 100]
    assert len(first_pieces) >= 2
    last = texts(messages, *DISPLAYS)[-1]
    assert last.startswith("abcd" * 40 + "\n\n[40 tokens")
    assert "on CPU" in last


def test_a_long_prompt_is_seen_to_be_read(kernel: Any):
    cell = '%%illama -n 2\n/fake {"step_sec": 0.4} ' + "a long story, " * 500
    shown = " ".join(texts(run_cell(kernel, cell), *DISPLAYS))
    told = [int(percent) for percent in re.findall(r"reading the prompt \((\d+) %\)", shown)]
    assert told
    assert told == sorted(told)
    assert all(0 < percent < 100 for percent in told)


def test_a_cell_returns_nothing(kernel: Any):
    messages = run_cell(kernel, "%%illama\nHello")
    assert [kind for kind, _ in messages if kind == "execute_result"] == []


def test_an_interrupt_ends_the_answer_and_the_next_one_works(manager: KernelManager, kernel: Any, env: dict[str, str]):
    interrupted: list[str] = []

    def interrupt(kind: str, content: dict[str, Any]) -> None:
        if kind in DISPLAYS and content["data"]["text/plain"].startswith("abcd") and not interrupted:
            interrupted.append(kind)
            manager.interrupt_kernel()

    messages = run_cell(kernel, '%%illama\n/fake {"step_sec": 0.02, "tokens": 5000} abcd', on_message=interrupt)
    assert interrupted
    last = texts(messages, *DISPLAYS)[-1]
    assert last.startswith("abcd")
    assert last.endswith("[■ stopped]")
    (error,) = [content for kind, content in messages if kind == "error"]
    assert len(error["traceback"]) == 1
    with Client(start=False, settings=Settings.load(env)) as client:
        while client.ps()[0]["running"]:  # the test's own time limit ends a host that never frees the device
            pass
    assert texts(run_cell(kernel, "%%illama\nagain"), *DISPLAYS)[-1].startswith("again")


def test_a_restart_of_the_kernel_keeps_the_loaded_model(manager: KernelManager, kernel: Any):
    pid = "(lambda rows: print([row['pid'] for row in rows]))(get_ipython().run_line_magic('illama', 'ps'))"

    def pids() -> str:
        return "".join(content["text"] for kind, content in run_cell(kernel, pid) if kind == "stream")

    run_cell(kernel, f"%illama run {ECHO} Hello")
    before = pids()
    manager.restart_kernel(now=True)
    kernel.wait_for_ready(timeout=60)
    run_cell(kernel, "%load_ext illama")
    assert before.strip() not in ("", "[]", "[None]")
    assert pids() == before


def test_an_error_is_two_lines_and_fails_the_cell(kernel: Any):
    messages = run_cell(kernel, "%%illama nosuchmodel\nHello")
    (error,) = [content for kind, content in messages if kind == "error"]
    assert error["ename"] == "ModelNotFoundError"
    assert len(error["traceback"]) == 2
    assert texts(messages, *DISPLAYS) == []


def test_a_pull_shows_its_progress_in_one_display(kernel: Any, env: dict[str, str], tmp_path: Path):
    source = tmp_path / "source"
    messages = run_cell(kernel, f"%illama pull '{source}' --name another")
    assert [content for kind, content in messages if kind == "error"] == []
    assert "another is ready." in texts(messages, *DISPLAYS)[-1]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[PlayHub]:
    """A hub whose downloads stop halfway until they are let go on."""
    with playing() as running:
        running.repos["OpenVINO/phi-4-int4-ov"] = repo_of(tiny_ir(tmp_path / "repo", weights=b"weights!" * 250_000))
        running.gate = threading.Event()
        yield running


def pulling(env: dict[str, str], hub: PlayHub, tmp_path: Path, leave: Callable[[KernelManager], None]) -> Any:
    """Begin a pull in a kernel, leave it so when some of it has come, and give what the host says of the pull then."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(env={**env, "HF_ENDPOINT": hub.url}, cwd=str(tmp_path))
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        run_cell(client, "%load_ext illama")
        client.execute("%illama pull phi4")
        assert hub.halfway.wait(60)
        with Client(start=False, settings=Settings.load(env)) as host:
            eventually(lambda: host.jobs()[0]["completed"], "the cell watches", 60)
            leave(manager)
            eventually(lambda: not host.jobs()[0]["watchers"], "the cell watches no longer", 60)
            eventually(lambda: host.jobs()[0]["state"] == "cancelled" or not manager.is_alive(), "it is over", 60)
            return host.jobs()[0]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


def test_the_stop_button_cancels_a_pull(env: dict[str, str], hub: PlayHub, tmp_path: Path):
    assert pulling(env, hub, tmp_path, lambda manager: manager.interrupt_kernel())["state"] == "cancelled"


@pytest.mark.parametrize("now", [False, True])
def test_a_pull_goes_on_when_its_kernel_is_shut_down(env: dict[str, str], hub: PlayHub, tmp_path: Path, now: bool):
    # Jupyter interrupts a kernel before it ends it, also when it is to end at once.
    assert pulling(env, hub, tmp_path, lambda manager: manager.shutdown_kernel(now=now))["state"] == "running"
    hub.gate.set()
    with Client(start=False, settings=Settings.load(env)) as host:
        eventually(lambda: host.jobs()[0]["state"] == "success", "the pull ends", 60)
        assert "phi-4" in {model["name"] for model in host.list()}


def test_widgets_stay_alive_while_a_cell_awaits_an_answer(kernel: Any):
    run_cell(
        kernel,
        "import comm, illama\n"
        "seen, waiting = [], False\n"
        "opened = lambda channel, _: channel.on_msg(lambda message: seen.append(waiting))\n"
        "comm.get_comm_manager().register_target('test', opened)",
    )

    def send(kind: str, **content: Any) -> None:
        kernel.shell_channel.send(kernel.session.msg(kind, {"comm_id": "c", "data": {}, **content}))

    send("comm_open", target_name="test")
    clicked: list[str] = []

    def click(kind: str, content: dict[str, Any]) -> None:
        if kind == "stream" and not clicked:
            clicked.append(kind)
            send("comm_msg")

    messages = run_cell(
        kernel,
        "waiting = True\n"
        "print('asking', flush=True)\n"
        'reply = await illama.AsyncClient().chat(\'/fake {"step_sec": 0.02, "tokens": 150} x\')\n'
        "waiting = False\n"
        "print('seen', seen, len(reply.text))",
        on_message=click,
    )
    said = "".join(content["text"] for kind, content in messages if kind == "stream")
    assert "seen [True] 150" in said
