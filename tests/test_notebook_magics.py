from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from support_notebook import LOADED, MODEL, Host, asked, make_shell, piece, shown
from traitlets.config import Config

from illama.cli import main
from illama.client import Client, Reply
from illama.errors import ConfigError, ModelNotFoundError
from illama.notebook import load_ipython_extension
from illama.notebook.magics import Stopped


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def shell(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    yield from make_shell(host, tmp_path, monkeypatch)


def test_a_cell_shows_the_answer_with_its_numbers_and_returns_nothing(shell: Any):
    assert shell.run_cell_magic("illama", "", "Capital of France?") is None
    assert shown(shell)[-1] == "Paris\n\n[2 tokens · 65.1 tokens/s · first token after 0.18 s · SmolLM2 on CPU]"


def test_a_cell_shows_what_it_waits_for(shell: Any):
    shell.run_cell_magic("illama", "", "Capital of France?")
    assert shown(shell)[0] == "[⏳ loading SmolLM2]"


def test_a_cells_body_reaches_the_host_to_the_letter(shell: Any, host: Host):
    body = '{"a": [1]} {x} $x ${HOME} \\n "q\' %d !ls {{y}}\n\n  if a < b:\n\tpass\n'
    shell.user_ns["x"] = "EXPANDED"
    shell.run_cell(f"%%illama\n{body}", store_history=False)
    assert asked(host)["messages"][-1]["content"] == body.removesuffix("\n")


def test_the_first_line_of_a_cell_takes_variables(shell: Any, host: Host):
    shell.user_ns["chosen"] = "Phi-4"
    shell.run_cell_magic("illama", "{chosen} -s 'Be brief.' -n 20 -t 0.5 --seed 7", "Hello?")
    body = asked(host)
    assert (body["model"], body["max_tokens"], body["temperature"], body["seed"]) == ("Phi-4", 20, 0.5, 7)
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}


def test_what_is_not_given_is_not_sent(shell: Any, host: Host):
    shell.run_cell_magic("illama", "SmolLM2", "Hello?")
    assert {"temperature", "max_tokens", "response_format", "device"}.isdisjoint(
        key for key, value in asked(host).items() if value is not None
    )


def test_o_keeps_the_whole_reply_in_a_variable(shell: Any):
    assert shell.run_cell_magic("illama", "-o answer", "Capital of France?") is None
    assert isinstance(shell.user_ns["answer"], Reply)
    assert str(shell.user_ns["answer"]) == "Paris"


def test_run_asks_as_the_cell_does(shell: Any, host: Host):
    assert shell.run_line_magic("illama", "run SmolLM2 -n 9 What's the capital?") is None
    assert asked(host)["messages"][-1]["content"] == "What's the capital?"
    assert shown(shell)[-1].startswith("Paris")


@pytest.mark.parametrize("how", ["variable", "option"])
def test_without_streaming_there_is_one_output(shell: Any, how: str, monkeypatch: pytest.MonkeyPatch):
    if how == "variable":
        monkeypatch.setenv("ILLAMA_STREAM", "0")
    shell.run_cell_magic("illama", "--no-stream" if how == "option" else "", "Hello?")
    (output,) = shell.display_pub.outputs
    assert not output["update"]


