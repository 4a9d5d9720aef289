"""Pulls from a hub that break off: connections, processes, hubs, disks; what has come is used by the next one."""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading

import pytest
from support_host import eventually
from support_hub import repo_of
from support_models import pull_environment, run_pull, tiny_ir
from support_pull import NAME, WEIGHTS, do_pull, downloads, failure, part_of, ranges

from illama.errors import CancelledError
from illama.pull import transfer
from illama.pull.progress import Progress

pytestmark = pytest.mark.usefixtures("fake_engine")


def test_a_connection_that_breaks_at_random_places_is_taken_up_where_it_was(hub, tiny, registry):
    chance = random.Random(20)
    hub.cut = lambda name, start, length: chance.randrange(1, 400_000) if length > 400_000 else None
    do_pull()
    registry.check(registry.get(NAME))
    assert sum(each.path.endswith("bin") and each.server == "storage" for each in hub.asked) > 8
    assert hub.bytes_sent() < 1.1 * sum(registry.get(NAME).files.values())


def test_twenty_pulls_that_break_leave_little_to_be_fetched_again(hub, tiny, registry, monkeypatch):
    monkeypatch.setattr(transfer, "TRIES", 1)
    chance = random.Random(21)
    hub.cut = lambda name, start, length: chance.randrange(100_000, 140_000) if length > 140_000 else None
    for _ in range(20):
        problem = failure()
        assert "cannot be reached" in problem.message
        assert "what has come is kept" in problem.hint
    hub.cut = lambda name, start, length: None
    do_pull()
    assert hub.bytes_sent() < 1.1 * sum(registry.get(NAME).files.values())


