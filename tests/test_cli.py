"""The command line, in this process, against a host that is played in a thread."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import playhost
import pytest

from illama import __version__
from illama.cli import main, text
from illama.cli.parser import build
from illama.config import VARIABLES
from illama.registry import Entry, Registry

HEAVY = {"openvino", "openvino_genai", "torch", "transformers", "numpy", "pandas", "gguf", "huggingface_hub"}


class Piped(io.StringIO):
    """A stdin that is a pipe."""


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Iterator[playhost.Play]:
    """The played host, named by ILLAMA_BASE_URL; stdin is an empty pipe."""
    monkeypatch.setattr(sys, "stdin", Piped())
    with playhost.in_a_thread() as played:
        monkeypatch.setenv("ILLAMA_BASE_URL", played.url)
        monkeypatch.setenv("ILLAMA_API_KEY", playhost.KEY)
        yield played


@pytest.fixture
def model(home: Path, tmp_path: Path) -> Entry:
    """A model in the registry of this test."""
    registry = Registry(home / "registry")
    staged = registry.staging()
    (staged / "openvino_model.bin").write_bytes(b"x" * 1500)
    two_hours_ago = (datetime.now(timezone.utc) - timedelta(hours=2)).isoformat()
    source = {"kind": "gguf", "file": "tiny.gguf"}
    entry = Entry(name="Tiny", source=source, digest="0" * 64, created=two_hours_ago, aliases=("tiny-alias",))
    return registry.add(entry, staged)


def chats(play: playhost.Play) -> list[dict[str, object]]:
    return [asked for asked in play.asked if asked["path"] == "/v1/chat/completions"]


# -- the frame: usage, exit codes, what is imported


def test_a_misspelt_verb_gets_the_one_that_is_like_it(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["pul", "smollm2"])
    assert "there is no verb 'pul': did you mean pull?" in capsys.readouterr().err


def test_without_a_verb_there_is_help_and_the_code_for_usage(capsys):
    assert main([]) == 2
    assert "quickstart" in capsys.readouterr().out


@pytest.mark.parametrize("argv", [["nonsense"], ["cp", "x"], ["rm"], ["list", "--nonsense"], ["list", "too", "many"]])
def test_wrong_usage_is_exit_code_2(argv):
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2


def test_every_verb_has_help_and_a_function(capsys):
    verbs = next(a for a in build()._actions if a.dest == "verb").choices
    wanted = {"serve", "pull", "list", "ps", "show", "run", "stop", "rm", "env", "key", "logs", "quickstart", "version"}
    wanted |= {"bench", "doctor", "cp", "prune", "set", "tune", "ls"}
    assert set(verbs) == wanted
    for verb in verbs:
        with pytest.raises(SystemExit) as caught:
            main([verb, "--help"])
        assert caught.value.code == 0
        assert verb in capsys.readouterr().out


def test_a_failure_is_two_lines_on_stderr_and_exit_code_1(home, capsys):
    assert main(["show", "nothing-like-it"]) == 1
    out, err = capsys.readouterr()
    what, todo = err.splitlines()
    assert out == ""
    assert what.startswith("Error: ")
    assert "nothing-like-it" in what
    assert "illama pull" in todo


def test_a_variable_that_cannot_be_used_is_a_failure(monkeypatch, capsys):
    monkeypatch.setenv("ILLAMA_PORT", "none")
    assert main(["list"]) == 1
    assert "ILLAMA_PORT" in capsys.readouterr().err


def test_ctrl_c_is_exit_code_130(monkeypatch):
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("illama.cli.models.list_models", interrupted)
    assert main(["list"]) == 130


def test_a_reader_that_leaves_is_no_traceback(home):
    code = "import os, sys; from illama.cli import main; os.read(0, 1); sys.exit(main(['env']))"
    run = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    run.stdout.close()
    _, err = run.communicate(b"x")
    assert (run.returncode, err) == (1, b"")


@pytest.mark.parametrize("argv", [["list"], ["ps"], ["env"], ["version"]])
def test_a_verb_imports_nothing_heavy_and_no_http_client_where_it_needs_none(home, argv):
    code = f"import sys; from illama.cli import main; main({argv!r}); print(*sys.modules, sep='\\n', file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert not loaded & (HEAVY | {"httpx", "prompt_toolkit", "tqdm", "asyncio", "tornado"})


# -- list, ps, show, env, version


def test_list_reads_the_registry_without_a_host(model, capsys):
    assert main(["list"]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["NAME", "TASK", "WEIGHTS", "SIZE", "MODIFIED"]
    assert re.fullmatch(r"Tiny +text-generation +- +1\.5 kB +2 hours ago", row)


def test_list_as_json_is_one_document(model, capsys):
    assert main(["list", "--json"]) == 0
    [found] = json.loads(capsys.readouterr().out)
    assert (found["name"], found["size"]) == ("Tiny", 1500)


def test_list_asks_the_host_that_is_named(play, capsys):
    assert main(["list"]) == 0
    assert "SmolLM2-135M-Instruct" in capsys.readouterr().out


def test_ps_without_a_host_says_that_nothing_is_loaded_and_starts_none(home, capsys):
    assert main(["ps"]) == 0
    assert "Nothing is loaded" in capsys.readouterr().out
    assert main(["ps", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert not (home / "run").exists()


def test_ps_shows_a_row_for_each_model(play, capsys):
    play.loaded = ["SmolLM2-135M-Instruct"]
    assert main(["ps"]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["NAME", "DEVICE", "SIZE", "CONTEXT", "STATE", "RUNNING", "QUEUED", "TOK/S", "UNTIL"]
    assert row.split("   ")[0] == "SmolLM2-135M-Instruct"
    assert row.split()[1:] == ["CPU", "98.4", "MB", "8192", "ready", "0", "0", "61.2", "9", "minutes"]


def test_env_names_every_variable_with_its_source_and_hides_secrets(monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "hush-hush")
    monkeypatch.setenv("ILLAMA_API_KEY", "hush-hush")
    monkeypatch.setenv("ILLAMA_DEVICE", "cpu")
    assert main(["env"]) == 0
    out = capsys.readouterr().out
    assert all(variable.name in out for variable in VARIABLES)
    assert re.search(r"^ILLAMA_DEVICE +CPU +environment ", out, re.MULTILINE)
    assert re.search(r"^ILLAMA_ONE_MODEL +1 +default ", out, re.MULTILINE)
    assert main(["env", "--json"]) == 0
    as_json = capsys.readouterr().out
    assert json.loads(as_json)["ILLAMA_API_KEY"] == {
        "value": "(hidden)",
        "source": "environment",
        "meaning": "the owner's key; made at first start",
    }
    assert "hush-hush" not in out + as_json


def test_version_is_that_of_this_program_and_of_the_host(play, monkeypatch, capsys):
    assert main(["version"]) == 0
    assert capsys.readouterr().out.splitlines() == [f"illama {__version__}", f"host {__version__} at {play.url}"]
    monkeypatch.delenv("ILLAMA_BASE_URL")
    assert main(["version"]) == 0
    assert "No model host is running." in capsys.readouterr().out


# -- run


def test_run_streams_one_answer_to_stdout(play, capsys):
    assert main(["run", "smollm2", "Why", "is", "it?", "--verbose"]) == 0
    out, err = capsys.readouterr()
    assert out == "Paris \x1b[31mis it.\n"  # in a pipe a text stays what it is
    assert "61.2/s" in err
    assert chats(play)[0]["messages"] == [{"role": "user", "content": "Why is it?"}]


def test_on_a_terminal_a_models_text_cannot_command_it(play, monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    assert main(["run", "smollm2", "hi"]) == 0
    assert screen.getvalue() == "Paris [31mis it.\n"


def test_what_is_piped_in_follows_the_prompt_after_a_blank_line(play, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Piped("line 1\nline 2\n"))
    assert main(["run", "smollm2", "Sum up:"]) == 0
    monkeypatch.setattr(sys, "stdin", Piped("only this\n"))
    assert main(["run", "smollm2"]) == 0
    assert [c["messages"][0]["content"] for c in chats(play)] == ["Sum up:\n\nline 1\nline 2", "only this"]


def test_run_with_neither_prompt_nor_terminal_is_wrong_usage(play, capsys):
    assert main(["run", "smollm2"]) == 2
    assert "PROMPT" in capsys.readouterr().err
    assert play.asked == []


def test_runs_options_go_into_the_request(play, tmp_path):
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    options = ["--system", "Be brief.", "--temperature", "0", "--top-p", "0.5", "--max-tokens", "9", "--seed", "0"]
    options += ["--keepalive", "10m", "--format", str(tmp_path / "schema.json")]
    assert main(["run", "smollm2", *options, "words", "behind", "options"]) == 0
    [sent] = chats(play)
    assert sent["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "words behind options"},
    ]
    given = {"temperature": 0, "top_p": 0.5, "max_tokens": 9, "seed": 0, "keep_alive": "10m"}
    assert {name: sent[name] for name in given} == given
    assert sent["response_format"]["json_schema"]["schema"] == schema


def test_keepalive_may_be_a_number(play):
    assert main(["run", "smollm2", "hi", "--keepalive", "-1"]) == 0
    assert chats(play)[0]["keep_alive"] == -1


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_a_schema_that_cannot_be_read_is_a_failure_before_anything_is_asked(play, tmp_path, capsys, content):
    file = tmp_path / "schema.json"
    if content is not None:
        file.write_text(content)
    assert main(["run", "smollm2", "hi", "--format", str(file)]) == 1
    assert "--format" in capsys.readouterr().err
    assert play.asked == []


def test_an_answer_that_breaks_is_exit_code_1_and_what_had_come_is_there(play, capsys):
    assert main(["run", "broken", "hi"]) == 1
    out, err = capsys.readouterr()
    assert out == "Paris\n"
    assert err.splitlines()[-2:] == ["Error: The engine ended.", "Ask again."]


def test_run_pulls_what_is_in_the_catalogue_after_saying_so(play, capsys):
    play.installed.clear()
    assert main(["run", "smollm2", "hi"]) == 0
    out, err = capsys.readouterr()
    assert "Paris" in out
    assert err.splitlines()[0] == "smollm2 is not installed yet: pulling SmolLM2-135M-Instruct (98.4 MB)."


def test_run_does_not_pull_what_nobody_knows(play, capsys):
    assert main(["run", "unheard-of", "hi"]) == 1
    assert "unheard-of" in capsys.readouterr().err
    assert [asked["path"] for asked in play.asked] == ["/api/show"]


def test_ctrl_c_in_an_answer_is_130_and_the_host_is_told(play, home):
    run = subprocess.Popen([sys.executable, "-m", "illama.cli", "run", "slow", "hi"], stdout=subprocess.PIPE)
    assert run.stdout.read(5) == b"Paris"
    run.send_signal(2)
    assert run.wait() == 130
    run.stdout.close()
    assert play.left.wait(10)


# -- stop, rm, quickstart


def test_stop_unloads_a_model(play, capsys):
    play.loaded = ["slow"]
    assert main(["stop", "slow", "--force"]) == 0
    assert play.loaded == []
    assert play.asked[-1] == {
        "path": "/api/generate",
        "model": "slow",
        "keep_alive": 0,
        "stream": False,
        "force": True,
    }


def test_stop_without_a_host_starts_none(home, capsys):
    assert main(["stop", "x"]) == 0
    assert main(["stop", "--host"]) == 0
    assert "No model host is running." in capsys.readouterr().out
    assert not (home / "run" / "host.json").exists()


@pytest.mark.parametrize("argv", [["stop"], ["stop", "x", "--host"], ["show"], ["show", "x", "--catalog"]])
def test_stop_takes_a_model_or_the_host_and_show_a_model_or_the_catalogue(argv, capsys):
    assert main(argv) == 2


def test_rm_removes_what_it_can_and_fails_for_what_it_cannot(play, capsys):
    assert main(["rm", "nothing", "slow"]) == 1
    out, err = capsys.readouterr()
    assert out == "Removed slow: 98.4 MB are free again.\n"
    assert "nothing" in err
    assert "slow" not in play.installed


def test_rm_without_a_host_removes_from_the_registry(model, home, capsys):
    assert main(["rm", "tiny"]) == 0
    assert "Removed tiny" in capsys.readouterr().out
    assert Registry(home / "registry").entries() == []


def test_quickstart_pulls_asks_and_says_what_is_next(play, capsys):
    play.installed.clear()
    assert main(["quickstart"]) == 0
    out = capsys.readouterr().out
    assert ">>> What is the capital of France?\nParis" in out
    assert "illama run" in out
    assert "%load_ext illama" in out
    assert f"{play.url}/v1" in out
    assert playhost.KEY not in out


def test_quickstart_without_an_answer_is_a_failure(play, monkeypatch, capsys):
    monkeypatch.setattr("illama.cli.quickstart.MODEL", "broken")
    assert main(["quickstart"]) == 1
    assert "The engine ended." in capsys.readouterr().err


# -- how things are written


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (98_362_432, "98.4 MB"), (999_999_999, "1.0 GB"), (2e15, "2000 TB")],
)
def test_sizes_are_decimal(count, shown):
    assert text.size(count) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(-1, "0 seconds"), (59, "59 seconds"), (60, "1 minute"), (7300, "2 hours"), (9e5, "10 days")]
)
def test_times_are_in_their_largest_unit(seconds, shown):
    assert text.duration(seconds) == shown


def test_a_time_that_is_none_is_shown_as_it_is():
    assert (text.ago("whenever"), text.ago(None)) == ("whenever", "-")
    assert text.ago("2026-01-01T00:00:00Z", datetime(2026, 1, 2, tzinfo=timezone.utc)) == "1 day ago"


def test_a_status_line_is_for_terminals_alone():
    screen, pipe = Terminal(), Piped()
    for stream in (screen, pipe):
        line = text.StatusLine(stream)
        line.show("loading\n\x1b[2J")
        line.clear()
    assert screen.getvalue() == "\r\x1b[Kloading [2J\r\x1b[K"
    assert pipe.getvalue() == ""


def test_env_and_doctor_report_a_wrong_variable_and_all_else(home, monkeypatch, capsys):
    monkeypatch.setenv("ILLAMA_PORT", "99999")
    monkeypatch.setenv("ILLAMA_IDLE_TTL_SEC", "soon")
    assert main(["env"]) == 1
    out, err = capsys.readouterr()
    assert "ILLAMA_REGISTRY_DIR" in out
    assert "ILLAMA_PORT is '99999'" in err
    assert "ILLAMA_IDLE_TTL_SEC is 'soon'" in err
    assert main(["list"]) == 1
    assert "is '" in capsys.readouterr().err
    assert main(["doctor", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)["findings"]
    failures = [each for each in found if each["check"] == "settings" and each["level"] == "failure"]
    assert {each["says"].split(" ")[0] for each in failures} == {"ILLAMA_PORT", "ILLAMA_IDLE_TTL_SEC"}
    assert {"Python", "OpenVINO", "memory"} <= {each["check"] for each in found}
