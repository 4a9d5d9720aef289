"""The conversation in a terminal: typed through prompt_toolkit's pipe, and once through a real pseudo-terminal."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator

import playhost
import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from illama.cli.repl import Repl, history_file
from illama.client import Client
from illama.config import Settings

MODEL = "SmolLM2-135M-Instruct"


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Iterator[playhost.Play]:
    with playhost.in_a_thread() as played:
        monkeypatch.setenv("ILLAMA_BASE_URL", played.url)
        monkeypatch.setenv("ILLAMA_API_KEY", playhost.KEY)
        yield played


@pytest.fixture
def converse(play: playhost.Play, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[str, str]]:
    """A function that types into a conversation and returns what was printed, on stdout and on stderr."""

    def typing(typed: str, *, model: str = MODEL, **options: object) -> tuple[str, str]:
        settings = Settings.load()
        with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
            keys.send_text(typed + "\x04")  # Ctrl-D at the end
            with Client(settings=settings) as client:
                assert Repl(client, model, {}, settings, **options).run() == 0
        printed = capsys.readouterr()
        return printed.out, printed.err

    return typing


def sent(play: playhost.Play) -> list[dict[str, object]]:
    return [asked for asked in play.asked if asked["path"] == "/v1/chat/completions"]


def test_each_question_goes_with_all_that_was_said_before(converse, play):
    out, _ = converse("one\rtwo\r")
    assert out.count("Paris") == 2
    first, second = sent(play)
    assert [m["content"] for m in first["messages"]] == ["one"]
    assert [(m["role"], m["content"]) for m in second["messages"]] == [
        ("user", "one"),
        ("assistant", "Paris \x1b[31mis it."),
        ("user", "two"),
    ]


def test_bye_leaves_at_once(converse, play):
    converse("/bye\rnever asked\r")
    assert sent(play) == []


def test_an_empty_line_asks_nothing(converse, play):
    converse("\r   \r")
    assert sent(play) == []


def test_clear_forgets_what_was_said(converse, play):
    converse("one\r/clear\rtwo\r")
    assert [m["content"] for m in sent(play)[-1]["messages"]] == ["two"]


def test_settings_count_from_the_next_question_on(converse, play):
    out, err = converse(
        "/set system Be brief.\r/set temperature 0.5\r/set top_p 0.9\r/set seed 7\r/set max_tokens 5\r/set verbose on\r"
        "hi\r/set seed\rhi\r/set\r"
    )
    first, second = sent(play)
    assert first["messages"][0] == {"role": "system", "content": "Be brief."}
    given = {"temperature": 0.5, "top_p": 0.9, "seed": 7, "max_tokens": 5}
    assert {name: first[name] for name in given} == given
    assert "verbose" not in first
    assert "seed" not in second
    assert "61.2/s" in err
    assert "temperature 0.5" in out


@pytest.mark.parametrize("typed", ["/set seed much", "/set verbose maybe", "/set colour red", "/nonsense"])
def test_what_cannot_be_obeyed_is_said_and_changes_nothing(converse, play, typed):
    out, _ = converse(f"{typed}\rhi\r")
    assert typed.split()[-1].removeprefix("/") in out or "no setting colour" in out
    assert set(sent(play)[0]) == {"path", "model", "messages", "stream", "stream_options", "header_wait"}


def test_show_tells_of_the_model_and_the_settings(converse):
    out, _ = converse("/show\r", system="Be kind.")
    assert MODEL in out
    assert "Be kind." in out


def test_help_lists_every_command(converse):
    out, _ = converse("/?\r")
    assert all(command in out for command in ("/bye", "/clear", "/set", "/show", '"""'))


def test_triple_quotes_hold_several_lines(converse, play):
    converse('"""\r/first\rsecond"""\r"""all in one"""\r')
    assert [asked["messages"][-1]["content"] for asked in sent(play)] == ["/first\nsecond", "all in one"]


def test_a_question_that_fails_is_not_remembered(converse, play):
    _, err = converse("one\r", model="broken")
    assert "The engine ended." in err
    converse("two\r", model="broken")
    assert [len(asked["messages"]) for asked in sent(play)] == [1, 1]


def test_ctrl_c_stops_the_answer_only_and_keeps_what_had_come(converse, play, monkeypatch):
    write = sys.stdout.write

    def interrupting(text: str) -> int:
        written = write(text)
        if text == "Paris":
            signal.raise_signal(signal.SIGINT)
        return written

    monkeypatch.setattr(sys.stdout, "write", interrupting)
    out, _ = converse("one\rtwo\r", model="slow")
    assert out.count("Paris\n(stopped)\n") == 2
    assert [m["content"] for m in sent(play)[1]["messages"]] == ["one", "Paris", "two"]
    assert play.left.wait(10)


def test_the_history_is_for_this_user_alone_and_lasts(converse, home):
    converse("remember me\r")
    file = history_file(Settings.load())
    assert file.parent == home
    assert file.stat().st_mode & 0o777 == 0o600
    assert "remember me" in file.read_text()


@pytest.mark.skipif(os.name == "nt", reason="pseudo-terminals")
def test_in_a_terminal_ctrl_c_stops_an_answer_and_ctrl_d_leaves(play, home):
    import pty

    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        os.execv(sys.executable, [sys.executable, "-m", "illama.cli", "run", "slow"])
    seen = b""

    def until(text: bytes) -> None:
        nonlocal seen
        while text not in seen:
            data = os.read(terminal, 4096)
            seen += data
            if b"\x1b[6n" in data:  # prompt_toolkit asks where the cursor is
                os.write(terminal, b"\x1b[1;1R")
        seen = seen.partition(text)[2]

    until(b">>>")
    os.write(terminal, b"why\r")
    until(b"waiting for slow")
    until(b"Paris")
    os.write(terminal, b"\x03")
    until(b"(stopped)")
    until(b">>>")
    os.write(terminal, b"\x04")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)
    assert play.left.wait(10)
