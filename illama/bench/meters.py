"""What processes and the machine have used: CPU time, memory, and the share that strangers took.

Knows: clocks of processes. Does not know: what the processes are for.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import psutil

from illama.host import memory


def cpu_seconds(pid: int) -> float:
    """User and system time of one process so far; 0 if it is gone. On Linux to the nanosecond, else to a tick."""
    if sys.platform == "linux":
        # The id of a process's CPU clock, as clock_getcpuclockid(3) makes it; psutil has ticks of 10 ms.
        try:
            return time.clock_gettime((~pid << 3) | 2)
        except OSError:
            return 0.0
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def tree(pid: int) -> list[int]:
    """A process and all that it started; empty if it is gone."""
    try:
        parent = psutil.Process(pid)
        return [pid, *(child.pid for child in parent.children(recursive=True))]
    except psutil.Error:
        return []


def busy_seconds() -> float:
    """What all of the machine's cores have worked so far, for whomever; also what a hypervisor took from them."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


def memory_of(pid: int) -> tuple[int, int]:
    """Bytes of memory of a process and all that it started, shared pages by their share; and how many they are."""
    use = memory.usage(pid)
    return (use.rss if use.pss is None else use.pss), len(use.pids)


@dataclass
class Meter:
    """Reads several parties' CPU time before and after. A party is a name and the processes that count for it."""

    parties: Mapping[str, Iterable[int]]
    _before: dict[int, float] = field(default_factory=dict)
    _busy: float = 0.0
    _began: float = 0.0

    def start(self) -> None:
        """Begin."""
        self._busy, self._began = busy_seconds(), time.monotonic()
        self._before = {pid: cpu_seconds(pid) for pids in self.parties.values() for pid in pids}

    def stop(self) -> tuple[dict[str, float], float]:
        """CPU seconds of each party since, and the share of the machine that nobody of them used."""
        spent = {pid: max(cpu_seconds(pid) - before, 0.0) for pid, before in self._before.items()}
        seconds, busy = time.monotonic() - self._began, busy_seconds() - self._busy
        ours = {name: sum(spent[pid] for pid in pids) for name, pids in self.parties.items()}
        everybody = sum(spent.values())
        share = max(busy - everybody, 0.0) / max(seconds, 0.001) / (psutil.cpu_count() or 1)
        return ours, min(share, 1.0)


def settled(pid: int, patience: float = 15.0, look: float = 0.25) -> tuple[int, int]:
    """`memory_of` a process tree that has come to rest: two looks in turn that hardly differ, or the last one."""
    deadline = time.monotonic() + patience
    last = memory_of(pid)
    while time.monotonic() < deadline:
        time.sleep(look)
        now = memory_of(pid)
        if now[1] == last[1] and abs(now[0] - last[0]) < 2**20:
            return now
        last = now
    return last


def listener(port: int) -> int | None:
    """The process of this machine that listens on a port; None if nobody may tell."""
    try:
        found = psutil.net_connections("tcp")
    except psutil.Error:
        return None
    listening = (each for each in found if each.status == psutil.CONN_LISTEN)
    return next((each.pid for each in listening if getattr(each.laddr, "port", None) == port), None)
