from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import support_trees as trees

from illama.host import drm, memory

KB, MB, GB = 2**10, 2**20, 2**30
ARC = "0000:03:00.0"

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def deny(monkeypatch: pytest.MonkeyPatch, *pids: int) -> None:
    """These processes are another user's. (Tests may run as root, whom no permission stops.)"""
    listdir = os.listdir

    def denied(path: str) -> list[str]:
        if any(f"/{pid}/fd" in str(path) for pid in pids):
            raise PermissionError(13, "Permission denied", path)
        return listdir(path)

    monkeypatch.setattr("illama.host.drm.os.listdir", denied)


# -- one fdinfo


def test_a_client_of_i915_is_what_is_resident_now():
    client = drm.parse(trees.I915_ENGINE)
    assert client == drm.Client("42", "i915", ARC, own=4 * GB, system=12288 * KB)


def test_a_client_of_xe_has_vram_and_gtt():
    assert drm.parse(trees.XE_ENGINE) == drm.Client("3", "xe", ARC, own=2 * GB, system=192 * KB)


def test_the_older_key_counts_before_what_was_ever_asked_for():
    text = "drm-driver:\txe\ndrm-client-id:\t1\ndrm-total-vram0:\t9 KiB\ndrm-memory-vram0:\t5 KiB\ndrm-total-gtt:\t7\n"
    assert drm.parse(text) == drm.Client("1", "xe", "", own=5 * KB, system=7)


def test_a_driver_that_tells_no_memory_is_silent_and_not_at_zero():
    client = drm.parse(trees.I915_OLD)
    assert client
    assert client.silent


@pytest.mark.parametrize("text", ["", trees.EPOLL, "drm-driver:\ti915\n", "no colon at all\n"])
def test_what_is_no_client_is_none(text):
    assert drm.parse(text) is None


def test_a_value_that_is_no_number_counts_nothing():
    client = drm.parse("drm-driver:\txe\ndrm-client-id:\t1\ndrm-resident-vram0:\tlots KiB\n")
    assert client
    assert client.own == 0


# -- all processes' use of a device


def test_a_client_counts_once_however_many_descriptors_and_processes_share_it(tmp_path):
    assert drm.use(ARC, root=trees.arc_i915(tmp_path)) == drm.Use(4 * GB + 512 * MB, 12288 * KB)


def test_an_engines_own_use_is_that_of_its_process(tmp_path):
    assert drm.use(ARC, pids=[20, 21], root=trees.arc_i915(tmp_path)).own == 4 * GB


def test_two_cards_clients_of_one_number_are_two(tmp_path):
    root = trees.arc_i915(tmp_path)
    assert drm.use("0000:00:02.0", root=root) == drm.Use(0, 512 * MB)
    assert drm.use(root=root) == drm.Use(4 * GB + 512 * MB, 12288 * KB + 512 * MB)


def test_other_users_processes_make_it_incomplete(tmp_path, monkeypatch):
    root = trees.arc_i915(tmp_path)
    deny(monkeypatch, 10)
    assert drm.use(ARC, root=root) == drm.Use(4 * GB, 12288 * KB, complete=False)


def test_a_container_sees_its_own_processes_alone(tmp_path):
    trees.machine(tmp_path, pid_space="pid:[4026532201]")
    trees.process(tmp_path, 20, (trees.RENDER, trees.XE_ENGINE))
    assert drm.use(root=tmp_path) == drm.Use(2 * GB, 192 * KB, complete=False)
    assert drm.use(pids=[20], root=tmp_path).complete


def test_a_silent_driver_makes_it_incomplete(tmp_path):
    trees.machine(tmp_path)
    trees.process(tmp_path, 20, (trees.RENDER, trees.I915_OLD))
    assert drm.use(root=tmp_path) == drm.Use(complete=False)


def test_a_process_that_has_ended_uses_nothing(tmp_path):
    assert drm.use(pids=[12345], root=trees.machine(tmp_path)) == drm.Use()


