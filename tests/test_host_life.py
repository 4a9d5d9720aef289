"""The host's life, with the fake engine: switching, leaving, dying, ending."""

from __future__ import annotations

import concurrent.futures
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from support_host import RunningHost, events, eventually, fake_model, running_host, text_of

from illama.host import state

pytestmark = pytest.mark.slow  # each starts a host, and waits for what hosts wait for

SLOW = '/fake {"tokens": 100000, "step_sec": 0.01, "text": "again "} x'
LONG_PROMPT = '/fake {"step_sec": 0.05} ' + "x" * 28_000


@pytest.fixture
def host(home: Path) -> Iterator[RunningHost]:
    for name in ("A", "B"):
        fake_model(home, name)
    with running_host(home) as running:
        yield running


def test_a_request_for_another_model_switches_and_kills_nothing(host: RunningHost) -> None:
    with concurrent.futures.ThreadPoolExecutor() as pool:
        first = pool.submit(host.chat, "A", '/fake {"tokens": 30, "step_sec": 0.01, "text": "abcd"} x')
        eventually(lambda: any(model["running"] for model in host.ps()), "A runs")
        second = pool.submit(host.chat, "B", "hello")
        assert first.result().json()["choices"][0]["message"]["content"] == "abcd" * 30
        assert second.result().json()["choices"][0]["message"]["content"] == "hello"
    assert host.loaded()["name"] == "B"


def test_an_idle_model_is_unloaded_in_time_whoever_looks(home: Path) -> None:
    fake_model(home, "A")
    with running_host(home, ILLAMA_IDLE_TTL_SEC="1") as host:
        host.chat("A", "hello")
        pid, began = host.loaded()["pid"], time.monotonic()
        eventually(lambda: not host.ps(), "A is unloaded")
        assert 0.8 < time.monotonic() - began < 3
        assert not psutil.pid_exists(pid)


def test_keep_alive_0_unloads_after_the_answer(host: RunningHost) -> None:
    host.chat("A", "hello", keep_alive=0)
    eventually(lambda: not host.ps(), "A is unloaded")


@pytest.mark.parametrize("content", [SLOW, LONG_PROMPT], ids=["in the answer", "in the prompt"])
def test_a_client_that_leaves_frees_the_device_and_disturbs_nobody(host: RunningHost, content: str) -> None:
    with concurrent.futures.ThreadPoolExecutor() as pool:
        other = pool.submit(host.chat, "A", '/fake {"tokens": 200, "step_sec": 0.01, "text": "abcd"} x')
        with host.stream("A", content, header_wait=0) as response:
            eventually(lambda: [m["running"] for m in host.ps()] == [2], "both run")
            response.close()
        eventually(lambda: [m["running"] for m in host.ps()] == [1], "one runs")
        assert other.result().json()["choices"][0]["message"]["content"] == "abcd" * 200
    assert host.loaded()["running"] == 0


def test_a_client_of_a_whole_answer_that_leaves_frees_the_device(host: RunningHost) -> None:
    body = {"model": "A", "messages": [{"role": "user", "content": SLOW}]}
    with pytest.raises(httpx.ReadTimeout):
        host.http.post("/v1/chat/completions", json=body, timeout=0.5)
    eventually(lambda: host.loaded()["running"] == 0, "the device is free")


def test_a_waiting_client_that_leaves_is_forgotten_and_its_load_is_stopped(home: Path) -> None:
    fake_model(home, "slow", load_sec=60)
    fake_model(home, "A")
    with running_host(home) as host:
        with host.stream("slow", "x", header_wait=0) as response:
            assert any(line.startswith(": loading slow") for line in response.iter_lines())
            pid = eventually(lambda: host.loaded()["pid"], "the engine's process is there")
            response.close()
        eventually(lambda: not host.ps(), "the load is stopped")
        assert not psutil.pid_exists(pid)
        assert host.chat("A", "hello").status_code == 200


def test_eight_streams_at_once_carry_their_own_text_and_no_other(host: RunningHost) -> None:
    def one(number: int) -> str:
        with host.stream("A", f'/fake {{"step_sec": 0.002}} {f"marker-{number} " * 30}') as response:
            return text_of(list(events(response)))

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(one, range(8)))
    assert texts == [f"marker-{number} " * 30 for number in range(8)]