def test_a_pull_whose_process_was_killed_goes_on_in_the_next(hub, tiny, registry, home):
    kept = []
    for _ in range(3):
        hub.gate, hub.halfway = threading.Event(), threading.Event()
        with subprocess.Popen(
            [sys.executable, "-m", "illama.pull"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=pull_environment(home, HF_ENDPOINT=hub.url),
        ) as process:
            process.stdin.write(json.dumps({"source": NAME}).encode() + b"\n")
            process.stdin.flush()
            assert hub.halfway.wait(30)
            # What is on its way in the kernel's buffers is nobody's yet.
            eventually(lambda: part_of(home).stat().st_size == hub.reached, "all that was sent is on disk")
            os.kill(process.pid, signal.SIGKILL)
            kept.append(f"bytes={part_of(home).stat().st_size}-")
        hub.gate.set()
    hub.gate = None
    assert registry.entries() == []
    lines = run_pull({"source": NAME}, home, HF_ENDPOINT=hub.url)
    assert lines[-1] == {"status": "success", "name": "Tiny-1B", "existing": False}
    entry = registry.get(NAME)
    assert hashlib.sha256((registry.folder(entry) / "openvino_model.bin").read_bytes()).hexdigest() == entry.digest
    assert ranges(hub) == kept
    assert downloads(home) == []


def test_a_cancelled_pull_leaves_parts_that_the_next_one_uses(hub, tiny, home, registry):
    ticks = itertools.count()
    stop = lambda line: progress.cancel() if line.get("completed", 0) > 1_000_000 else None  # noqa: E731
    progress = Progress(stop, clock=lambda: next(ticks))
    with pytest.raises(CancelledError):
        do_pull(progress=progress)
    here = part_of(home).stat().st_size
    assert here > 1_000_000
    do_pull()
    assert ranges(hub) == [f"bytes={here}-"]


def test_a_server_without_ranges_is_asked_for_the_whole_and_not_for_ever(hub, tiny, registry):
    hub.ranges = False
    hub.cut = lambda name, start, length: 100_000 if length > 200_000 else None
    assert "cannot be reached" in failure().message
    hub.cut = lambda name, start, length: None
    do_pull()
    registry.check(registry.get(NAME))


def test_a_repository_that_changes_in_between_mixes_nothing(hub, tiny, registry, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "TRIES", 1)
    hub.cut = lambda name, start, length: 1_000_000 if length > 2_000_000 else None
    failure()
    hub.cut = lambda name, start, length: None
    hub.repos[NAME] = repo_of(tiny_ir(tmp_path / "new", weights=b"n" * 3_000_000), commit="d" * 40)
    do_pull()
    entry = registry.get(NAME)
    assert entry.source["revision"] == "d" * 40
    assert (registry.folder(entry) / "openvino_model.bin").read_bytes() == b"n" * 3_000_000


def test_a_flipped_byte_is_found_and_the_file_fetched_anew_once(hub, tiny, registry, home):
    def flip(name, data):
        return data[:1000] + bytes([data[1000] ^ 1]) + data[1001:] if name == "openvino_model.bin" else data

    hub.spoil = flip
    problem = failure()
    assert "wrong checksum" in problem.message
    assert "openvino_model.bin" in problem.message
    assert "openvino_model.bin.part" not in [path.name for path in downloads(home)]
    assert hub.sent["openvino_model.bin"] == 2 * len(WEIGHTS)
    hub.spoil = lambda name, data: data
    do_pull()
    registry.check(registry.get(NAME))


def test_a_small_file_is_checked_too(hub, tiny):
    hub.spoil = lambda name, data: data.swapcase() if name == "openvino_tokenizer.bin" else data
    assert "openvino_tokenizer.bin" in failure().message


def test_a_part_that_was_spoiled_on_disk_is_fetched_anew(hub, tiny, registry, home, monkeypatch):
    monkeypatch.setattr(transfer, "TRIES", 1)
    hub.cut = lambda name, start, length: 1_000_000 if length > 2_000_000 else None
    failure()
    hub.cut = lambda name, start, length: None
    part = part_of(home)
    part.write_bytes(b"\0" * part.stat().st_size)
    do_pull()
    registry.check(registry.get(NAME))
    assert (registry.folder(registry.get(NAME)) / "openvino_model.bin").read_bytes() == WEIGHTS


def test_a_hub_that_goes_down_in_between_is_named_and_the_part_is_kept(hub, tiny, registry):
    def cut(name, start, length):
        if length <= 2_000_000:
            return None
        hub.status = 503
        return 1_000_000

    hub.cut = cut
    assert "HTTP 503" in failure().message
    hub.status, hub.cut = None, lambda name, start, length: None
    do_pull()
    assert hub.bytes_sent() < 1.1 * sum(registry.get(NAME).files.values())


# Room on the disk.


def test_a_disk_that_is_too_small_is_told_before_with_figures(hub, tiny, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    problem = failure()
    assert "needs 3 MB" in problem.message
    assert "0 MB are free" in problem.message
    assert problem.status == 507
    assert "openvino_model.bin" not in hub.sent


def test_a_disk_that_fills_up_meanwhile_loses_nothing(hub, tiny, registry, home, monkeypatch):
    whole = os.fdopen

    def small(descriptor, *arguments, **options):
        file = whole(descriptor, *arguments, **options)

        class Full:
            def __getattr__(self, name):
                return getattr(file, name)

            def __enter__(self):
                return self

            def __exit__(self, *problem):
                file.close()

            def write(self, data):
                if file.tell() > 1_000_000:
                    raise OSError(errno.ENOSPC, "No space left on device")
                return file.write(data)

        return Full()

    with monkeypatch.context() as patch:
        patch.setattr(transfer.os, "fdopen", small)
        problem = failure()
    assert "disk is full" in problem.message
    assert problem.status == 507
    here = part_of(home).stat().st_size
    assert here > 1_000_000
    do_pull()
    assert ranges(hub) == [f"bytes={here}-"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="mounts a small filesystem")
def test_a_small_filesystem_fills_up_and_a_bigger_one_finishes(hub, tiny, registry, home, monkeypatch):
    cache = home / "cache"
    cache.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(cache)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("may not mount")
    try:
        assert "needs 3 MB" in failure().message
        with monkeypatch.context() as patch:
            patch.setattr("illama.pull.remote.need_space", lambda *arguments: None)
            problem = failure()
        assert "disk is full" in problem.message
        here = part_of(home).stat().st_size
        assert here > 1_500_000
        subprocess.run(["mount", "-o", "remount,size=20m", str(cache)], check=True)
        do_pull()
    finally:
        subprocess.run(["umount", "-l", str(cache)], check=True)
    registry.check(registry.get(NAME))
    assert ranges(hub) == [f"bytes={here}-"]