def test_only_what_is_open_on_a_device_is_read(tmp_path):
    trees.machine(tmp_path)
    trees.process(tmp_path, 20, ("/tmp/a-file", trees.XE_ENGINE), ("/dev/accel/accel0", trees.IGPU_ENGINE))
    assert drm.use(root=tmp_path) == drm.Use(0, 1025 * MB)


@linux
def test_this_machine_can_be_asked():
    assert drm.use().own >= 0
    assert isinstance(drm.cards(), list)


# -- cards


def test_xe_tells_its_total_and_upstreams_i915_nothing(tmp_path):
    assert drm.cards(trees.arc_xe(tmp_path / "xe")) == [drm.Card(ARC, "xe", 12 * GB)]
    assert drm.cards(trees.arc_i915(tmp_path / "i915")) == [drm.Card("0000:00:02.0", "i915"), drm.Card(ARC, "i915")]


def test_two_tiles_add_up(tmp_path):
    folder = trees.card(tmp_path, "card0", ARC, "xe")
    for tile in range(2):
        trees.put(folder, f"device/tile{tile}/physical_vram_size_bytes", str(8 * GB))
    assert drm.cards(tmp_path) == [drm.Card(ARC, "xe", 16 * GB)]


def test_intels_own_i915_tells_what_is_free(tmp_path):
    folder = trees.card(tmp_path, "card0", ARC, "i915")
    trees.put(folder, "lmem_total_bytes", str(16 * GB))
    trees.put(folder, "lmem_avail_bytes", str(9 * GB))
    assert drm.cards(tmp_path) == [drm.Card(ARC, "i915", 16 * GB, 9 * GB)]


def test_other_makers_cards_do_not_count(tmp_path):
    trees.card(tmp_path, "card0", "0000:01:00.0", "amdgpu", "1002:744C")
    assert drm.cards(tmp_path) == []


def test_a_card_is_found_by_its_address_or_by_being_the_only_one(tmp_path):
    both = drm.cards(trees.arc_i915(tmp_path))
    assert drm.card_of(both, ARC) == both[1]
    assert drm.card_of(both, "0000:99:00.0") is None
    assert drm.card_of(both, None) is None
    assert drm.card_of(both[:1], None) == both[0]
    assert drm.card_of([], None) is None


# -- room


def test_the_machines_room(tmp_path):
    room = memory.machine(trees.machine(tmp_path))
    assert room == memory.Room("the machine's memory", 32 * GB, 24 * GB)
    assert room.used == 8 * GB


@pytest.mark.parametrize("group", ["/", "/user.slice/user-1000.slice/session-2.scope"])
def test_a_containers_limit_counts_where_it_is_nearer_and_cached_files_are_free(tmp_path, group):
    trees.machine(tmp_path)
    trees.put(tmp_path, "proc/self/cgroup", f"0::{group}\n")
    trees.put(tmp_path, "sys/fs/cgroup/memory.max", f"{4 * GB}\n")
    trees.put(tmp_path, "sys/fs/cgroup/memory.current", f"{3 * GB}\n")
    trees.put(tmp_path, "sys/fs/cgroup/memory.stat", f"anon {GB}\ninactive_file {GB}\nactive_file {GB}\n")
    inner = "sys/fs/cgroup/user.slice/user-1000.slice"
    trees.put(tmp_path, f"{inner}/memory.max", "max\n")
    trees.put(tmp_path, f"{inner}/memory.current", "0\n")
    trees.put(tmp_path, f"{inner}/memory.stat", "")
    assert memory.machine(tmp_path) == memory.Room("this container's memory", 4 * GB, 3 * GB)


def test_a_machine_that_tells_nothing_has_no_figures(tmp_path):
    room = memory.machine(tmp_path)
    assert (room.total, room.free, room.used) == (None, None, None)


