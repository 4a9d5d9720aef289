"""The command line and the client with the real host and the fake engine: started, shared, killed, ended."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from illama import discovery
from illama.cli import main
from illama.client import AsyncClient, Client
from illama.config import Settings
from illama.errors import ModelNotFoundError
from illama.host import state
from illama.registry import Entry, Registry

pytestmark = pytest.mark.slow  # each starts a host, as commands do

CLI = [sys.executable, "-m", "illama.cli"]


@pytest.fixture
def settings(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings with the fake engine and one model, "Parrot"; the host that a test leaves behind is ended."""
    monkeypatch.setenv("ILLAMA_ENGINE", "fake")
    monkeypatch.setenv("ILLAMA_DEVICE", "CPU")
    monkeypatch.setattr(sys, "stdin", None)  # nothing is piped in
    chosen = Settings.load()
    registry = Registry(chosen.registry_dir)
    staged = registry.staging()
    (staged / "fake.json").write_text("{}")
    created = "2026-01-01T00:00:00+00:00"
    registry.add(
        Entry(name="Parrot", source={"kind": "ir"}, digest="0" * 64, created=created, chat_template=True), staged
    )
    yield chosen
    discovery.stop(chosen, force=True)


def fake(**orders: object) -> str:
    """A prompt that tells the fake engine what to do."""
    return f"/fake {json.dumps(orders)}"


def pid_of(settings: Settings) -> int:
    found = state.read(settings.run_dir)
    assert found, "a host runs"
    return found.pid


def test_the_first_question_starts_the_host_and_the_model(settings, capsys):
    assert main(["run", "parrot", fake(text="Hello, you.")]) == 0
    assert capsys.readouterr().out == "Hello, you.\n"
    assert main(["ps", "--json"]) == 0
    [loaded] = json.loads(capsys.readouterr().out)
    assert (loaded["name"], loaded["state"], loaded["running"]) == ("Parrot", "ready", 0)


