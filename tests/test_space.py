"""What `rm` takes along, what `prune` finds and leaves alone, and how freed bytes are counted."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from illama import space
from illama.cli import main
from illama.config import Settings
from illama.errors import ModelNotFoundError
from illama.registry import Entry

COMMIT = "c" * 40
HUB = {"kind": "hub", "repo": "org/model", "revision": COMMIT}
WHEEL = {"kind": "wheel", "file": "package/model.gguf"}


@pytest.fixture
def cache(home):
    return home / "cache"


def install(registry, name, *, size=1000, digest="a" * 64, source=HUB):
    staged = registry.staging()
    (staged / "openvino_model.bin").write_bytes(b"m" * size)
    return registry.add(Entry(name=name, source=source, digest=digest, created="2026-01-01T00:00:00+00:00"), staged)


def put(path, size):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return path


def download(cache, name, size=100, *, inside="weights.bin"):
    """What a pull leaves in the cache: the file, or a folder with it, and its lock."""
    downloads = cache / "downloads"
    put(downloads / f".{name}.lock", 0)
    put(downloads / name / inside if inside else downloads / name, size)
    return downloads / name


def weight(registry, name):
    """The bytes of a model's own folder, its metadata among them."""
    return sum(file.stat().st_size for file in registry.folder(registry.get(name)).iterdir())


def names(found):
    return {(each.kind, each.path.name, each.size) for each in found}


def test_a_model_is_removed_with_what_only_it_used_of_the_cache(registry, cache):
    entry = install(registry, "model")
    other = install(registry, "other", digest="b" * 64, source={**HUB, "revision": "d" * 40})
    mine = download(cache, f"org--model--{COMMIT}")
    theirs = download(cache, f"org--model--{'d' * 40}")
    blobs = [put(space.compiled(cache, each) / "1.blob", 10) for each in (entry, other)]
    own = weight(registry, "model")
    assert space.remove(registry, cache, "model") == (entry, own + 110)
    assert [each.exists() for each in (mine, theirs, *blobs)] == [False, True, False, True]
    assert registry.entries() == [other]


def test_a_wheels_file_goes_with_its_model(registry, cache):
    install(registry, "model", source=WHEEL)
    file = download(cache, "model.gguf", inside=None)
    own = weight(registry, "model")
    assert space.remove(registry, cache, "model")[1] == own + 100
    assert not file.exists()


def test_what_copies_share_is_counted_when_the_last_of_them_goes(registry, cache):
    entry = install(registry, "model")
    registry.copy("model", "copy")
    file, blob = download(cache, f"org--model--{COMMIT}"), put(space.compiled(cache, entry) / "1.blob", 10)
    metadata = (registry.folder(entry) / "illama.json").stat().st_size
    assert space.remove(registry, cache, "model")[1] == metadata
    assert file.exists()
    assert blob.exists()
    registry.check(registry.get("copy"))
    own = weight(registry, "copy")
    assert space.remove(registry, cache, "copy")[1] == own + 110
    assert not file.exists()


def test_a_file_with_two_names_in_model_and_download_is_counted_once(registry, cache):
    entry = install(registry, "model")
    folder = download(cache, f"org--model--{COMMIT}")
    os.link(registry.folder(entry) / "openvino_model.bin", folder / "openvino_model.bin")
    own = weight(registry, "model")
    assert space.remove(registry, cache, "model")[1] == own + 100


def test_a_download_that_a_pull_is_at_stays(registry, cache):
    install(registry, "model")
    folder = download(cache, f"org--model--{COMMIT}")
    own = weight(registry, "model")
    with FileLock(cache / "downloads" / f".{folder.name}.lock"):
        assert space.remove(registry, cache, "model")[1] == own
    assert folder.exists()


@pytest.mark.parametrize(
    "source",
    [
        {"kind": "hub", "repo": "..", "revision": "x/../../victim"},
        {"kind": "wheel", "file": ".."},
        {"kind": "wheel", "file": "/"},
        {"kind": "hub"},
        {"kind": "ir", "file": "/etc"},
    ],
)
def test_an_entry_that_lies_about_its_source_removes_nothing_else(registry, cache, tmp_path, source):
    install(registry, "model", source=source)
    victim = put(cache / "victim" / "file", 5)
    kept = download(cache, "another")
    own = weight(registry, "model")
    assert space.remove(registry, cache, "model")[1] == own
    assert victim.exists()
    assert kept.exists()


def test_no_model_of_that_name_removes_nothing(registry, cache):
    with pytest.raises(ModelNotFoundError):
        space.remove(registry, cache, "nothing")


