from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest

from illama.cli import logs as cli_logs
from illama.cli import main
from illama.config import Settings
from illama.host import logs

# A detached host in small: its output is the log that its starter opened, it logs, it fills its log, it crashes.
HOST = """
import logging, os, sys
from illama.config import Settings
from illama.host import logs
logs.configure(Settings.load(), limit=1000)
for number in range(100):
    logging.getLogger("illama.host").info("event %03d of many", number)
print("printed")
os.write(2, b"a native library's last words\\n")
raise SystemError("the end")
"""


@pytest.fixture
def settings(home: Path) -> Settings:
    return Settings.load()


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    """The root logger, put back as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    looks = ("_srcfile", "logThreads", "logProcesses", "logMultiprocessing")
    before = {name: getattr(logging, name) for name in looks}
    yield root
    for name, value in before.items():
        setattr(logging, name, value)
    for handler in [each for each in root.handlers if each not in handlers]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)


def written(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


# -- rotating


def test_a_file_below_its_limit_stays(tmp_path):
    path = written(tmp_path / "a.log", "x" * 98)
    assert not logs.rotate(path, limit=100)
    assert logs.pieces(path) == [path]


def test_a_full_file_is_renamed_and_the_oldest_goes(tmp_path):
    path = tmp_path / "a.log"
    for number in range(8):
        written(path, f"{number}" * 100)
        assert logs.rotate(path, limit=100)
    written(path, "newest")
    assert [piece.name for piece in logs.pieces(path)] == ["a.log", "a.log.1", "a.log.2", "a.log.3", "a.log.4"]
    assert [piece.read_text()[0] for piece in logs.pieces(path)] == ["n", "7", "6", "5", "4"]
    assert len(list(tmp_path.glob("a.log*"))) == logs.KEEP


def test_a_file_that_is_not_there_needs_no_rotation(tmp_path):
    assert not logs.rotate(tmp_path / "a.log")


def test_a_gap_in_the_row_is_no_obstacle(tmp_path):
    path = written(tmp_path / "a.log", "x" * 100)
    written(tmp_path / "a.log.3", "old")
    assert logs.rotate(path, limit=100)
    assert [piece.name for piece in logs.pieces(path)] == ["a.log.1", "a.log.4"]


def test_a_file_that_cannot_be_renamed_is_kept(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError

    path = written(tmp_path / "a.log", "x" * 100)
    monkeypatch.setattr(Path, "replace", refuse)
    assert not logs.rotate(path, limit=100)
    assert path.exists()


def test_a_childs_log_is_private_appended_to_and_rotated_before_it_is_opened(settings, monkeypatch):
    for text in (b"one\n", b"two\n"):
        with logs.child_log(settings, "engine") as descriptor:
            os.write(descriptor, text)
    path = logs.path_of(settings, "engine")
    assert path.read_text() == "one\ntwo\n"
    assert path.stat().st_mode & 0o777 == 0o600
    with path.open("a") as file:
        file.write("x" * logs.LIMIT)
    with logs.child_log(settings, "engine"):
        assert path.read_text() == ""
    assert path.with_name("engine.log.1").read_text().startswith("one\n")


# -- the host's own log


def test_events_go_to_a_private_file_and_to_another_standard_error(settings, root_logger, capfd):
    logs.configure(settings)
    logging.getLogger("illama.host").info("loaded %s", "Parrot")
    path = logs.path_of(settings, "host")
    shape = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d INFO illama\.host: loaded Parrot\n"
    assert re.fullmatch(shape, path.read_text())
    assert re.fullmatch(shape, capfd.readouterr().err)
    assert path.stat().st_mode & 0o777 == 0o600


def test_each_event_has_its_own_time_whoever_writes_it():
    formatter = logs.OneLine("%(asctime)s %(message)s")
    for created in (1700000000.25, 1700000000.5, 1700000001.0, 1700000000.75):
        record = logging.makeLogRecord({"msg": f"at {created}", "created": created})
        time = datetime.fromtimestamp(created).astimezone().isoformat(timespec="milliseconds")
        assert [formatter.format(record) for _ in range(2)] == [f"{time} at {created}"] * 2


def test_an_event_is_one_line_whatever_is_in_it(settings, root_logger):
    logs.configure(settings)
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("illama").exception("a name with a\nline's end, \x1b[31mcolour, a tab\tand a \ud800")
    (line,) = logs.path_of(settings, "host").read_text().splitlines()
    assert r"a name with a\nline's end, \x1b[31mcolour, a tab" in line
    assert line.endswith(r"ValueError: two\nlines")


def test_a_detached_hosts_output_is_the_log_itself_and_follows_when_it_is_full(settings):
    path = logs.path_of(settings, "host")
    path.parent.mkdir(parents=True)
    with path.open("ab") as output:
        done = subprocess.run([sys.executable, "-c", HOST], stdout=output, stderr=output, check=False)
    assert done.returncode == 1
    newest, *older = logs.pieces(path)
    assert len(older) == logs.KEEP - 1
    assert all(1000 <= piece.stat().st_size < 1100 for piece in older)
    assert {piece.stat().st_mode & 0o777 for piece in (newest, *older)} == {0o600}
    text = newest.read_text()
    assert "printed\n" in text
    assert "a native library's last words\n" in text
    assert text.endswith("SystemError: the end\n")
    everything = "".join(piece.read_text() for piece in reversed([newest, *older]))
    found = [int(number) for number in re.findall(r"event (\d+) of many", everything)]
    assert found == list(range(found[0], 100))  # none twice, none lost behind the oldest


def test_a_folder_that_cannot_be_written_is_no_reason_not_to_serve(settings, home, root_logger, capfd):
    (home / "logs").write_text("a file where the folder should be")
    logs.configure(settings)
    logging.getLogger("illama").info("serving")
    err = capfd.readouterr().err
    assert "there is no log file" in err
    assert "serving" in err


# -- `illama logs`


def test_logs_shows_the_last_lines_of_the_hosts_log(settings, capsys):
    written(logs.path_of(settings, "host"), *(f"line {number}" for number in range(100)))
    assert main(["logs", "-n", "3"]) == 0
    assert capsys.readouterr().out == "line 97\nline 98\nline 99\n"
    assert main(["logs"]) == 0
    assert capsys.readouterr().out.splitlines() == [f"line {number}" for number in range(50, 100)]


def test_logs_shows_other_logs_too(settings, capsys):
    written(logs.path_of(settings, "engine"), "OpenVINO said this")
    written(logs.path_of(settings, "pull"), "pulled")
    assert main(["logs", "engine"]) == 0
    assert main(["logs", "-n", "1", "pull"]) == 0
    assert capsys.readouterr().out == "OpenVINO said this\npulled\n"


def test_logs_goes_on_in_the_older_files(settings, capsys):
    path = written(logs.path_of(settings, "host"), "four", "five")
    written(path.with_name("host.log.1"), "two", "three")
    written(path.with_name("host.log.2"), "zero", "one")
    assert main(["logs", "-n", "5"]) == 0
    assert capsys.readouterr().out.split() == ["one", "two", "three", "four", "five"]


def test_lines_longer_than_a_block_are_whole(tmp_path):
    long = "x" * 200_000
    assert cli_logs.last_lines(written(tmp_path / "a.log", "first", long, "last"), 2) == [long.encode(), b"last"]
    assert cli_logs.last_lines(written(tmp_path / "b.log", "only"), 9) == [b"only"]
    assert cli_logs.last_lines(written(tmp_path / "c.log"), 9) == []
    assert cli_logs.last_lines(tmp_path / "a.log", 0) == []


def test_what_a_terminal_would_obey_is_left_out(settings, capsys):
    logs.path_of(settings, "engine").parent.mkdir(parents=True)
    logs.path_of(settings, "engine").write_bytes(b"red \x1b[31m, half \xff\n")
    assert main(["logs", "engine"]) == 0
    assert capsys.readouterr().out == "red [31m, half \ufffd\n"


def test_a_log_that_is_not_there_says_where_it_will_be(settings, capsys):
    assert main(["logs", "pull"]) == 1
    err = capsys.readouterr().err
    assert "no pull log" in err
    assert str(settings.log_dir / "pull.log") in err


@pytest.mark.parametrize("argv", [["logs", "other"], ["logs", "-n", "-1"], ["logs", "-n", "many"]])
def test_wrong_usage_is_code_2(argv, capsys):
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2


def test_logs_of_a_host_elsewhere_are_not_these(settings, monkeypatch, capsys):
    written(logs.path_of(settings, "host"), "here")
    monkeypatch.setenv("ILLAMA_BASE_URL", "http://elsewhere:1")
    assert main(["logs"]) == 0
    out, err = capsys.readouterr()
    assert out == "here\n"
    assert "ILLAMA_BASE_URL" in err


def test_a_follower_sees_whole_new_lines_and_no_old_ones(tmp_path):
    path = written(tmp_path / "a.log", "old")
    with closing(cli_logs.Follower(path)) as follower, path.open("a", buffering=1) as file:
        assert list(follower.new()) == []
        file.write("one\ntw")
        file.flush()
        assert list(follower.new()) == [b"one"]
        file.write("o\n")
        assert list(follower.new()) == [b"two"]


def test_a_follower_goes_on_in_the_next_file(tmp_path):
    path = written(tmp_path / "a.log", "old")
    with closing(cli_logs.Follower(path)) as follower:
        with path.open("a") as file:
            file.write("last of the first\ncut off")
        logs.rotate(path, limit=1)
        written(path, "first of the next")
        assert list(follower.new()) == [b"last of the first", b"cut off", b"first of the next"]


def test_a_follower_waits_for_a_log_that_is_not_there_yet(tmp_path):
    with closing(cli_logs.Follower(tmp_path / "a.log")) as follower:
        assert list(follower.new()) == []
        written(tmp_path / "a.log", "first")
        assert list(follower.new()) == [b"first"]


def test_logs_follows_until_ctrl_c(settings, monkeypatch, capsys):
    path = written(logs.path_of(settings, "host"), "old", "last")

    def meanwhile(_: float) -> None:
        if "new" in path.read_text():
            raise KeyboardInterrupt
        with path.open("a") as file:
            file.write("new\n")

    monkeypatch.setattr("illama.cli.logs.time.sleep", meanwhile)
    assert main(["logs", "-f", "-n", "1"]) == 130
    assert capsys.readouterr().out == "last\nnew\n"


def test_logs_needs_no_logging_machinery_and_no_http(settings):
    written(logs.path_of(settings, "host"), "here")
    code = "import sys; from illama.cli import main; main(['logs']); print(*sys.modules, sep='\\n', file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "here\n"
    assert set(done.stderr.split()).isdisjoint({"logging.handlers", "httpx", "tornado", "asyncio", "openvino"})