def test_ten_that_ask_at_the_same_moment_share_one_host(settings):
    asking = [
        subprocess.Popen([*CLI, "run", "Parrot", fake(text="same")], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        for _ in range(10)
    ]
    assert [each.communicate()[0] for each in asking] == [b"same\n"] * 10
    assert (settings.log_dir / "host.log").read_text().count(" serves on ") == 1


def test_after_a_kill_the_next_command_starts_a_new_host(settings, capsys):
    assert main(["run", "Parrot", fake(text="one")]) == 0
    first = state.read(settings.run_dir).process()
    first.kill()
    while state.running(first.pid):
        time.sleep(0)
    assert main(["run", "Parrot", fake(text="two")]) == 0
    assert capsys.readouterr().out == "one\ntwo\n"
    assert pid_of(settings) != first.pid


def test_a_client_outlives_its_host(settings):
    with Client(settings=settings) as client:
        assert str(client.chat(fake(text="one"))) == "one"
        discovery.stop(settings)
        assert str(client.chat(fake(text="two"))) == "two"


def test_a_host_that_dies_in_an_answer_is_an_error_and_not_a_short_answer(settings):
    with Client(settings=settings) as client:
        stream = client.stream(fake(tokens=1000, step_sec=0.02, text="abcd"))
        assert next(stream)
        os.kill(pid_of(settings), 9)
        with pytest.raises(discovery.HostError, match="broke off"):
            list(stream)


def test_a_port_in_use_is_no_obstacle_on_demand(settings, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("ILLAMA_PORT", str(port))
        with Client() as client:
            client.connect()
            assert f":{port}" not in client.base_url
            assert any("ILLAMA_PORT" in warning for warning in client.warnings)


def test_serve_on_a_port_in_use_says_so(settings, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("ILLAMA_HOST", "127.0.0.1")
        monkeypatch.setenv("ILLAMA_PORT", str(taken.getsockname()[1]))
        done = subprocess.run([*CLI, "serve"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "in use" in done.stderr
    assert "ILLAMA_PORT" in done.stderr.splitlines()[-1]


def test_serve_runs_in_the_foreground_for_all_and_a_second_one_is_refused(settings, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("ILLAMA_HOST", "127.0.0.1")
    monkeypatch.setenv("ILLAMA_PORT", str(port))
    serving = subprocess.Popen([*CLI, "serve"], stderr=subprocess.PIPE, text=True)
    while " serves on " not in (line := serving.stderr.readline()):
        assert line, "serve ended"
    with Client() as client:
        assert client.base_url == f"http://127.0.0.1:{port}"
        assert client.warnings == []
        assert str(client.chat(fake(text="hi"))) == "hi"
    second = subprocess.run([*CLI, "serve"], capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert "runs already" in second.stderr
    serving.send_signal(2)
    rest = serving.stderr.read()
    assert serving.wait() == 0
    serving.stderr.close()
    key = settings.key_file.read_text().strip()
    assert key
    assert key not in rest + second.stderr


def test_no_key_is_for_loopback_alone(settings):
    done = subprocess.run([*CLI, "serve", "--no-key"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Error: --no-key is for loopback" in done.stderr


def test_the_key_is_printed_by_no_command(settings, capfd):
    assert main(["run", "Parrot", "hi", "--verbose"]) == 0
    for argv in (["env"], ["env", "--json"], ["ps"], ["ps", "--json"], ["version"], ["show", "Parrot"], ["list"]):
        assert main(argv) == 0
    key = settings.key_file.read_text().strip()
    printed = capfd.readouterr()
    assert key not in printed.out + printed.err + (settings.log_dir / "host.log").read_text()
    assert settings.key_file.stat().st_mode & 0o777 == 0o600


def test_stop_ends_the_host_and_its_engine(settings, capsys):
    assert main(["run", "Parrot", "hi"]) == 0
    process = state.read(settings.run_dir).process()
    family = [process, *process.children(recursive=True)]
    assert len(family) > 1
    assert main(["stop", "--host"]) == 0
    assert "Ended the host" in capsys.readouterr().out
    assert state.read(settings.run_dir) is None
    assert not [each for each in family if state.running(each.pid, each.create_time())]


def test_a_host_that_is_stopping_lets_the_answer_finish_and_the_next_call_waits_for_it(settings):
    with Client(settings=settings) as client, Client(settings=settings) as other:
        stream = client.stream(fake(tokens=100, step_sec=0.01, text="abcd"), max_tokens=100)
        first = next(stream)
        old = state.read(settings.run_dir)
        old.process().terminate()
        while state.read(settings.run_dir):
            time.sleep(0)
        whole = first + "".join(stream)
        assert len(whole) == 400
        assert str(other.chat(fake(text="new"))) == "new"
        assert pid_of(settings) != old.pid


def test_stop_unloads_and_rm_removes(settings, capsys):
    assert main(["run", "Parrot", "hi"]) == 0
    assert main(["stop", "parrot"]) == 0
    assert main(["ps"]) == 0
    assert "Nothing is loaded." in capsys.readouterr().out
    assert main(["rm", "Parrot"]) == 0
    assert main(["list"]) == 0
    assert "Parrot" not in capsys.readouterr().out.partition("NAME")[2]
    assert main(["run", "Parrot", "hi"]) == 1


def test_list_shows_what_the_running_host_serves(settings, home, monkeypatch, capsys):
    assert main(["run", "Parrot", "hi"]) == 0
    monkeypatch.setenv("ILLAMA_REGISTRY_DIR", str(home / "elsewhere"))
    assert main(["list"]) == 0
    assert "Parrot" in capsys.readouterr().out


def test_a_stream_that_is_closed_frees_the_host(settings):
    with Client(settings=settings) as client:
        with client.stream(fake(tokens=100_000, step_sec=0.01, text="abcd"), max_tokens=8000) as stream:
            next(stream)
        deadline = time.monotonic() + 10
        while client.ps()[0]["running"]:
            assert time.monotonic() < deadline, "the request still runs"
        assert stream.reply.finish_reason == "cancelled"


@pytest.mark.anyio
async def test_the_async_client_starts_streams_and_cancels(settings):
    async with AsyncClient(settings=settings) as client:
        async with client.stream(fake(tokens=100_000, step_sec=0.01, text="abcd"), max_tokens=8000) as stream:
            assert await stream.__anext__()
        assert str(await client.chat(fake(text="one"))) == "one"
        with pytest.raises(ModelNotFoundError):
            await client.chat("hi", model="nobody")
