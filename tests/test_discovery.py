"""Finding, starting and ending the host. The host is played by a process; `test_discovery_real.py` has the real one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import pytest

from illama import discovery
from illama.client import Client
from illama.config import VARIABLES, Settings
from illama.errors import HostError
from illama.host import logs, state

PLAYHOST = Path(__file__).parent / "playhost.py"


@pytest.fixture
def settings(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings of a test whose host is played; whatever host it leaves behind is ended."""
    monkeypatch.setenv("ILLAMA_ENGINE", "fake")
    monkeypatch.setattr(discovery, "HOST_ARGUMENTS", (str(PLAYHOST),))
    chosen = Settings.load()
    yield chosen
    left = state.read(chosen.run_dir)
    if left and left.pid != os.getpid():
        discovery.stop(chosen, force=True)


def pretend(settings: Settings, **changes: object) -> state.HostState:
    """Write a state file of this very process, with changes."""
    me = state.HostState.of_this_process(
        version="0", host="127.0.0.1", port=1, key="k", settings=settings.public(), on_demand=True
    )
    changed = replace(me, **changes)
    state.write(settings.run_dir, changed)
    return changed


def log_of(settings: Settings) -> str:
    return logs.path_of(settings, "host").read_text()


def test_a_host_is_started_once_and_then_found(settings):
    first = discovery.connect(settings)
    second = discovery.connect(settings)
    assert first == second
    assert first.state.pid != os.getpid()
    assert httpx.get(first.url + "/health").json() == {"status": "ok"}


def test_the_host_is_nobodys_child_and_has_a_session_of_its_own(settings):
    pid = discovery.connect(settings).state.pid
    assert pid not in {child.pid for child in psutil.Process().children(recursive=True)}
    assert os.getsid(pid) == pid


def test_the_state_file_and_its_folder_are_for_this_user_alone(settings):
    discovery.connect(settings)
    assert settings.run_dir.stat().st_mode & 0o777 == 0o700
    assert (settings.run_dir / state.FILE_NAME).stat().st_mode & 0o777 == 0o600
    assert logs.path_of(settings, "host").stat().st_mode & 0o777 == 0o600


def test_of_many_that_start_at_the_same_moment_one_wins(settings):
    code = (
        "import sys; from illama import discovery; from illama.config import Settings; sys.stdin.read(1);"
        f"discovery.HOST_ARGUMENTS = ({str(PLAYHOST)!r},); print(discovery.connect(Settings.load()).state.pid)"
    )
    starters = [
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(10)
    ]
    for starter in starters:
        starter.stdin.write("x")
        starter.stdin.flush()
    pids = {starter.communicate()[0].strip() for starter in starters}
    assert len(pids) == 1
    assert log_of(settings).count("environment:") == 1


def test_of_many_threads_that_start_one_wins(settings):
    found: list[str] = []
    client = Client(settings=settings)
    threads = [threading.Thread(target=lambda: found.append(client.base_url)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 5
    assert len(set(found)) == 1


def test_a_host_is_killed_though_a_child_of_it_has_just_ended(settings, monkeypatch):
    host = discovery.connect(settings).state
    ended = subprocess.Popen([sys.executable, "-c", ""])
    child = psutil.Process(ended.pid)
    ended.wait()
    monkeypatch.setattr(psutil.Process, "children", lambda self, recursive: [child])
    discovery.stop(settings, force=True)
    assert host.process() is None
    assert state.read(settings.run_dir) is None


def test_a_host_that_was_killed_is_started_again_at_the_next_call(settings):
    with Client(settings=settings) as client:
        before = client.base_url
        assert client.version()["protocol"] == state.PROTOCOL
        process = state.read(settings.run_dir).process()
        process.kill()
        while state.read(settings.run_dir):
            pass
        assert client.version()["protocol"] == state.PROTOCOL
        assert client.base_url != before


def test_without_start_there_is_an_error_instead_of_a_host(settings):
    with pytest.raises(HostError, match="No model host is running"), Client(settings=settings, start=False) as client:
        client.version()
    assert not settings.log_dir.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"boot_id": "another"},
        {"hostname": "another"},
        {"start_ticks": 1},
        {"create_time": 1.0, "start_ticks": 0},
        {"pid": 2**22 + 1},
        {"pid": -1},
    ],
    ids=str,
)
def test_the_state_of_another_boot_machine_or_process_is_ignored(settings, changes):
    pretend(settings, **changes)
    assert discovery.find(settings) is None
    assert discovery.connect(settings).state.pid != os.getpid()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="Linux's ticks")