def test_xes_room_is_the_total_less_what_all_hold(tmp_path):
    room = memory.device("GPU", own=11 * GB, root=trees.arc_xe(tmp_path))
    assert room == memory.Room("GPU's memory", 11 * GB, 9 * GB)


def test_i915s_room_is_openvinos_total_less_what_all_hold(tmp_path):
    room = memory.device("GPU.1", own=16 * GB, pdev=ARC, root=trees.arc_i915(tmp_path))
    assert room == memory.Room("GPU.1's memory", 16 * GB, 11 * GB + 512 * MB)


def test_the_drivers_own_word_on_what_is_free_counts(tmp_path):
    folder = trees.card(tmp_path, "card0", ARC, "i915")
    trees.put(folder, "lmem_total_bytes", str(16 * GB))
    trees.put(folder, "lmem_avail_bytes", str(9 * GB))
    assert memory.device("GPU", own=15 * GB, root=tmp_path).free == 9 * GB


def test_what_others_hold_unseen_makes_it_inexact(tmp_path, monkeypatch):
    root = trees.arc_xe(tmp_path)
    trees.process(root, 30, (trees.RENDER, trees.XE_ENGINE.replace("client-id:\t3", "client-id:\t4")))
    deny(monkeypatch, 30)
    assert memory.device("GPU", own=11 * GB, root=root) == memory.Room("GPU's memory", 11 * GB, 9 * GB, exact=False)


def test_a_card_that_cannot_be_told_from_others_has_no_free_figure(tmp_path):
    room = memory.device("GPU.1", own=16 * GB, root=trees.arc_i915(tmp_path))
    assert room == memory.Room("GPU.1's memory", 16 * GB, None, exact=False)


def test_an_integrated_gpu_and_a_cpu_have_the_machines_room(tmp_path):
    root = trees.igpu(tmp_path)
    assert memory.device("GPU", root=root) == memory.device("CPU", root=root) == memory.machine(root)


# -- processes


@linux
def test_a_tree_is_the_process_and_all_below_it(tmp_path):
    trees.machine(tmp_path)
    trees.process(tmp_path, 20, anon=1000, file=200)
    trees.process(tmp_path, 21, parent=20, anon=100, file=20)
    trees.process(tmp_path, 22, parent=21, anon=10, file=2)
    trees.process(tmp_path, 30, anon=9999)
    used = memory.usage(20, tmp_path)
    assert used == memory.Usage((20, 21, 22), rss=1332 * KB, pss=(900 + 90 + 9) * KB, private=1110 * KB)


@linux
def test_without_leave_to_see_the_pages_there_is_no_pss(tmp_path):
    trees.machine(tmp_path)
    trees.process(tmp_path, 20)
    (tmp_path / "proc/20/smaps_rollup").unlink()
    used = memory.usage(20, tmp_path)
    assert (used.rss, used.pss) == (150 * KB, None)


@linux
def test_a_process_that_is_gone_takes_nothing(tmp_path):
    assert memory.usage(20, trees.machine(tmp_path)) == memory.Usage((), 0, 0, 0)


def test_this_process_and_its_child_are_seen():
    code = "import sys; block = bytearray(b'x' * 40_000_000); print('here', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout
        child.stdout.readline()
        used = memory.usage(os.getpid())
        alone = memory.usage(child.pid)
        assert child.stdin
        child.stdin.close()
    assert {os.getpid(), child.pid} <= set(used.pids)
    assert alone.private >= 40_000_000
    assert used.rss > alone.rss
    assert memory.usage(child.pid) in (memory.Usage((), 0, 0, 0), memory.Usage((), 0, None, 0))


@pytest.mark.parametrize("platform", ["win32"])
def test_other_systems_are_asked_through_psutil(monkeypatch, platform, tmp_path: Path):
    monkeypatch.setattr(sys, "platform", platform)
    used = memory.usage(os.getpid(), tmp_path)
    assert os.getpid() in used.pids
    assert used.pss is None
    assert used.private == used.rss > 0
    assert memory.machine(tmp_path).free