def test_an_output_that_is_to_be_compared_holds_no_times(shell: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ILLAMA_STREAM", "0")
    shell.run_cell_magic("illama", "", "Hello?")
    assert shown(shell) == ["Paris"]


def test_an_interrupt_stops_the_answer_and_fails_the_cell_in_one_line(shell: Any, host: Host):
    def interrupted() -> Iterator[bytes]:
        yield piece("Par")
        raise KeyboardInterrupt

    host.answer = interrupted
    with pytest.raises(Stopped) as caught:
        shell.run_cell_magic("illama", "-o answer", "Hello?")
    assert isinstance(caught.value, KeyboardInterrupt)
    assert len(caught.value._render_traceback_()) == 1
    assert shown(shell)[-1] == "Par\n\n[■ stopped]"
    assert host.closed
    assert "answer" not in shell.user_ns


def test_an_answer_that_breaks_off_is_marked_and_fails_the_cell(
    shell: Any, host: Host, capsys: pytest.CaptureFixture[str]
):
    host.answer = lambda: iter([piece("Par"), b'data: {"error": {"message": "It died.", "code": "engine_died"}}\n\n'])
    result = shell.run_cell("%%illama\nHello?", store_history=False)
    assert not result.success
    assert shown(shell)[-1] == "Par\n\n[■ broken off]"
    assert capsys.readouterr().out.strip() == "EngineDiedError: It died."


def test_an_error_is_two_lines_and_leaves_no_empty_output(shell: Any, capsys: pytest.CaptureFixture[str]):
    result = shell.run_cell("%%illama none\nHello?", store_history=False)
    assert isinstance(result.error_in_exec, ModelNotFoundError)
    assert capsys.readouterr().out.strip().splitlines() == ["ModelNotFoundError: No model none.", "Pull it."]
    assert shell.display_pub.outputs == []


@pytest.mark.parametrize("line", ["fetch x", "pull", "list x", "run", "stop a b"])
def test_a_wrong_line_is_a_usage_error_and_asks_nobody(shell: Any, host: Host, line: str):
    with pytest.raises(UsageError, match="usage: %illama"):
        shell.run_line_magic("illama", line)
    assert host.requests == []


def test_a_wrong_option_of_a_cell_is_a_usage_error(shell: Any):
    with pytest.raises(UsageError, match="usage: %%illama"):
        shell.run_cell_magic("illama", "--loud", "Hello?")


def test_help_is_printed_and_asks_nobody(shell: Any, host: Host, capsys: pytest.CaptureFixture[str]):
    shell.run_line_magic("illama", "pull --help")
    shell.run_cell_magic("illama", "--help", "Hello?")
    out = capsys.readouterr().out
    assert "usage: %illama pull" in out
    assert "usage: %%illama [-h]" in out
    assert host.requests == []


def test_list_returns_a_table_that_shows_as_html_and_as_text(shell: Any):
    table = shell.run_line_magic("illama", "list")
    assert "SmolLM2" in repr(table)
    assert "98.0 MB" in table._repr_html_()
    assert [row["name"] for row in table] == ["SmolLM2"]
    assert (len(table), table[0]["context_length"]) == (1, 8192)


def test_a_table_escapes_names(shell: Any, host: Host):
    host.models = [{**MODEL, "name": "<b>x</b>"}]
    assert "<b>" not in shell.run_line_magic("illama", "list")._repr_html_()


def test_a_table_prints_as_the_command_does(
    shell: Any, host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    host.loaded = [LOADED]
    client = Client("http://127.0.0.1:1", "key", transport=host)
    monkeypatch.setenv("ILLAMA_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setattr("illama.client.Client", lambda **_: client)
    for verb in ("list", "ps"):
        assert main([verb]) == 0
        assert capsys.readouterr().out.strip() == repr(shell.run_line_magic("illama", verb))


def test_an_empty_table_says_what_to_do(shell: Any, host: Host):
    host.models = []
    table = shell.run_line_magic("illama", "list")
    assert "illama pull smollm2" in repr(table)
    assert "illama pull smollm2" in table._repr_html_()


def test_a_table_becomes_a_dataframe(shell: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=lambda rows: ("frame", rows)))
    assert shell.run_line_magic("illama", "list").to_dataframe() == ("frame", [MODEL])


def test_a_dataframe_without_pandas_says_how_to_get_it(shell: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError) as caught:
        shell.run_line_magic("illama", "list").to_dataframe()
    assert caught.value.hint == "%pip install pandas"


def test_ps_shows_the_device(shell: Any, host: Host):
    host.loaded = [LOADED]
    assert "CPU" in repr(shell.run_line_magic("illama", "ps"))


def test_ps_shows_pulls_below_the_models(shell: Any, host: Host):
    host.loaded, host.jobs = [LOADED], [{"source": "<phi4>", "state": "running", "status": "downloading"}]
    table = shell.run_line_magic("illama", "ps")
    assert len(table) == 1
    assert "<phi4>" in repr(table)
    assert "&lt;phi4&gt;" in table._repr_html_()
    assert table._repr_html_().count("<table>") == 2


def test_stop_without_a_name_stops_the_model_that_is_loaded(shell: Any, host: Host, capsys: pytest.CaptureFixture[str]):
    host.loaded = [LOADED]
    shell.run_line_magic("illama", "stop")
    path, body = host.requests[-1]
    assert (path, body["model"], body["keep_alive"]) == ("/api/generate", "SmolLM2", 0)
    assert capsys.readouterr().out == "SmolLM2 is unloaded.\n"


@pytest.mark.parametrize(
    ("loaded", "words"), [([], "No model is loaded"), ([LOADED, {**LOADED, "name": "Phi-4"}], "Phi-4")]
)
def test_stop_without_a_name_says_why_it_cannot_choose(shell: Any, host: Host, loaded: list[Any], words: str):
    host.loaded = loaded
    with pytest.raises(ModelNotFoundError, match=words):
        shell.run_line_magic("illama", "stop")


PULL = [
    {"status": "downloading x", "phase": "download", "completed": 10_000_000, "total": 100_000_000},
    {"status": "downloading x", "phase": "download", "completed": 100_000_000, "total": 100_000_000},
    {"status": "converting <x>", "phase": "convert"},
    {"status": "success", "name": "SmolLM2", "existing": False},
]


def test_a_pull_is_one_display_with_a_bar_for_each_phase(shell: Any, host: Host):
    host.pulled = PULL
    assert shell.run_line_magic("illama", "pull x")["name"] == "SmolLM2"
    outputs = shell.display_pub.outputs
    assert len({output["transient"]["display_id"] for output in outputs}) == 1
    assert [output["update"] for output in outputs] == [False, True, True, True]
    final = outputs[-1]["data"]
    assert final["text/html"].count("<progress") == 2
    assert "SmolLM2 is ready." in final["text/html"]
    assert "<x>" not in final["text/html"]


def test_a_pull_without_streaming_is_plain_lines(
    shell: Any, host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("ILLAMA_STREAM", "0")
    host.pulled = PULL
    shell.run_line_magic("illama", "pull x")
    assert capsys.readouterr().out.splitlines() == ["downloading x", "converting <x>", "SmolLM2 is ready."]


def test_a_failed_pull_says_so_in_its_display_and_fails_the_cell(shell: Any, host: Host):
    host.pulled = [PULL[0], {"error": "No space.", "code": "pull_failed", "hint": "Make some."}]
    result = shell.run_cell("%illama pull x", store_history=False)
    assert result.error_in_exec.hint == "Make some."
    assert shown(shell)[-1].endswith("failed")


@pytest.mark.parametrize(
    ("answer", "shown_last", "said"),
    [
        ({"state": "cancelled"}, "stopped", "is cancelled; what was fetched is kept, and `%illama pull x` goes on"),
        ({"state": "running", "watchers": 1}, "no longer watched", "goes on, as another one waits for it"),
    ],
)
def test_an_interrupted_pull_says_what_became_of_it(
    shell: Any, host: Host, answer: dict[str, Any], shown_last: str, said: str
):
    host.pulled, host.stopped = [PULL[0], {"interrupted": True}], answer
    result = shell.run_cell("%illama pull x", store_history=False)
    assert isinstance(result.error_in_exec, Stopped)
    assert said in str(result.error_in_exec)
    assert shown(shell)[-1].endswith(shown_last)
    (_, begun), (_, stopped) = host.requests
    assert stopped == {"model": "x", "watcher": begun["watcher"]}


def test_a_pull_can_be_cancelled_from_another_cell(shell: Any, host: Host, capsys: pytest.CaptureFixture[str]):
    shell.run_line_magic("illama", "pull --cancel x")
    assert host.requests == [("/api/pull", {"model": "x", "force": True})]
    assert "The pull of x is cancelled" in capsys.readouterr().out


def test_loading_the_extension_twice_keeps_the_one_client(shell: Any):
    before = shell.magics_manager.registry["IllamaMagics"]
    load_ipython_extension(shell)
    assert shell.magics_manager.registry["IllamaMagics"] is before


def test_loading_the_extension_registers_both_magics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    config = Config()
    config.HistoryManager.enabled = False
    shell = InteractiveShell(config=config)
    shell.run_line_magic("load_ext", "illama")
    assert shell.find_line_magic("illama")
    assert shell.find_cell_magic("illama")