def test_an_engine_that_is_killed_ends_its_streams_with_an_error_and_the_next_request_is_answered(
    host: RunningHost,
) -> None:
    with host.stream("A", SLOW) as response:
        frames = events(response)
        next(frames)
        pid = host.loaded()["pid"]
        os.kill(pid, signal.SIGKILL)
        last = list(frames)[-1]
    assert last["error"]["code"] == "engine_died"
    assert "new engine" in last["error"]["message"]
    assert host.chat("A", "hello").json()["choices"][0]["message"]["content"] == "hello"
    assert host.loaded()["pid"] != pid


def test_an_engine_that_dies_of_a_request_costs_a_502_and_nothing_else(host: RunningHost) -> None:
    response = host.chat("A", '/fake {"die_at": 3} 123456789012345678901234567890')
    assert response.status_code == 502
    assert response.json()["error"]["code"] == "engine_died"
    assert host.chat("A", "hello").status_code == 200


def test_a_killed_host_leaves_no_engine_and_no_broken_file(host: RunningHost) -> None:
    host.chat("A", "hello")
    engine = psutil.Process(host.loaded()["pid"])
    os.kill(host.process.pid, signal.SIGKILL)
    host.process.wait()
    engine.wait(10)
    assert state.read(host.home / "run") is None
    with running_host(host.home) as again:
        assert again.chat("A", "hello").status_code == 200
        assert again.key == host.key


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_lets_what_runs_finish_and_takes_everything_away(host: RunningHost, number: signal.Signals) -> None:
    with concurrent.futures.ThreadPoolExecutor() as pool:
        running = pool.submit(host.chat, "A", '/fake {"tokens": 50, "step_sec": 0.01, "text": "abcd"} x')
        engine = eventually(lambda: [m["pid"] for m in host.ps() if m["running"]], "A runs")[0]
        host.process.send_signal(number)
        assert running.result().json()["choices"][0]["message"]["content"] == "abcd" * 50
    assert host.process.wait(10) == 0
    assert not psutil.pid_exists(engine)
    assert not (host.home / "run" / "host.json").exists()


def test_a_stop_ends_what_runs_too_long(home: Path) -> None:
    fake_model(home, "A")
    with running_host(home, ILLAMA_DRAIN_SEC="0.2") as host, host.stream("A", SLOW) as response:
        frames = events(response)
        next(frames)
        host.process.terminate()
        assert list(frames)[-1]["error"]["code"] == "cancelled"
        assert host.process.wait(10) == 0


def test_a_full_queue_is_a_503_with_a_time_to_come_back(home: Path) -> None:
    fake_model(home, "A", slots=1)
    with running_host(home, ILLAMA_MAX_QUEUE="0") as host, host.stream("A", SLOW) as response:
        frames = events(response)  # kept: what is thrown away closes the stream
        next(frames)
        for stream in (False, True):
            refused = host.chat("A", "hello", stream=stream)
            assert refused.status_code == 503
            assert int(refused.headers["Retry-After"]) > 0
            assert refused.json()["error"]["code"] == "overloaded"
        refused = host.http.post("/api/generate", json={"model": "A"})
        assert (refused.status_code, "Retry-After" in refused.headers) == (503, True)


def test_a_slow_reader_costs_nobody_anything(host: RunningHost) -> None:
    # It asks for two megabytes and reads nothing: its answer is finished all the same, and the others are served.
    name, port = host.url.removeprefix("http://").split(":")
    message = {"role": "user", "content": '/fake {"tokens": 7000, "text": "0123456789abcdef"} x'}
    body = json.dumps({"model": "A", "stream": True, "max_tokens": 7000, "messages": [message]})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {name}\r\nAuthorization: Bearer {host.key}\r\n"
    with socket.create_connection((name, int(port)), timeout=10) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        eventually(lambda: host.ps() and host.loaded()["tokens_per_second"] > 0, "it runs")
        assert host.chat("A", "hello").status_code == 200
        eventually(lambda: host.loaded()["running"] == 0, "its lease has ended")


def test_stop_waits_for_what_runs_and_force_does_not(host: RunningHost) -> None:
    with concurrent.futures.ThreadPoolExecutor() as pool:
        running = pool.submit(host.chat, "A", SLOW)
        eventually(lambda: any(m["running"] for m in host.ps()), "A runs")
        gentle = pool.submit(host.http.post, "/api/generate", json={"model": "A", "keep_alive": 0})
        eventually(lambda: host.loaded()["state"] == "draining", "it drains")
        assert not gentle.done()
        forced = host.http.post("/api/generate", json={"model": "A", "keep_alive": 0, "force": True})
        assert forced.status_code == 200
        assert running.result().json()["error"]["code"] == "cancelled"
        assert gentle.result().status_code == 200
    assert host.ps() == []


