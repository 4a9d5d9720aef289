"""Machines as folders: what Linux shows of memory and GPUs under /proc and /sys, written down as it looks there."""

from __future__ import annotations

from pathlib import Path

WHOLE_MACHINE = "pid:[4026531836]"
RENDER = "/dev/dri/renderD128"

# A process's descriptor is (what it points to, its fdinfo).
Descriptor = tuple[str, str]

I915_ENGINE = """\
pos:	0
flags:	02100002
mnt_id:	27
ino:	789
drm-driver:	i915
drm-client-id:	42
drm-pdev:	0000:03:00.0
drm-total-system0:	13312 KiB
drm-shared-system0:	0
drm-active-system0:	0
drm-resident-system0:	12288 KiB
drm-purgeable-system0:	0
drm-total-local0:	5 GiB
drm-shared-local0:	0
drm-active-local0:	0
drm-resident-local0:	4 GiB
drm-purgeable-local0:	0
drm-total-stolen-local0:	4096 KiB
drm-resident-stolen-local0:	4096 KiB
drm-engine-render:	25662044495 ns
drm-engine-copy:	0 ns
drm-engine-compute:	9288864723 ns
drm-engine-capacity-compute:	4
"""
I915_DESKTOP = """\
drm-driver:	i915
drm-client-id:	7
drm-pdev:	0000:03:00.0
drm-total-local0:	524288 KiB
drm-resident-local0:	524288 KiB
drm-engine-render:	991 ns
"""
# Linux before 6.7: engines, no memory.
I915_OLD = """\
drm-driver:	i915
drm-client-id:	7
drm-pdev:	0000:03:00.0
drm-engine-render:	991 ns
"""
# The other card of that machine, whose clients are counted from 1 on as well.
I915_OTHER_CARD = I915_DESKTOP.replace("0000:03:00.0", "0000:00:02.0").replace("local0", "system0")

XE_ENGINE = """\
pos:	0
flags:	0100002
mnt_id:	26
ino:	685
drm-driver:	xe
drm-client-id:	3
drm-pdev:	0000:03:00.0
drm-total-system:	0
drm-shared-system:	0
drm-active-system:	0
drm-resident-system:	0
drm-purgeable-system:	0
drm-total-gtt:	192 KiB
drm-shared-gtt:	0
drm-active-gtt:	0
drm-resident-gtt:	192 KiB
drm-total-vram0:	3 GiB
drm-shared-vram0:	16 MiB
drm-active-vram0:	0
drm-resident-vram0:	2048 MiB
drm-total-stolen:	0
drm-resident-stolen:	0
drm-cycles-rcs:	28257900
drm-total-cycles-rcs:	7655183225
drm-cycles-ccs:	0
drm-total-cycles-ccs:	7655183225
"""
IGPU_ENGINE = """\
drm-driver:	xe
drm-client-id:	12
drm-pdev:	0000:00:02.0
drm-total-system:	1024 KiB
drm-resident-system:	1024 KiB
drm-total-gtt:	2097152 KiB
drm-resident-gtt:	1048576 KiB
"""
EPOLL = "pos:\t0\nflags:\t02000002\ntfd:\t8 events:\t19 data:\t8\n"


def put(root: Path, path: str, text: str) -> None:
    """One file."""
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def process(root: Path, pid: int, *descriptors: Descriptor, parent: int = 1, anon: int = 100, file: int = 50) -> None:
    """A process with its descriptors and memory, in kB; its PSS is three quarters of its RSS."""
    folder = f"proc/{pid}"
    put(root, f"{folder}/stat", f"{pid} (a (strange) name) S {parent} {pid} {pid} 0 -1 4194304 1 0\n")
    put(
        root,
        f"{folder}/status",
        f"Name:\tpython\nPPid:\t{parent}\nVmHWM:\t  999999 kB\nVmRSS:\t  {anon + file} kB\n"
        f"RssAnon:\t  {anon} kB\nRssFile:\t  {file} kB\nRssShmem:\t       0 kB\nThreads:\t9\n",
    )
    put(
        root,
        f"{folder}/smaps_rollup",
        f"55cb86453000-7fff97d35000 ---p 00000000 00:00 0                          [rollup]\n"
        f"Rss:            {anon + file} kB\nPss:            {(anon + file) * 3 // 4} kB\nPss_Anon:   {anon} kB\n",
    )
    (root / folder / "fd").mkdir()
    for number, (target, fdinfo) in enumerate(descriptors):
        (root / folder / "fd" / str(number)).symlink_to(target)
        put(root, f"{folder}/fdinfo/{number}", fdinfo)


def card(root: Path, name: str, pdev: str, driver: str, pci_id: str = "8086:56A0") -> Path:
    """A card in sysfs, with a connector beside it as monitors have."""
    (root / f"sys/class/drm/{name}-DP-1").mkdir(parents=True)
    uevent = f"DRIVER={driver}\nPCI_CLASS=30000\nPCI_ID={pci_id}\nPCI_SLOT_NAME={pdev}\n"
    put(root, f"sys/class/drm/{name}/device/uevent", uevent)
    return root / "sys/class/drm" / name


def machine(
    root: Path, *, total: int = 32 * 2**20, available: int = 24 * 2**20, pid_space: str = WHOLE_MACHINE
) -> Path:
    """A machine without a GPU; its memory in kB."""
    put(
        root, "proc/meminfo", f"MemTotal:  {total} kB\nMemFree:  1000 kB\nMemAvailable:  {available} kB\nHugePages: 0\n"
    )
    put(root, "proc/self/cgroup", "0::/user.slice/user-1000.slice/session-2.scope\n")
    (root / "proc/self/ns").mkdir()
    (root / "proc/self/ns/pid").symlink_to(pid_space)
    return root


def arc_i915(root: Path) -> Path:
    """An Arc A770 beside an integrated GPU, both with upstream's i915; an engine and a desktop use it."""
    machine(root)
    card(root, "card0", "0000:00:02.0", "i915", "8086:4680")
    card(root, "card1", "0000:03:00.0", "i915")
    process(root, 10, ("/dev/null", "pos:\t0\n"), (RENDER, I915_DESKTOP), (RENDER, I915_OTHER_CARD))
    # The engine has its device open by two descriptors, and a child inherited one of them.
    process(root, 20, ("anon_inode:[eventpoll]", EPOLL), (RENDER, I915_ENGINE), (RENDER, I915_ENGINE))
    process(root, 21, (RENDER, I915_ENGINE), parent=20)
    return root


def arc_xe(root: Path) -> Path:
    """An Arc B580 with xe, which tells its 12 GiB."""
    machine(root)
    folder = card(root, "card0", "0000:03:00.0", "xe", "8086:E20B")
    put(folder, "device/tile0/physical_vram_size_bytes", f"{12 * 2**30}\n")
    process(root, 20, (RENDER, XE_ENGINE))
    return root


def igpu(root: Path) -> Path:
    """A laptop whose GPU has no memory of its own."""
    machine(root)
    card(root, "card0", "0000:00:02.0", "xe", "8086:64A0")
    process(root, 20, (RENDER, IGPU_ENGINE))
    return root