def test_leftovers_are_found_and_what_is_in_use_is_not(registry, cache):
    entry = install(registry, "model")
    alive = registry.staging()
    put(alive / "file", 140)
    put(space.compiled(cache, entry) / "1.blob", 10)
    put(cache / "compiled" / "gone" / "2.blob", 20)
    put(cache / "compiled" / "from-before.blob", 30)
    download(cache, "org--half--1", 40, inside="weights.bin.part")
    download(cache, "busy--half--1", 50, inside="weights.bin.part")
    download(cache, "used.gguf", 60, inside=None)
    put(cache / "downloads" / "something-of-the-users.txt", 70)
    put(cache / "something-else" / "file", 80)
    put(registry.root / ".trash" / "old.1" / "file", 90)
    put(registry.root / ".staging" / "dead" / "file", 110)
    put(registry.root / "index.json.broken-2026", 120)
    put(registry.root / "folder-of-the-users" / "file", 130)
    with FileLock(cache / "downloads" / ".busy--half--1.lock"):
        found = space.leftovers(registry, cache)
        assert names(found) == {
            ("staging", "dead", 110),
            ("trash", "old.1", 90),
            ("index", "index.json.broken-2026", 120),
            ("download", "org--half--1", 40),
            ("download", "used.gguf", 60),
            ("compiled", "gone", 20),
            ("compiled", "from-before.blob", 30),
        }
        told = {each.path.name: each.what for each in found}
        assert "unfinished" in told["org--half--1"]
        assert "was used" in told["used.gguf"]
        assert space.clear(registry, found) == (470, [])
    assert (cache / "downloads" / "something-of-the-users.txt").exists()
    assert (cache / "something-else" / "file").exists()
    assert (registry.root / "folder-of-the-users" / "file").exists()
    assert (alive / "file").exists()
    assert space.compiled(cache, entry).exists()
    registry.discard(alive)
    assert registry.entries() == [entry]
    assert names(space.leftovers(registry, cache)) == {("download", "busy--half--1", 50)}


def test_environments_of_other_converters_are_left_over_unless_a_process_runs_there(registry, cache, tmp_path):
    current = tmp_path / "converter" / "optimum-2"
    for name in ("optimum-2", "optimum-1", ".building-x", "running"):
        put(tmp_path / "converter" / name / "pyvenv.cfg", 10)
    put(tmp_path / "converter" / "notes" / "of-the-users.txt", 10)
    script = tmp_path / "converter" / "running" / "wait.py"
    script.write_text("print('here', flush=True); input()")
    with subprocess.Popen([sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        found = space.leftovers(registry, cache, current)
        process.stdin.close()
    assert names(found) == {("environment", "optimum-1", 10), ("environment", ".building-x", 10)}
    assert space.clear(registry, found) == (20, [])
    assert {each.name for each in current.parent.iterdir()} == {"optimum-2", "running", "notes"}


def test_what_comes_into_use_after_it_was_listed_is_kept_and_said(registry, cache):
    folder = download(cache, "org--half--1", inside="weights.bin.part")
    found = space.leftovers(registry, cache)
    with FileLock(cache / "downloads" / f".{folder.name}.lock"):
        freed, kept = space.clear(registry, found)
    assert (freed, kept) == (0, found)
    assert folder.exists()


def test_links_in_the_cache_are_removed_and_not_followed(registry, cache, tmp_path):
    victim = put(tmp_path / "victim" / "file", 10)
    (cache / "compiled").mkdir(parents=True)
    (cache / "compiled" / "link").symlink_to(victim.parent)
    found = space.leftovers(registry, cache)
    assert space.clear(registry, found)[1] == []
    assert not (cache / "compiled" / "link").is_symlink()
    assert victim.exists()


def test_prune_lists_asks_and_deletes_only_what_was_agreed_to(registry, cache, capsys, monkeypatch):
    folder = download(cache, "org--half--1", 2_000_000, inside="weights.bin.part")
    for argv in (["prune"], ["prune", "--dry-run"]):
        assert main(argv) == 0
        out = capsys.readouterr().out
        assert "an unfinished download, which a pull would go on with   2.0 MB   " in out
        assert "Nothing was deleted; `illama prune --yes` deletes all of this (2.0 MB)." in out
    assert main(["prune", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["path"] == str(folder)
    assert folder.exists()

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for typed, stays in (("\n", True), ("y\n", False)):
        monkeypatch.setattr("sys.stdin", Terminal(typed))
        monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
        assert main(["prune"]) == 0
        assert folder.exists() == stays
    assert "2.0 MB are free again." in capsys.readouterr().out
    assert main(["prune", "--yes"]) == 0
    assert capsys.readouterr().out == "Nothing is left over.\n"


def test_prune_is_for_the_machine_that_it_runs_on(monkeypatch, capsys):
    monkeypatch.setenv("ILLAMA_BASE_URL", "http://127.0.0.1:9")
    assert main(["prune"]) == 1
    assert "this machine's folders" in capsys.readouterr().err


def test_rm_without_a_host_takes_the_download_along(registry, cache, capsys):
    install(registry, "model", size=3_000_000)
    download(cache, f"org--model--{COMMIT}", 2_000_000)
    assert main(["rm", "model"]) == 0
    assert capsys.readouterr().out == "Removed model: 5.0 MB are free again.\n"


def test_cp_makes_a_second_model_that_takes_no_room(registry, capsys):
    install(registry, "model")
    assert main(["cp", "model", "copy"]) == 0
    assert "copy is a copy of model" in capsys.readouterr().out
    one, two = (registry.folder(registry.get(name)) / "openvino_model.bin" for name in ("model", "copy"))
    assert one.stat().st_ino == two.stat().st_ino
    assert main(["cp", "model", "COPY"]) == 1
    assert "already" in capsys.readouterr().err


def test_the_cache_of_a_model_is_a_folder_of_its_own(registry):
    one, two = install(registry, "one"), install(registry, "two", digest="b" * 64)
    cache = Settings.load().cache_dir
    assert space.compiled(cache, one) != space.compiled(cache, two)
    assert Path(space.compiled(cache, one)).parent == cache / "compiled"