def test_removing_a_loaded_model_unloads_it_first(host: RunningHost) -> None:
    host.chat("A", "hello")
    pid = host.loaded()["pid"]
    assert host.http.request("DELETE", "/api/delete", json={"model": "A"}).json()["freed"] > 0
    assert not psutil.pid_exists(pid)
    assert host.chat("A", "hello").status_code == 404
    assert not (host.home / "registry" / "A").exists()


def test_a_model_with_a_missing_or_cut_file_is_told_and_another_still_works(host: RunningHost) -> None:
    path = host.home / "registry" / "A" / "fake.json"
    path.write_text("")
    cut = host.chat("A", "hello")
    path.unlink()
    missing = host.chat("A", "hello")
    for response in (cut, missing):
        assert response.status_code == 500
        assert response.json()["error"]["code"] == "model_broken"
        assert "fake.json" in response.json()["error"]["message"]
    assert host.chat("B", "hello").status_code == 200


def test_the_port_of_another_program_is_left_alone_on_demand_and_told_by_serve(home: Path) -> None:
    fake_model(home, "A")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        with running_host(home, ILLAMA_PORT=port, ILLAMA_HOST="127.0.0.1") as host:
            assert not host.url.endswith(f":{port}")
            assert host.chat("A", "hello").status_code == 200
        environ = {**os.environ, "ILLAMA_PORT": port, "ILLAMA_HOST": "127.0.0.1"}
        run = subprocess.run([sys.executable, "-m", "illama.host"], env=environ, capture_output=True, check=False)
    assert run.returncode == 1
    assert f"Port {port} is in use" in run.stderr.decode()
    assert "ILLAMA_PORT" in run.stderr.decode()


def test_a_second_host_says_that_there_is_one(host: RunningHost) -> None:
    environ = {**os.environ, "ILLAMA_ENGINE": "fake"}
    run = subprocess.run([sys.executable, "-m", "illama.host"], env=environ, capture_output=True, check=False)
    assert run.returncode == 1
    assert host.url in run.stderr.decode()
    assert host.key not in run.stderr.decode()


def test_a_host_on_demand_ends_itself_when_nobody_needs_it(home: Path) -> None:
    fake_model(home, "A")
    with running_host(home, ILLAMA_HOST_IDLE_SEC="1", ILLAMA_IDLE_TTL_SEC="0") as host:
        host.chat("A", "hello")
        assert host.process.wait(15) == 0
    assert not (home / "run" / "host.json").exists()


def test_no_key_is_for_loopback_alone(home: Path) -> None:
    command = [sys.executable, "-m", "illama.host", "--no-key"]
    run = subprocess.run(command, env={**os.environ, "ILLAMA_ENGINE": "fake"}, capture_output=True, check=False)
    assert run.returncode == 1
    assert "loopback" in run.stderr.decode()
    fake_model(home, "A")
    with running_host(home, "--no-key", ILLAMA_HOST="127.0.0.1") as host:
        assert httpx.get(f"{host.url}/v1/models").status_code == 200


def test_connections_that_send_nothing_are_taken_and_do_not_keep_others_out(host: RunningHost) -> None:
    name, port = host.url.removeprefix("http://").split(":")
    idle = [socket.create_connection((name, int(port)), timeout=10) for _ in range(200)]
    assert host.chat("A", "hello").status_code == 200
    for connection in idle:
        connection.close()


def test_the_status_waits_for_the_engine_and_then_the_stream_tells_what_it_waits_for(home: Path) -> None:
    fake_model(home, "slow", load_sec=0.6)
    with running_host(home) as host, host.stream("slow", "hello", header_wait=0.2) as response:
        lines = [line for line in response.iter_lines() if line]
    assert lines[0].startswith(": loading slow")
    assert text_of([json.loads(line[6:]) for line in lines if line.startswith("data: {")]) == "hello"


def test_what_a_request_for_a_loading_model_waited_is_told_as_load_time(home: Path) -> None:
    fake_model(home, "slow", load_sec=0.5)
    with running_host(home) as host:
        timings: dict[str, Any] = host.chat("slow", "hello").json()["timings"]
    assert timings["load_ms"] >= 500
    assert timings["queue_ms"] < 300
    assert timings["ttft_ms"] >= timings["load_ms"]


