"""`illama bench` at a real host with the fake engine."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from support_host import RunningHost, fake_model, running_host
from support_notebook import make_kernel_shell
from support_peer import peer

from illama.bench.options import Options, Peer
from illama.bench.result import Result
from illama.bench.run import run
from illama.client import Client
from illama.config import Settings
from illama.errors import ConfigError, HostBusyError, UnsupportedError

pytestmark = pytest.mark.slow  # rounds take their time

SHORT: dict[str, Any] = {"rounds": 2, "streams": (1, 3), "prompts": (128,), "tokens": 8}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    home = tmp_path_factory.mktemp("home")
    for name in ("one", "two"):
        fake_model(home, name, tokens=500, step_sec=0.005)
    fake_model(home, "vectors", task="embedding")
    with running_host(home) as running:
        yield running


def measured(host: RunningHost, options: Options) -> Result:
    settings = Settings.load({"ILLAMA_HOME": str(host.home), "ILLAMA_ENGINE": "fake"})
    with Client(settings=settings) as client:
        return run(options, client, lambda _: None)


def test_all_parts_are_measured_and_nothing_stays_loaded(host: RunningHost) -> None:
    for model in host.ps():
        host.http.post("/api/generate", json={"model": model["name"], "keep_alive": 0})
    found = measured(host, Options("one", switch="two", **SHORT))
    assert found.problem == ""
    for what, size in (("ttft_cold", 128), ("cached_share", 128), ("total_rate", 3), ("cpu_per_token", 1)):
        figure = found.find(what, size=size)
        assert figure is not None, what
        assert len(figure.known) == 2
        assert figure.low > 0
    for what in ("load_first", "load_again", "switch_ready", "switch_first_token", "memory_before", "memory_after"):
        assert found.find(what) is not None, what
    (asked,) = (figure for figure in found.figures if figure.what == "prompt_tokens")
    assert asked.median == pytest.approx(128, rel=0.1)
    # A step takes 5 ms here, so no stream can be faster than that.
    assert found.find("tpot", size=1).median >= 4.9  # type: ignore[union-attr]
    assert found.about["device"]["name"] == "CPU"
    assert found.about["requests"]["failed"] == {}
    assert host.ps() == []


def test_another_server_takes_part_and_its_errors_are_counted(host: RunningHost) -> None:
    with peer() as other:
        other.usage, other.fails_every = True, 3
        against = [Peer("other", other.url)]
        found = measured(host, Options("one", against=against, only=("streams",), **SHORT))
    assert found.about["requests"]["failed"]["other"] > 0
    assert any("requests failed at other" in note for note in found.notes)
    assert found.find("total_rate", size=3) is not None
    assert {row["target"] for row in found.to_json()["figures"]} >= {"host"}


def test_a_server_that_cuts_answers_short_is_told_of(host: RunningHost) -> None:
    with peer() as other:
        other.length = 4
        against = [Peer("other", other.url)]
        found = measured(host, Options("one", against=against, only=("streams",), **SHORT))
    assert any("other cut 8 of 8 answers short" in note for note in found.notes)
    assert found.about["targets"][1]["tokens_counted_by"] == "chunks"
    assert any(each.base == "other" for each in found.relations)


def test_it_refuses_while_others_use_the_host_unless_told_not_to(host: RunningHost) -> None:
    begun, leave = threading.Event(), threading.Event()

    def neighbour() -> None:
        with host.stream("one", '/fake {"tokens": 4000, "step_sec": 0.01}') as response:
            for _ in response.iter_lines():
                begun.set()
                if leave.is_set():
                    return

    thread = threading.Thread(target=neighbour)
    thread.start()
    try:
        assert begun.wait(30)
        with pytest.raises(HostBusyError, match="Others use the host"):
            measured(host, Options("one", only=("streams",), **SHORT))
        found = measured(host, Options("one", anyway=True, only=("streams",), **SHORT))
    finally:
        leave.set()
        thread.join(30)
    assert any("when it began (one)" in note for note in found.notes)
    assert any("Others had requests at the host" in note for note in found.notes)


def test_what_was_loaded_before_is_loaded_again(host: RunningHost) -> None:
    host.chat("two", "hello")
    found = measured(host, Options("one", rounds=1, only=("life",)))
    assert found.problem == ""
    assert [model["name"] for model in host.ps()] == ["two"]


def test_what_cannot_be_measured_is_said_before_anything_is_loaded(host: RunningHost) -> None:
    with pytest.raises(UnsupportedError, match="a model for embedding"):
        measured(host, Options("vectors"))
    with pytest.raises(ConfigError, match="another model"):
        measured(host, Options("one", switch="ONE"))
    with pytest.raises(ConfigError, match="which no --against does"):
        measured(host, Options("one", against_model=[("other", "m")]))


def test_a_cell_gets_the_same_figures(host: RunningHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ILLAMA_HOME", str(host.home))
    with Client(settings=Settings.load({"ILLAMA_HOME": str(host.home), "ILLAMA_ENGINE": "fake"})) as client:
        shell = make_kernel_shell(client, tmp_path, monkeypatch)
        found = shell.run_line_magic("illama", "bench one --only streams --rounds 2 --streams 1,3 --tokens 8")
    assert found.result.problem == ""
    assert [figure.size for figure in found.result.figures if figure.what == "total_rate"] == [1, 3]


def command(host: RunningHost, *words: str) -> subprocess.Popen[str]:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("ILLAMA_")}
    return subprocess.Popen(
        [sys.executable, "-m", "illama.cli", "bench", "one", *words],
        env={**environ, "ILLAMA_HOME": str(host.home), "ILLAMA_ENGINE": "fake"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_command_writes_a_file_and_compares_with_it(host: RunningHost, tmp_path: Path) -> None:
    words = ("--only", "streams", "--rounds", "2", "--streams", "2", "--tokens", "8")
    file = tmp_path / "r.json"
    with command(host, *words, "--json", str(file)) as first:
        out, err = first.communicate(timeout=120)
    assert first.returncode == 0, err
    assert "Streams at once" in out
    assert "round 2 of 2: host, 2 streams" in err
    assert json.loads(file.read_text())["complete"] is True
    with command(host, *words, "--compare", str(file)) as second:
        out, err = second.communicate(timeout=120)
    assert second.returncode == 0, err
    assert "Compared with" in out


def test_an_interrupt_prints_what_was_measured_and_leaves_nothing_running(host: RunningHost, tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    words = ("--only", "streams", "--rounds", "500", "--streams", "1", "--tokens", "8", "--json", str(file))
    with command(host, *words) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("round 3 "):
                break
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted: this is what was measured so far" in out
    body = json.loads(file.read_text())
    assert body["complete"] is False
    assert len(next(row for row in body["figures"] if row["what"] == "total_rate")["values"]) >= 2
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
    with contextlib.suppress(KeyError):
        assert host.loaded()["running"] == 0
