"""The state file: how a host says that it is there, and how others tell whether that is still true.

Knows: the file's fields, the folder's rights, this machine's boot and the host's process. Does not know: HTTP, how a
host is started (that is `illama.discovery`), what it serves. Light to import: a command line reads it on every start.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import tempfile
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import psutil

from illama.errors import HostError

PROTOCOL = 1
FILE_NAME = "host.json"


@dataclass(frozen=True)
class HostState:
    """What a running host writes down about itself.

    `host` is the bound address, `url` how to reach it from this machine; `create_time` is psutil's, in seconds since
    the epoch, and `start_ticks` Linux's own, since the boot; `settings` are the host's public settings by variable
    name. The key does not show in the repr.
    """

    protocol: int
    pid: int
    create_time: float
    hostname: str
    boot_id: str
    url: str
    key: str = field(repr=False)
    version: str = ""
    host: str = "127.0.0.1"
    port: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    on_demand: bool = False
    start_ticks: int = 0

    @classmethod
    def of_this_process(
        cls, *, version: str, host: str, port: int, key: str, settings: dict[str, Any], on_demand: bool
    ) -> HostState:
        """The state of a host that runs in this process and is bound to `host` and `port`."""
        me = psutil.Process()
        return cls(
            protocol=PROTOCOL,
            pid=me.pid,
            create_time=me.create_time(),
            hostname=socket.gethostname(),
            boot_id=boot_id(),
            url=f"http://{_reachable(host)}:{port}",
            key=key,
            version=version,
            host=host,
            port=port,
            settings=settings,
            on_demand=on_demand,
            start_ticks=start_ticks(me.pid),
        )

    def process(self) -> psutil.Process | None:
        """The host's process, or None if it has ended: the pid alone may long be somebody else's."""
        return running(self.pid, self.create_time, self.start_ticks)

    def alive(self) -> bool:
        """Whether the host's process runs. Cheap where the system tells ticks: asked before each request."""
        if self.start_ticks:
            fields = _stat(self.pid)
            return bool(fields) and fields[0] not in ("Z", "X") and int(fields[19]) == self.start_ticks
        return self.process() is not None

    def __str__(self) -> str:
        return f"the host at {self.url} (pid {self.pid})"


def running(pid: int, create_time: float | None = None, ticks: int = 0) -> psutil.Process | None:
    """The process of that pid (and of that start, if given), or None if there is none or only its zombie."""
    try:
        process = psutil.Process(pid)
        # The time of a start moves when the clock is set, as a laptop's or a virtual machine's is. Ticks don't.
        if ticks:
            same = start_ticks(pid) == ticks
        else:
            same = create_time is None or abs(process.create_time() - create_time) <= 1
        # Nobody reaps an orphan in a container without an init: it stays as a zombie for ever.
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (psutil.Error, ValueError, OverflowError):
        return None


def start_ticks(pid: int) -> int:
    """Linux's clock ticks from the boot to the start of a process; 0 on other systems, or if there is none."""
    fields = _stat(pid)
    return int(fields[19]) if fields else 0


def _stat(pid: int) -> list[str]:
    """The fields of Linux's /proc/PID/stat from the 3rd on, which is the state; none if there is no such process."""
    with contextlib.suppress(OSError):
        # The 2nd field is the name in brackets, and may itself hold spaces and brackets.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return fields if len(fields) > 19 else []
    return []


def boot_id() -> str:
    """What changes with every start of this machine: Linux's boot id, elsewhere the minute of the start."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return str(round(psutil.boot_time() / 60))


def secure(run_dir: Path) -> None:
    """Make the folder (0700) if it is not there, and refuse one that others could have put a host into.

    Raises HostError if the folder is a link, belongs to another user, or others may write in it.
    """
    try:
        run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = run_dir.lstat()
    except OSError as problem:
        raise HostError(
            f"The folder {run_dir} for the host's state cannot be used: {problem.strerror}.",
            hint="Set ILLAMA_HOME to a folder of your own.",
        ) from problem
    if os.name == "nt":
        return
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise HostError(
            f"The folder {run_dir} for the host's state is not a folder of this user's own.",
            hint="Set ILLAMA_HOME to a folder of your own, or have that folder removed.",
        )
    if found.st_mode & 0o022:
        raise HostError(
            f"Others may write in the folder {run_dir} of the host's state.",
            hint=f"See that nobody put anything there, then `chmod 700 {run_dir}`.",
        )
    if found.st_mode & 0o077:
        run_dir.chmod(0o700)


def read(run_dir: Path) -> HostState | None:
    """The state of this machine's live host.

    None if there is no file, if it is broken, of another machine or an earlier boot, or if its process has ended.
    """
    try:
        found = json.loads((run_dir / FILE_NAME).read_text(encoding="utf-8"))
        known = {f.name for f in fields(HostState)}
        state = HostState(**{name: value for name, value in found.items() if name in known})
        # A file of an older protocol may lack what has a default; what is there must be what it claims to be.
        sound = all(isinstance(getattr(state, name), kind) for name, kind in _KINDS.items())
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    if not sound or state.hostname != socket.gethostname() or state.boot_id != boot_id():
        return None
    return state if state.process() else None


_KINDS: dict[str, type | tuple[type, ...]] = {
    "protocol": int,
    "pid": int,
    "create_time": (int, float),
    "url": str,
    "key": str,
    "version": str,
    "settings": dict,
    "on_demand": bool,
    "start_ticks": int,
}


def write(run_dir: Path, state: HostState) -> None:
    """Write the file (0600) in one step: a reader sees the whole of it or none."""
    secure(run_dir)
    handle, name = tempfile.mkstemp(dir=run_dir, prefix=".host-")  # mkstemp makes it 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(asdict(state), file)
        Path(name).replace(run_dir / FILE_NAME)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def remove(run_dir: Path, state: HostState) -> None:
    """Take the file away, if it is still this host's: a successor's stays."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        found = json.loads((run_dir / FILE_NAME).read_text(encoding="utf-8"))
        if (found.get("pid"), found.get("create_time")) == (state.pid, state.create_time):
            (run_dir / FILE_NAME).unlink()


def _reachable(host: str) -> str:
    """How this machine reaches a server that is bound to `host`."""
    if host in {"", "0.0.0.0"}:
        return "127.0.0.1"
    if host == "::":
        return "[::1]"
    return f"[{host}]" if ":" in host else host
