"""What Intel's GPUs and NPUs have in memory, and what takes it, as Linux tells it to everybody.

Knows: DRM's fdinfo (the kernel's Documentation/gpu/drm-usage-stats.rst) and its region names in i915 and xe, sysfs.
Does not know: OpenVINO, models, what follows from the figures. All paths are below `root`, for tests; sizes are bytes.

What there is, and what not: xe tells a card's total in sysfs, upstream's i915 nothing (only builds with Intel's own
patches have `lmem_total_bytes` and `lmem_avail_bytes`). No driver tells a plain user how much is free, so it is the
total less what each process holds. Other users' processes can be looked into by root alone, and those beyond a
container by nobody in it: then it is the most that can be free. i915 tells a process's memory from Linux 6.7 on.
Other systems than Linux tell nothing here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")

_UNITS = {"": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
# Regions of the card's own memory, in i915 (local0) and in xe (vram0), and of the machine's: system0 in i915, system
# and gtt in xe, memory in the NPU's driver. What firmware took away at boot ("stolen") was never free in either.
_OWN = re.compile(r"(?:local|vram)\d*")
_SYSTEM = re.compile(r"system\d*|gtt|memory")
# What is there now; else the older key; else what was ever asked for, of which some may have been evicted.
_KINDS = ("drm-resident-", "drm-memory-", "drm-total-")
_NODES = ("/dev/dri/", "/dev/accel/")
_INTEL = "8086"
# The kernel's fixed number of the first namespace of processes, in which all of the machine's are seen.
_WHOLE_MACHINE = "pid:[4026531836]"


@dataclass(frozen=True)
class Client:
    """One open device file, however many descriptors and processes share it. Bytes; `silent`: it tells no memory."""

    id: str
    driver: str
    pdev: str
    own: int = 0
    system: int = 0
    silent: bool = False


@dataclass(frozen=True)
class Use:
    """What some processes hold of a device: bytes of its `own` memory, and of the machine's (`system`).

    Not `complete`: some processes could not be looked into, or their driver does not tell, so it is at least this.
    """

    own: int = 0
    system: int = 0
    complete: bool = True


@dataclass(frozen=True)
class Card:
    """A card. `total` and `free` are its own memory in bytes; None where it has none, or its driver does not tell."""

    pdev: str
    driver: str
    total: int | None = None
    free: int | None = None


def parse(text: str) -> Client | None:
    """The client that one fdinfo file tells of; None if it is of something else."""
    fields = {key: value.strip() for key, colon, value in (line.partition(":") for line in text.splitlines()) if colon}
    if "drm-driver" not in fields or "drm-client-id" not in fields:
        return None
    found: dict[str, int] = {}
    for kind in reversed(_KINDS):
        found.update({key.removeprefix(kind): _bytes(value) for key, value in fields.items() if key.startswith(kind)})
    found = {region: count for region, count in found.items() if _OWN.fullmatch(region) or _SYSTEM.fullmatch(region)}
    return Client(
        id=fields["drm-client-id"],
        driver=fields["drm-driver"],
        pdev=fields.get("drm-pdev", ""),
        own=sum(count for region, count in found.items() if _OWN.fullmatch(region)),
        system=sum(count for region, count in found.items() if _SYSTEM.fullmatch(region)),
        silent=not found,
    )


def use(pdev: str | None = None, pids: Iterable[int] | None = None, root: Path = ROOT) -> Use:
    """What processes hold of the device at this PCI address (None: of all); without `pids`, all processes' use.

    Looks at the descriptors of every process, some milliseconds on a busy machine: not for an event loop.
    """
    proc = str(root / "proc")
    clients: dict[tuple[str, str], Client] = {}
    complete = pids is not None or _link(f"{proc}/self/ns/pid") == _WHOLE_MACHINE
    for pid in _pids(proc) if pids is None else pids:
        try:
            for client in _clients(f"{proc}/{pid}"):
                if pdev in (None, client.pdev):
                    clients[client.pdev, client.id] = client
        except PermissionError:
            complete = False
        except OSError:
            continue  # it ended meanwhile
    return Use(
        own=sum(client.own for client in clients.values()),
        system=sum(client.system for client in clients.values()),
        complete=complete and not any(client.silent for client in clients.values()),
    )


def cards(root: Path = ROOT) -> list[Card]:
    """Intel's GPUs, by PCI address."""
    folders = [path for path in (root / "sys/class/drm").glob("card*") if re.fullmatch(r"card\d+", path.name)]
    return sorted((card for card in map(_card, folders) if card), key=lambda card: card.pdev)


def card_of(found: list[Card], pdev: str | None) -> Card | None:
    """The card at a PCI address, or, if that is not known, the only one there is; None where it cannot be told."""
    if pdev is None:
        return found[0] if len(found) == 1 else None
    return next((card for card in found if card.pdev == pdev), None)


def _card(folder: Path) -> Card | None:
    uevent = dict(line.split("=", 1) for line in _read(folder / "device/uevent").splitlines() if "=" in line)
    if not uevent.get("PCI_ID", "").upper().startswith(_INTEL + ":") or "PCI_SLOT_NAME" not in uevent:
        return None
    tiles = [_number(tile) for tile in sorted(folder.glob("device/tile*/physical_vram_size_bytes"))]
    total = sum(size for size in tiles if size) or _number(folder / "lmem_total_bytes")
    return Card(
        pdev=uevent["PCI_SLOT_NAME"],
        driver=uevent.get("DRIVER", ""),
        total=total or None,
        free=_number(folder / "lmem_avail_bytes") if total else None,
    )


# Strings instead of Path objects below: a busy machine has ten thousand descriptors, and these are looked at often.


def _pids(proc: str) -> list[str]:
    try:
        return [name for name in os.listdir(proc) if name.isdigit()]  # noqa: PTH208
    except OSError:
        return []


def _clients(process: str) -> Iterator[Client]:
    """The clients of one process. Raises OSError: PermissionError for another user's, others if it is gone."""
    for descriptor in os.listdir(f"{process}/fd"):  # noqa: PTH208
        # Only what is open on such a device is read: an fdinfo of another kind may have thousands of lines.
        if _link(f"{process}/fd/{descriptor}").startswith(_NODES):
            client = parse(_read(Path(process, "fdinfo", descriptor)))
            if client:
                yield client


def _link(path: str) -> str:
    try:
        return os.readlink(path)  # noqa: PTH115
    except OSError:
        return ""  # closed meanwhile


def _bytes(value: str) -> int:
    number, _, unit = value.partition(" ")
    return int(number) * _UNITS.get(unit.strip(), 0) if number.isdigit() else 0


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _read(path).strip()
    return int(text) if text.isdigit() else None
