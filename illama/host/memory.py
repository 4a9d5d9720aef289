"""What processes take and what devices have left.

Knows: processes' memory, the machine's or the container's, a device's. Does not know: engines, models, when to look.
Sizes are bytes. Looking takes milliseconds (the kernel walks a process's pages for its PSS): call it in a thread.

All paths are below `root`, so that tests can tell of other machines; other systems than Linux are asked through psutil.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

from illama.host import drm

ROOT = drm.ROOT


@dataclass(frozen=True)
class Usage:
    """Memory of a process and of all that it started.

    `pss` counts each shared page by its share, so that it adds up to what they take together; None where the system
    does not tell. `rss` counts shared pages in every process. `private` is what only the end of the processes gives
    back: without mapped files, which the system drops when it likes, and which a model's weights on a CPU may be.
    """

    pids: tuple[int, ...]
    rss: int
    pss: int | None
    private: int


@dataclass(frozen=True)
class Room:
    """A device's memory: `total` and `free`, None where nobody tells. `exact`: all that takes of it was seen."""

    where: str
    total: int | None = None
    free: int | None = None
    exact: bool = True

    @property
    def used(self) -> int | None:
        """What is taken, by whomever."""
        return None if self.total is None or self.free is None else self.total - self.free


def usage(pid: int, root: Path = ROOT) -> Usage:
    """The memory of a process and its descendants; zeros if it is gone."""
    if not sys.platform.startswith("linux"):
        return _usage_elsewhere(pid)
    pids = _tree(pid, root / "proc")
    statuses = [_sizes(root / "proc" / str(each) / "status") for each in pids]
    rollups = [_sizes(root / "proc" / str(each) / "smaps_rollup") for each in pids]
    shares = [rollup["Pss"] for rollup in rollups if "Pss" in rollup]
    # A process that has just ended has neither; one of another user shows its status only.
    told = len(shares) >= sum("VmRSS" in status for status in statuses)
    return Usage(
        pids=tuple(each for each, status in zip(pids, statuses, strict=True) if "VmRSS" in status),
        rss=sum(status.get("VmRSS", 0) for status in statuses),
        pss=sum(shares) if told else None,
        private=sum(status.get("RssAnon", 0) + status.get("RssShmem", 0) for status in statuses),
    )


def machine(root: Path = ROOT) -> Room:
    """The machine's memory, or that of the container (control group, version 2) whose limit is nearer.

    Free is what can be had without swapping: caches of files count as free.
    """
    if not sys.platform.startswith("linux"):
        memory = psutil.virtual_memory()
        return Room("the machine's memory", memory.total, memory.available)
    sizes = _sizes(root / "proc/meminfo")
    room = Room("the machine's memory", sizes.get("MemTotal"), sizes.get("MemAvailable"))
    for limit, taken in _groups(root):
        free = max(limit - taken, 0)
        if room.free is None or free < room.free:
            room = Room("this container's memory", limit, free)
    return room


def device(name: str, own: int | None = None, pdev: str | None = None, root: Path = ROOT) -> Room:
    """What a device has left, all processes' use of it counted.

    `own` is what OpenVINO calls the device's own memory: None for what works in the machine's (CPU, NPU, an integrated
    GPU). `pdev` is its PCI address, as `0000:03:00.0`, where it is known.
    """
    if own is None:
        return machine(root)
    card = drm.card_of(drm.cards(root), pdev)
    where = f"{name}'s memory"
    if card is None:
        return Room(where, own, None, exact=False)
    # Part of the physical memory is the driver's: what OpenVINO may use is the smaller figure.
    total = min(own, card.total or own)
    if card.free is not None:
        return Room(where, total, min(card.free, total))
    use = drm.use(card.pdev, root=root)
    return Room(where, total, max(total - use.own, 0), exact=use.complete)


def _sizes(path: Path) -> dict[str, int]:
    """The lines `Name: 123 kB` of a file of /proc, in bytes; none if it cannot be read."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return {}
    fields = ((line.partition(":")[0], line.partition(":")[2].split()) for line in lines)
    return {name: int(rest[0]) * 1024 for name, rest in fields if len(rest) == 2 and rest[1] == "kB"}


def _tree(pid: int, proc: Path) -> list[int]:
    """A process and its descendants."""
    children: dict[int, list[int]] = {}
    for stat in proc.glob("[0-9]*/stat"):
        try:
            # The name in parentheses may hold anything, parentheses too; the parent is the second field behind it.
            parent = int(stat.read_text(errors="replace").rpartition(")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            continue  # it ended meanwhile
        children.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid]
    for each in found:
        found += sorted(children.get(each, ()))
    return found


def _groups(root: Path) -> list[tuple[int, int]]:
    """Limit and use of this process's control group and those above it, as far as they have limits."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    path = next((line.removeprefix("0::").strip("/") for line in lines if line.startswith("0::")), None)
    if path is None:
        return []
    top = root / "sys/fs/cgroup"
    found = []
    for folder in (top / path, *(top / path).parents):
        if not folder.is_relative_to(top):
            break
        try:
            limit = (folder / "memory.max").read_text().strip()
            taken = int((folder / "memory.current").read_text())
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):
            continue
        if limit.isdigit():
            # Cached files count towards the group, but are dropped before anything is refused: they are free.
            cached = int(stat.get("active_file", 0)) + int(stat.get("inactive_file", 0))
            found.append((int(limit), max(taken - cached, 0)))
    return found


def _usage_elsewhere(pid: int) -> Usage:
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        family = []
    sizes = {}
    for each in family:
        try:
            sizes[each.pid] = each.memory_info().rss
        except psutil.Error:
            continue
    total = sum(sizes.values())
    return Usage(tuple(sizes), total, None, total)