def test_an_engine_that_makes_no_progress_is_ended_and_its_requests_are_told(home: Path) -> None:
    fake_model(home, "A")
    with running_host(home, ILLAMA_STEP_LIMIT_SEC="1") as host:
        hung = host.chat("A", '/fake {"hang_at": 2} 0123456789abcdef')
        assert hung.status_code == 500
        assert "no progress" in hung.json()["error"]["message"]
        assert host.chat("A", "hello").json()["choices"][0]["message"]["content"] == "hello"


def test_an_engine_that_works_on_a_long_prompt_is_not_taken_for_hung(home: Path) -> None:
    fake_model(home, "A")
    with running_host(home, ILLAMA_STEP_LIMIT_SEC="1") as host:
        slow = '/fake {"step_sec": 0.3, "tokens": 1} ' + "x" * 8000
        assert host.chat("A", slow).status_code == 200


def test_a_load_that_takes_too_long_is_ended(home: Path) -> None:
    fake_model(home, "slow", load_sec=60)
    with running_host(home, ILLAMA_LOAD_LIMIT_SEC="1") as host:
        refused = host.chat("slow", "hello")
        assert refused.status_code == 503
        assert "ILLAMA_LOAD_LIMIT_SEC" in refused.json()["error"]["message"]
        eventually(lambda: not host.ps(), "the slot is free")


def test_an_engine_that_keeps_dying_while_it_loads_is_not_started_in_a_loop(home: Path) -> None:
    fake_model(home, "doomed", load_dies=True)
    fake_model(home, "A")
    with running_host(home) as host:
        for _ in range(3):
            died = host.chat("doomed", "hello")
            assert died.status_code == 503
            assert "the fake device is on fire" in died.json()["error"]["message"]
        assert "died 3 times" in host.chat("doomed", "hello").json()["error"]["message"]
        assert (host.home / "logs" / "engine.log").read_text().count("on fire") == 3
        assert host.chat("A", "hello").status_code == 200


def test_metrics_tell_what_happened_and_keep_no_model_alive(home: Path) -> None:
    for name in ("A", "B"):
        fake_model(home, name)
    with running_host(home, ILLAMA_IDLE_TTL_SEC="1") as host:
        host.chat("A", "hello there")
        host.chat("B", "hello", keep_alive=-1)
        host.chat("nobody", "hello")
        page = host.http.get("/metrics")
        assert page.headers["Content-Type"].startswith("text/plain")
        assert 'illama_requests_total{dialect="openai",model="A",outcome="success"} 1.0' in page.text
        assert 'illama_generated_tokens_total{model="A"} 3.0' in page.text
        assert 'illama_model_switches_total{device="CPU"} 1.0' in page.text
        assert 'illama_requests_running{device="CPU",model="B"} 0.0' in page.text
        assert "nobody" not in page.text
        host.chat("A", "hello")
        eventually(lambda: host.http.get("/metrics").text and not host.ps(), "A is unloaded, whoever looks")
        assert 'illama_model_evictions_total{reason="idle"} 1.0' in host.http.get("/metrics").text
        assert httpx.get(f"{host.url}/metrics").status_code == 401


def test_ps_tells_the_memory_that_was_measured(host: RunningHost) -> None:
    host.chat("A", "hello")
    eventually(lambda: host.loaded()["memory"], "the memory is measured")
    model = host.loaded()
    assert model["size"] == model["memory"]["pss"] > 2**20


def test_hundreds_of_connections_at_once_wait_for_a_busy_host(host: RunningHost) -> None:
    address = httpx.URL(host.url)
    os.kill(host.process.pid, signal.SIGSTOP)  # as busy as can be
    opened = []
    try:
        # One that finds no room tries again after a second: longer than this waits.
        opened = [socket.create_connection((address.host, address.port), timeout=0.9) for _ in range(500)]
    finally:
        os.kill(host.process.pid, signal.SIGCONT)
        for connection in opened:
            connection.close()
    assert host.http.get("/health").status_code == 200


def test_a_first_step_that_fails_after_the_load_is_told_to_who_asked(host: RunningHost) -> None:
    fake_model(host.home, "cold", first_step="no room")
    response = host.chat("cold", "hello")
    assert response.status_code == 500
    assert "no room" in response.json()["error"]["message"]
    assert host.chat("A", "hello").status_code == 200