def test_a_clock_that_was_set_makes_no_host_a_stranger(settings):
    mine = pretend(settings, create_time=psutil.Process().create_time() - 3600)
    assert state.read(settings.run_dir) == mine


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "{}", '{"pid": "x"}', "\x00\xff"])
def test_a_broken_state_file_is_ignored(settings, content):
    state.secure(settings.run_dir)
    (settings.run_dir / state.FILE_NAME).write_text(content, encoding="latin-1")
    assert discovery.find(settings) is None


def test_a_state_with_a_field_of_the_wrong_kind_is_ignored(settings):
    pretend(settings)
    file = settings.run_dir / state.FILE_NAME
    file.write_text(json.dumps({**json.loads(file.read_text()), "settings": "none"}))
    assert state.read(settings.run_dir) is None


def test_fields_of_a_later_version_are_no_harm(settings):
    mine = pretend(settings)
    file = settings.run_dir / state.FILE_NAME
    file.write_text(json.dumps({**json.loads(file.read_text()), "later": 1}))
    assert state.read(settings.run_dir) == mine


def test_a_host_takes_away_its_own_state_only(settings):
    mine = pretend(settings)
    state.remove(settings.run_dir, replace(mine, pid=1))
    assert state.read(settings.run_dir) == mine
    state.remove(settings.run_dir, mine)
    assert state.read(settings.run_dir) is None


