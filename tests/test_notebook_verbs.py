"""The verbs that look after models, conversations and choices."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.error import StdinNotImplementedError, UsageError
from support_host import fake_model
from support_notebook import ENTRY, Host, make_shell, piece

from illama.errors import NotFoundError
from illama.notebook.magics import Stopped


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def shell(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    yield from make_shell(host, tmp_path, monkeypatch)


def last_question(host: Host) -> dict[str, Any]:
    return [body for path, body in host.requests if path == "/v1/chat/completions"][-1]


def test_show_returns_the_entry_as_a_table_of_its_facts(shell: Any):
    model = shell.run_line_magic("illama", "show SmolLM2")
    assert model["digest"] == ENTRY["digest"]
    assert "98.0 MB" in repr(model)
    assert "<th" in model._repr_html_()
    assert "98.0 MB" in model._repr_html_()


def test_show_becomes_a_dataframe_of_one_row(shell: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=lambda rows: ("frame", rows)))
    assert shell.run_line_magic("illama", "show SmolLM2").to_dataframe() == ("frame", [ENTRY])


def test_rm_removes_each_and_says_what_came_free(shell: Any, host: Host, capsys: pytest.CaptureFixture[str]):
    shell.run_line_magic("illama", "rm a b --force")
    assert [body for path, body in host.requests if path == "/api/delete"] == [
        {"model": "a", "force": True},
        {"model": "b", "force": True},
    ]
    assert capsys.readouterr().out.splitlines()[0] == "Removed a: 98.0 MB are free again."


def test_use_chooses_the_model_and_device_of_later_questions(
    shell: Any, host: Host, capsys: pytest.CaptureFixture[str]
):
    shell.run_line_magic("illama", "use smollm2 --device gpu.1")
    assert capsys.readouterr().out == "Questions go to SmolLM2 on GPU.1.\n"
    shell.run_cell_magic("illama", "", "Hello?")
    assert (last_question(host)["model"], last_question(host)["device"]) == ("SmolLM2", "GPU.1")
    shell.run_line_magic("illama", "use --default")
    assert capsys.readouterr().out == "Questions go to SmolLM2, as none is chosen.\n"
    shell.run_cell_magic("illama", "", "Hello?")
    assert "device" not in last_question(host)


def test_use_of_what_is_no_device_is_a_usage_error(shell: Any):
    with pytest.raises(UsageError, match=r"GPU\.1"):
        shell.run_line_magic("illama", "use --device TPU")


def test_config_sets_what_questions_ask_for(shell: Any, host: Host):
    for line in ("model = 'Phi-4'", "device = 'CPU'", "temperature = 0"):
        shell.run_line_magic("config", f"Illama.{line}")
    shell.run_cell_magic("illama", "", "Hello?")
    body = last_question(host)
    assert (body["model"], body["device"], body["temperature"]) == ("Phi-4", "CPU", 0)
    shell.run_cell_magic("illama", "Other -t 0.5", "Hello?")
    assert (last_question(host)["model"], last_question(host)["temperature"]) == ("Other", 0.5)


def test_config_can_turn_streaming_off(shell: Any):
    shell.run_line_magic("config", "Illama.stream = False")
    shell.run_cell_magic("illama", "", "Hello?")
    assert len(shell.display_pub.outputs) == 1


def test_config_lists_the_choices(shell: Any, capsys: pytest.CaptureFixture[str]):
    shell.run_line_magic("config", "Illama")
    out = capsys.readouterr().out
    assert all(f"Illama.{name}" in out for name in ("model", "device", "temperature", "stream"))


def test_logs_prints_the_last_lines(shell: Any, home: Path, capsys: pytest.CaptureFixture[str]):
    (home / "logs").mkdir()
    (home / "logs" / "host.log").write_text("one\ntwo\n\x1b[31mthree\n")
    shell.run_line_magic("illama", "logs -n 2")
    assert capsys.readouterr().out == "two\n[31mthree\n"


def test_logs_that_are_not_there_are_an_error(shell: Any):
    with pytest.raises(NotFoundError, match="no engine log"):
        shell.run_line_magic("illama", "logs engine")


def test_a_thread_sends_what_was_said_before(shell: Any, host: Host):
    shell.run_cell_magic("illama", "SmolLM2 -s Short. --thread t", "Capital of France?")
    shell.run_cell_magic("illama", "--thread t", "And of Italy?")
    body = last_question(host)
    assert body["model"] == "SmolLM2"
    assert body["messages"] == [
        {"role": "system", "content": "Short."},
        {"role": "user", "content": "Capital of France?"},
        {"role": "assistant", "content": "Paris"},
        {"role": "user", "content": "And of Italy?"},
    ]


def test_threads_know_nothing_of_each_other(shell: Any, host: Host):
    shell.run_cell_magic("illama", "--thread a", "One?")
    shell.run_cell_magic("illama", "--thread b", "Two?")
    shell.run_cell_magic("illama", "", "Three?")
    assert last_question(host)["messages"] == [{"role": "user", "content": "Three?"}]
    table = shell.run_line_magic("illama", "thread list")
    assert [(row["name"], row["questions"]) for row in table] == [("a", 1), ("b", 1)]
    assert "One?" in repr(table)


def test_a_further_system_message_takes_the_place_of_the_first(shell: Any, host: Host):
    shell.run_cell_magic("illama", "-s Short. --thread t", "One?")
    shell.run_cell_magic("illama", "-s Long. --thread t", "Two?")
    assert [m["content"] for m in last_question(host)["messages"]] == ["Long.", "One?", "Paris", "Two?"]


def test_thread_show_is_a_transcript_in_which_nothing_runs(shell: Any):
    shell.run_cell_magic("illama", "--thread t", "<script>alert(1)</script>")
    thread = shell.run_line_magic("illama", "thread show t")
    assert repr(thread) == "user:\n<script>alert(1)</script>\n\nassistant:\nParis"
    assert "<script>" not in thread._repr_html_()
    assert "Paris" in thread._repr_html_()


def test_thread_clear_forgets_one_or_all(shell: Any, capsys: pytest.CaptureFixture[str]):
    for name in ("a", "b", "c"):
        shell.run_cell_magic("illama", f"--thread {name}", "Hello?")
    shell.run_line_magic("illama", "thread clear b")
    shell.run_line_magic("illama", "thread clear")
    assert capsys.readouterr().out.splitlines() == ["Forgotten: b.", "Forgotten: a, c."]
    assert "%%illama --thread" in repr(shell.run_line_magic("illama", "thread list"))
    with pytest.raises(NotFoundError, match="no thread 'a'"):
        shell.run_line_magic("illama", "thread show a")


def test_a_question_that_fails_leaves_its_thread_as_it_was(shell: Any, host: Host):
    shell.run_cell_magic("illama", "--thread t", "One?")
    host.answer = lambda: iter([piece("Par"), b'data: {"error": {"message": "It died.", "code": "engine_died"}}\n\n'])
    shell.run_cell("%%illama --thread t\nTwo?", store_history=False)
    assert len(shell.run_line_magic("illama", "thread show t").messages) == 2


def test_an_answer_that_is_stopped_stays_in_its_thread(shell: Any, host: Host):
    def interrupted() -> Iterator[bytes]:
        yield piece("Par")
        raise KeyboardInterrupt

    host.answer = interrupted
    with pytest.raises(Stopped):
        shell.run_cell_magic("illama", "--thread t", "One?")
    assert shell.run_line_magic("illama", "thread show t").messages[-1]["content"] == "Par"


def test_chat_asks_what_is_typed_until_an_empty_line(shell: Any, host: Host, monkeypatch: pytest.MonkeyPatch):
    typed = iter(["One?", "Two?", ""])
    monkeypatch.setattr("builtins.input", lambda _: next(typed))
    shell.run_line_magic("illama", "chat SmolLM2 -s Short.")
    assert [m["content"] for m in last_question(host)["messages"]] == ["Short.", "One?", "Paris", "Two?"]
    assert len(shell.run_line_magic("illama", "thread show chat").messages) == 5


def test_chat_obeys_its_commands(shell: Any, host: Host, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    typed = iter(["/clear", "One?", "/?", "/nonsense now", "/clear", "Two?", "/bye"])
    monkeypatch.setattr("builtins.input", lambda _: next(typed))
    shell.run_line_magic("illama", "chat SmolLM2 -s Short.")
    assert [m["content"] for m in last_question(host)["messages"]] == ["Short.", "Two?"]
    shown = capsys.readouterr().out
    assert shown.startswith("An empty line or /bye leaves")
    assert "There is no command /nonsense; /? lists them." in shown


def test_chat_where_nobody_can_type_is_a_usage_error(shell: Any, monkeypatch: pytest.MonkeyPatch):
    def refuse(_: str) -> str:
        raise StdinNotImplementedError("no input here")

    monkeypatch.setattr("builtins.input", refuse)
    with pytest.raises(UsageError, match="--thread NAME"):
        shell.run_line_magic("illama", "chat")


def completed(shell: Any, line: str) -> list[str]:
    """The lines that Tab may make of this one, as a kernel finds them out."""
    with provisionalcompleter():
        return [line[: found.start] + found.text for found in shell.Completer.completions(line, len(line))]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("%illama l", ["%illama list", "%illama logs"]),
        ("%illama pull --c", ["%illama pull --cancel"]),
        ("%illama show p", ["%illama show Phi-4", "%illama show Phi-4:int8"]),
        ("%illama show Phi-4:", ["%illama show Phi-4:int8"]),
        ("%illama rm Phi-4 S", ["%illama rm Phi-4 SmolLM2"]),
        ("%%illama S", ["%%illama SmolLM2"]),
        ("%%illama -o ans", ["%%illama -o answer"]),
        ("%%illama SmolLM2 --t", ["%%illama SmolLM2 --temperature", "%%illama SmolLM2 --thread"]),
        ("%%illama -f t", ["%%illama -f text"]),
        ("%illama logs e", ["%illama logs engine"]),
        ("%illama use --device N", ["%illama use --device NPU"]),
    ],
)
def test_tab_completes_verbs_options_and_models(shell: Any, home: Path, line: str, expected: list[str]):
    for name in ("SmolLM2", "Phi-4", "Phi-4:int8"):
        fake_model(home, name)
    shell.user_ns["answer"] = 1
    assert sorted(completed(shell, line)) == expected


def test_a_look_for_models_by_tab_starts_no_host(shell: Any, home: Path):
    completed(shell, "%illama show S")
    assert not (home / "run").exists()
