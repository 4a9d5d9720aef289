"""`illama pull` and what `illama ps` shows of pulls, against a host that is played in a thread."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timezone

import playhost
import pytest

from illama.cli import main
from illama.cli.pull import Progress
from illama.errors import PullError


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Iterator[playhost.Play]:
    """The played host, named by ILLAMA_BASE_URL."""
    with playhost.in_a_thread() as played:
        monkeypatch.setenv("ILLAMA_BASE_URL", played.url)
        monkeypatch.setenv("ILLAMA_API_KEY", playhost.KEY)
        yield played


def test_pull_in_a_pipe_prints_plain_lines(play, capsys):
    play.installed.clear()
    assert main(["pull", "smollm2", "--name", "Mine", "--device", "CPU"]) == 0
    out, err = capsys.readouterr()
    assert out == "Pulled SmolLM2-135M-Instruct.\n"
    assert err.splitlines() == [f"downloading x: {p} % of 100 B" for p in (0, 50, 100)]
    asked = play.asked[-1]
    assert asked.pop("watcher")
    assert asked == {
        "path": "/api/pull",
        "model": "smollm2",
        "name": "Mine",
        "device": "CPU",
        "stream": True,
    }


def test_pull_on_a_terminal_shows_one_bar_for_each_phase():
    screen = Terminal()
    progress = Progress(screen)
    for done in (0, 50, 100):
        progress.show({"status": "downloading x", "completed": done, "total": 100})
    progress.show({"status": "converting x"})
    progress.show({"status": "success"})
    progress.close()
    first, second, *_ = screen.getvalue().split("\n")
    assert "downloading x: 100%" in first
    assert "converting x" in second
    assert "downloading" not in second


def test_a_pull_that_fails_says_why(play, capsys):
    play.pull_error = PullError("The disk is full.", hint="Free 98 MB.")
    assert main(["pull", "smollm2"]) == 1
    assert capsys.readouterr().err.splitlines()[-2:] == ["Error: The disk is full.", "Free 98 MB."]


@pytest.mark.parametrize(
    ("state", "said"),
    [("cancelled", "is cancelled; what was fetched is kept"), ("running", "goes on, as 2 others wait")],
)
def test_ctrl_c_in_a_pull_is_130_and_says_what_became_of_it(play, state, said):
    play.pull_state = state
    run = subprocess.Popen([sys.executable, "-m", "illama.cli", "pull", "slow"], stderr=subprocess.PIPE, text=True)
    while "100 %" not in run.stderr.readline():
        pass
    run.send_signal(2)
    told = run.stderr.read()
    assert run.wait() == 130
    run.stderr.close()
    assert play.left.wait(10)
    assert said in told
    begun, stopped = [each for each in play.asked if each["path"] == "/api/pull"]
    assert (stopped["model"], stopped["watcher"]) == ("slow", begun["watcher"])
    assert "force" not in stopped


def test_a_pull_whose_terminal_goes_is_not_stopped(play):
    run = subprocess.Popen([sys.executable, "-m", "illama.cli", "pull", "slow"], stderr=subprocess.PIPE, text=True)
    while "100 %" not in run.stderr.readline():
        pass
    run.send_signal(1)  # what a terminal that is closed sends
    assert run.wait() == -1
    run.stderr.close()
    assert play.left.wait(10)
    assert [each["path"] for each in play.asked if each.get("method") == "DELETE"] == []


def test_a_pull_can_be_cancelled_later_for_all(play, capsys):
    assert main(["pull", "--cancel", "slow"]) == 0
    assert capsys.readouterr().out.startswith("The pull of slow is cancelled")
    assert play.asked[-1] == {"path": "/api/pull", "method": "DELETE", "model": "slow", "force": True}


def test_ps_shows_the_pulls_that_run_and_those_that_failed(play, capsys):
    begun = {"watchers": 0, "started_at": datetime.now(timezone.utc).isoformat()}
    play.jobs = [
        {
            "id": "1a",
            "source": "phi4",
            "state": "running",
            "status": "downloading x",
            "completed": 1,
            "total": 3,
            **begun,
        },
        {"id": "2b", "source": "qwen3", "state": "failed", "status": "failed", "error": "No \x1b[2J room.", **begun},
        {"id": "3c", "source": "smollm2", "state": "success", "status": "success", **begun},
    ]
    assert main(["ps"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "Nothing is loaded.",
        "",
        "PULL    ID   STATUS                 DONE          WATCHED BY   STARTED",
        "phi4    1a   downloading x          33 % of 3 B   0            0 seconds ago",
        "qwen3   2b   failed: No [2J room.   -             0            0 seconds ago",
    ]
    assert main(["ps", "--pulls"]) == 0
    assert re.search(r"^smollm2 +3c +success +- +0 ", capsys.readouterr().out, re.MULTILINE)
    assert main(["ps", "--pulls", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == play.jobs
