"""The widgets and a real host: it is started, killed and comes back; nothing that only looks keeps a model loaded."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import ipywidgets
import psutil
import pytest
from support_host import RunningHost, eventually, fake_model, running_host
from support_models import tiny_ir

from illama.errors import IllamaError
from illama.host import state
from illama.widgets import HostStatus, ModelPicker, PullProgress, RunBox

pytestmark = pytest.mark.slow  # each starts a host

ENDLESS = '/fake {"step_sec": 0.02, "tokens": 5000}'


@pytest.fixture(autouse=True)
def closed(home: Path) -> Iterator[None]:
    fake_model(home, "Echo")
    yield
    ipywidgets.Widget.close_all()


def kill(host: RunningHost) -> None:
    children = psutil.Process(host.process.pid).children(recursive=True)
    host.process.send_signal(signal.SIGKILL)
    host.process.wait(30)
    for child in children:
        child.kill()


def test_the_widgets_say_that_the_host_was_killed_and_come_back_with_the_next(home: Path):
    status = HostStatus()
    assert status.state == "down"
    with running_host(home) as first:
        eventually(lambda: status.state == "up", "it is seen")
        picker = ModelPicker("Echo")
        box = RunBox(ENDLESS, model=picker).run()
        eventually(lambda: box.state == "answering" and status.running == 1, "it answers")
        kill(first)
        with pytest.raises(IllamaError, match="broke off"):
            box.wait(30)
        assert box.state == "failed"
        assert "Ask again" in box.error
        eventually(lambda: status.state == picker.state == "down", "its end is seen")
        assert (status.loaded, picker.value) == ((), "Echo")
        assert state.read(home / "run") is None, "a look has started a host"
    with running_host(home):
        eventually(lambda: status.state == picker.state == "up", "the next one is seen")
        box.prompt = "Hello again."
        reply = box.run().wait(60)
        assert (reply.text, box.state, box.error, picker.error) == ("Hello again.", "done", "", "")


def test_a_pull_is_shared_and_what_it_brought_can_be_picked(home: Path, tmp_path: Path):
    source = str(tiny_ir(tmp_path / "source"))
    with running_host(home):
        picker = ModelPicker()
        one, other = PullProgress(source, name="Tiny").start(), PullProgress(source, name="Tiny").start()
        assert one.wait(60) == other.wait(60) == "Tiny"
        assert one.state == other.state == "done"
        eventually(lambda: "Tiny" in picker.options, "it can be picked")


def test_looking_keeps_no_model_loaded(home: Path):
    with running_host(home, ILLAMA_IDLE_TTL_SEC="2"):
        status, box = HostStatus(), RunBox("Hello", model="Echo")
        ModelPicker()
        box.run().wait(60)
        eventually(lambda: status.loaded == ("Echo",), "it is loaded")
        eventually(lambda: status.loaded == (), "it is unloaded when nobody uses it")