def test_a_process_without_an_answer_is_not_a_host(settings, monkeypatch):
    monkeypatch.setattr(discovery, "ANSWER_WAIT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(discovery, "HEALTH_WAIT", 0.1)
        pretend(settings, url=f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(HostError, match="does not answer") as caught:
            discovery.connect(settings)
    assert "illama stop --host --force" in caught.value.hint


@pytest.mark.skipif(os.name == "nt", reason="POSIX rights")
def test_a_folder_in_which_others_may_write_is_refused(settings):
    settings.run_dir.mkdir()
    settings.run_dir.chmod(0o777)
    with pytest.raises(HostError, match="Others may write"):
        discovery.connect(settings)
    settings.run_dir.chmod(0o755)
    state.secure(settings.run_dir)
    assert settings.run_dir.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.name == "nt", reason="POSIX rights")
def test_a_folder_of_another_user_is_refused(settings, monkeypatch):
    settings.run_dir.mkdir(mode=0o700)
    other = os.getuid() + 1
    with monkeypatch.context() as patched:
        patched.setattr(os, "getuid", lambda: other)
        with pytest.raises(HostError, match="not a folder of this user"):
            discovery.find(settings)


def test_a_link_instead_of_a_folder_is_refused(settings, tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    settings.run_dir.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HostError, match="not a folder"):
        discovery.find(settings)
    settings.run_dir.unlink()


def test_a_host_that_ends_as_it_starts_is_an_error_with_its_last_words(settings, home):
    (home / "refuse").touch()
    with pytest.raises(HostError, match="I refuse to start") as caught:
        discovery.connect(settings)
    assert str(settings.log_dir / "host.log") in caught.value.hint


def test_only_this_starts_last_words_are_quoted(settings, home):
    (home / "refuse").touch()
    settings.log_dir.mkdir()
    (settings.log_dir / "host.log").write_text("old trouble\n")
    with pytest.raises(HostError) as caught:
        discovery.connect(settings)
    assert "old trouble" not in caught.value.message
    assert log_of(settings).startswith("old trouble")


def test_an_environment_without_openvino_says_so_instead_of_starting(home, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(HostError, match="no OpenVINO GenAI") as caught:
        discovery.connect(Settings.load())
    assert "pip install openvino-genai" in caught.value.hint
    assert "ILLAMA_ENGINE_PYTHON" in caught.value.hint


def test_the_host_inherits_no_secrets(settings, monkeypatch):
    secrets = ("HF_TOKEN", "JUPYTER_TOKEN", "JUPYTERHUB_API_TOKEN", "JPY_PARENT_PID", "OPENAI_API_KEY", "DB_PASSWORD")
    for name in secrets:
        monkeypatch.setenv(name, "hush-hush")
    monkeypatch.setenv("HARMLESS", "kept")
    discovery.connect(Settings.load())
    said = log_of(settings)
    assert "hush-hush" not in said
    assert not [name for name in secrets if f'"{name}"' in said]
    assert '"HARMLESS": "kept"' in said


def test_the_host_gets_the_settings_that_the_client_has_not_those_of_the_process(home, monkeypatch):
    monkeypatch.setenv("ILLAMA_DEVICE", "NPU")
    chosen = Settings.load({"ILLAMA_HOME": str(home), "ILLAMA_ONE_MODEL": "0", "ILLAMA_API_KEY": "k", "HF_TOKEN": "t"})
    made = discovery.host_environment(chosen, os.environ)
    ours = {variable.name: made[variable.name] for variable in VARIABLES if variable.name in made}
    assert ours == {"ILLAMA_HOME": str(home), "ILLAMA_ONE_MODEL": "0", "ILLAMA_API_KEY": "k"}
    assert Settings.load(made).public() == chosen.public()


def test_settings_that_differ_are_warnings_that_name_both(settings, home):
    discovery.connect(settings)
    here = {**settings.environment(), "ILLAMA_DEVICE": "CPU", "ILLAMA_API_KEY": "my-own"}
    with Client(settings=Settings.load(here)) as client:
        client.connect()
        [device, key] = client.warnings
    assert "ILLAMA_DEVICE is CPU here, but GPU" in device
    assert "illama stop --host" in device
    assert "my-own" not in key
    assert "ILLAMA_API_KEY" in key


def test_settings_that_are_not_set_here_are_no_warning(settings):
    discovery.connect(settings)
    with Client(settings=Settings.load({"ILLAMA_HOME": str(settings.home)})) as client:
        client.connect()
        assert client.warnings == []


def test_a_named_host_is_taken_as_it_is(home):
    named = Settings.load({"ILLAMA_HOME": str(home), "ILLAMA_BASE_URL": "http://gpu.example/v1", "ILLAMA_API_KEY": "k"})
    endpoint = discovery.connect(named)
    assert (endpoint.url, endpoint.key, endpoint.state) == ("http://gpu.example", "k", None)
    assert not named.run_dir.exists()


def make_older(settings: Settings) -> int:
    """Let the running host be of an older protocol; returns its pid."""
    found = discovery.connect(settings).state
    state.write(settings.run_dir, replace(found, protocol=state.PROTOCOL - 1))
    return found.pid


def test_an_idle_host_of_an_older_protocol_is_replaced(settings):
    pid = make_older(settings)
    successor = discovery.connect(settings).state
    assert successor.protocol == state.PROTOCOL
    assert successor.pid != pid
    assert state.running(pid) is None


def test_a_busy_host_of_an_older_protocol_is_left_alone(settings, monkeypatch):
    pid = make_older(settings)

    class Busy(httpx.Client):
        def get(self, url, **options):
            if url.endswith("/api/ps"):
                return httpx.Response(200, json={"models": [{"running": 1}]}, request=httpx.Request("GET", url))
            return super().get(url, **options)

    monkeypatch.setattr(httpx, "Client", Busy)
    with pytest.raises(HostError, match="older illama and is at work"):
        discovery.connect(settings)
    assert state.running(pid)


def test_a_host_of_a_newer_protocol_is_left_alone(settings):
    found = discovery.connect(settings).state
    state.write(settings.run_dir, replace(found, protocol=state.PROTOCOL + 1))
    with pytest.raises(HostError, match="newer illama"):
        discovery.connect(settings)
    assert state.running(found.pid)


def test_stopping_waits_until_the_process_and_its_state_are_gone(settings):
    pid = discovery.connect(settings).state.pid
    assert discovery.stop(settings).pid == pid
    assert state.running(pid) is None
    assert not (settings.run_dir / state.FILE_NAME).exists()
    assert discovery.stop(settings) is None


def test_the_key_is_in_no_repr(settings):
    endpoint = discovery.connect(settings)
    assert endpoint.key == "the-owners-key"
    assert "the-owners-key" not in repr(endpoint) + repr(endpoint.state) + str(endpoint.state)
