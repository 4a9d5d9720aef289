"""The load generator and other servers: what is counted of good answers, and what becomes of bad ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support_host import eventually
from support_peer import Peer, peer

from illama.bench import jupyter, meters, options, parties, targets
from illama.bench.children import Child
from illama.errors import ConfigError, EngineError, HostError

ASKED = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 6}


@pytest.fixture(scope="module")
def generator() -> Iterator[Child]:
    with targets.generator() as child:
        yield child


@pytest.fixture
def server() -> Iterator[Peer]:
    with peer() as running:
        yield running


def served(server: Peer, generator: Child, key_variable: str | None = None) -> targets.Served:
    return parties.peer(options.Peer("other", server.url, key_variable), None, generator)


def only(found: dict[str, Any]) -> dict[str, Any]:
    (answer,) = found["answers"]
    return dict(answer)


def test_tokens_are_those_of_the_usage(server: Peer, generator: Child) -> None:
    server.usage = True
    target = served(server, generator)
    answer = only(target.run([ASKED]))
    assert (answer["completion_tokens"], answer["prompt_tokens"], answer["pieces"]) == (6, 7, 6)
    assert answer["error"] is None
    assert 0 < answer["ttft"] < 10
    assert target.describe()["tokens_counted_by"] == "usage"


def test_without_a_usage_each_piece_is_a_token_and_the_result_says_so(server: Peer, generator: Child) -> None:
    target = served(server, generator)
    assert only(target.run([ASKED]))["completion_tokens"] == 6
    assert target.describe()["tokens_counted_by"] == "chunks"


def test_the_model_is_the_first_of_its_list(server: Peer, generator: Child) -> None:
    served(server, generator).run([ASKED])
    assert server.bodies[-1]["model"] == "first"


def test_its_key_comes_from_the_variable_that_was_named(
    server: Peer, generator: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THEIR_KEY", "sesame")
    served(server, generator, "THEIR_KEY").run([ASKED])
    assert server.keys == {"Bearer sesame"}
    with pytest.raises(ConfigError, match="NOT_SET"):
        served(server, generator, "NOT_SET")


def test_an_error_is_an_error_of_that_answer(server: Peer, generator: Child) -> None:
    server.fails_every = 2
    found = served(server, generator).run([ASKED, ASKED])
    errors = [answer["error"] for answer in found["answers"]]
    assert errors.count(None) == 1
    assert any(error and "500" in error and "it broke" in error for error in errors)


def test_an_answer_that_just_ends_was_cut_off(server: Peer, generator: Child) -> None:
    server.cut = True
    assert only(served(server, generator).run([ASKED]))["error"] == "the stream was cut off"


def test_an_answer_without_text_is_no_answer(server: Peer, generator: Child) -> None:
    server.length = 0
    assert only(served(server, generator).run([ASKED]))["error"] == "an answer without text"


@pytest.mark.parametrize("refused", [("ignore_eos",), ("stream_options",), ("ignore_eos", "stream_options")])
def test_fields_that_a_server_refuses_are_left_out(server: Peer, generator: Child, refused: tuple[str, ...]) -> None:
    server.refuses = refused
    target = served(server, generator)
    assert target.first_contact(ASKED) is None
    assert target.describe()["fields_left_out"] == list(refused)


def test_a_server_that_cannot_be_reached_is_told_of(server: Peer, generator: Child) -> None:
    target = served(server, generator)
    target.url = "http://127.0.0.1:1"
    assert "refused" in only(target.run([ASKED]))["error"].lower()
    with pytest.raises(HostError, match="other does not say which models it has"):
        parties.peer(options.Peer("other", "http://127.0.0.1:1"), None, generator)


def test_a_request_may_wait_for_anothers_pieces(server: Peer, generator: Child) -> None:
    after = {**ASKED, "after": {"request": 0, "pieces": 3}}
    found = served(server, generator).run([ASKED, after])
    assert [answer["error"] for answer in found["answers"]] == [None, None]
    assert len(server.bodies) == 2


def test_who_waits_for_the_pieces_of_an_answer_that_fails_goes_on(server: Peer, generator: Child) -> None:
    server.cut = True
    after = {**ASKED, "after": {"request": 0, "pieces": 100}}
    found = served(server, generator).run([ASKED, after])
    assert len(found["answers"]) == 2


def test_a_process_that_ends_is_an_error_with_its_last_words() -> None:
    command = [sys.executable, "-c", "raise SystemExit('I am out of memory')"]
    with Child("It", command) as child, pytest.raises(EngineError, match="out of memory"):
        child.ask({})


def test_a_jupyter_server_is_known_by_the_engines_that_it_leads_to(
    server: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    assert jupyter.find({17}) is None
    told = {"url": f"{server.url}/", "token": "sesame", "pid": os.getpid()}
    (tmp_path / "jpserver-1.json").write_text(json.dumps({**told, "token": ""}))  # nobody gets in with a token
    (tmp_path / "jpserver-2.json").write_text("no JSON")
    (tmp_path / "jpserver-3.json").write_text(json.dumps(told))
    server.engines = [4711]
    assert jupyter.find({17}) is None
    server.engines = [4711, 17]
    assert jupyter.find({17}) == jupyter.Gate(f"{server.url}/illama", "sesame", os.getpid())
    assert server.keys == {"token sesame"}


def test_the_cpu_time_of_a_process_grows_and_is_nothing_when_it_is_gone() -> None:
    busy = [sys.executable, "-c", "n = 0\nwhile True: n += 1"]
    with subprocess.Popen(busy) as process:
        meter = meters.Meter({"busy": [process.pid], "own": [os.getpid()]})
        meter.start()
        eventually(lambda: meters.cpu_seconds(process.pid) > 0.2, "it works")
        spent, strangers = meter.stop()
        process.kill()
    assert spent["busy"] > 0.1
    assert 0 <= strangers <= 1
    assert meters.cpu_seconds(process.pid) == 0.0
    assert meters.tree(process.pid) == []


def test_who_listens_on_a_port_is_found(server: Peer) -> None:
    assert meters.listener(int(server.url.rpartition(":")[2])) == os.getpid()
