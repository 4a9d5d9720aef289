"""What takes room on the disk beside the models' own folders: whose it is, what is left over, how it is removed.

Knows: the layout of the cache and of the registry's side rooms, and the locks that say what is in use. Does not know:
how anything got there, HTTP. Nothing outside the registry, the cache and the converter's folder is touched.

    cache/downloads/NAME          what a pull fetched, or the part of it that has come; `.NAME.part` while it comes
    cache/downloads/.NAME.lock    held by the pull that is at it
    cache/compiled/KEY/           what a device's compiler made of the model with these weights
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from illama.registry import Entry, Registry, workspace

_PART, _LOCK = ".part", ".lock"


@dataclass(frozen=True)
class Leftover:
    """Something that nothing needs: its `kind`, what it is, where it lies, and how many bytes its deletion brings."""

    kind: str
    what: str
    path: Path
    size: int

    def to_json(self) -> dict[str, Any]:
        """The leftover as JSON's own types."""
        return {"kind": self.kind, "what": self.what, "path": str(self.path), "size": self.size}


def compiled(cache: Path, entry: Entry) -> Path:
    """The folder for what compilers make of a model. Copies of a model share it, as they share their weights."""
    return cache / "compiled" / hashlib.sha256(entry.digest.encode()).hexdigest()[:32]


def remove(registry: Registry, cache: Path, name: str) -> tuple[Entry, int]:
    """Delete a model, and what only it used of the cache. Returns its entry and the bytes that came free.

    A download that a pull is at stays. Raises ModelNotFoundError, and RegistryError if it cannot be written.
    """
    entry = registry.get(name)
    others = [each for each in registry.entries() if each.name != entry.name]
    with ExitStack() as held:
        own = [path for path in _of(entry, others, cache) if _take(path, held)]
        if all(compiled(cache, each) != compiled(cache, entry) for each in others):
            own.append(compiled(cache, entry))
        freed = workspace.freed_by_deleting(registry.folder(entry), *own)
        entry, _ = registry.remove(entry.name)
        for path in own:
            workspace.delete(path)
    return entry, freed


def leftovers(registry: Registry, cache: Path, converter: Path | None = None) -> list[Leftover]:
    """What nothing needs: unfinished and used-up downloads, models half made, what was compiled for models gone.

    `converter` is the environment that conversions of this version use: its neighbours are of other versions.
    """
    used = {compiled(cache, entry) for entry in registry.entries()}
    found = [
        *(("staging", "a model that was never finished", path) for path in registry.abandoned()),
        *(("trash", "a model that was removed", path) for path in registry.trash()),
        *(("index", "a broken index that was set aside", path) for path in registry.broken_indexes()),
        *(("download", _describe(path), path) for path in _downloads(cache)),
        *(
            ("compiled", "compiled for a model that is gone", path)
            for path in _children(cache / "compiled")
            if path not in used
        ),
        *(("environment", "an environment of an older converter", path) for path in _environments(converter)),
    ]
    return [Leftover(kind, what, path, workspace.freed_by_deleting(path)) for kind, what, path in found]


def clear(registry: Registry, found: Iterable[Leftover]) -> tuple[int, list[Leftover]]:
    """Delete leftovers. Returns the bytes that came free, and those that stay as something has come to use them."""
    freed, kept = 0, []
    found = list(found)
    if any(each.kind in {"staging", "trash", "index"} for each in found):
        registry.tidy()
    for each in found:
        with ExitStack() as held:
            if each.kind == "download" and not _take(each.path, held):
                kept.append(each)
                continue
            if each.kind in {"download", "compiled", "environment"}:
                workspace.delete(each.path)
        if each.path.exists():
            kept.append(each)
        else:
            freed += each.size
    return freed, kept


def _of(entry: Entry, others: Iterable[Entry], cache: Path) -> Iterator[Path]:
    """The downloads that this model was made of, and no other one."""
    name = _download_name(entry)
    if name and name not in {_download_name(each) for each in others}:
        path = cache / "downloads" / name
        if path.exists():
            yield path


def _download_name(entry: Entry) -> str | None:
    source = entry.source
    if source.get("kind") == "wheel":
        name = str(source.get("file", "")).rpartition("/")[2]
    elif source.get("kind") == "hub":
        name = f"{str(source.get('repo', '')).replace('/', '--')}--{source.get('revision', '')}"
    else:
        return None
    # An entry is a file that anybody may have written: it must not lead elsewhere.
    return name if name and not name.startswith(".") and Path(name).name == name and "\\" not in name else None


def _downloads(cache: Path) -> list[Path]:
    """What was downloaded and is not being used: only what has a lock of ours, which is free."""
    found = []
    for path in _children(cache / "downloads"):
        if not path.name.endswith(_LOCK) and _lock_of(path).exists():
            with ExitStack() as held:
                if _take(path, held):
                    found.append(path)
    return found


def _describe(path: Path) -> str:
    unfinished = path.name.endswith(_PART) or any(each.name.endswith(_PART) for each in workspace.walk(path))
    return "an unfinished download, which a pull would go on with" if unfinished else "a download that was used"


def _lock_of(path: Path) -> Path:
    return path.with_name(f".{path.name.removeprefix('.').removesuffix(_PART)}{_LOCK}")


def _take(path: Path, held: ExitStack) -> bool:
    """Hold a download's lock until `held` is closed; False if a pull has it."""
    from filelock import FileLock, Timeout

    try:
        held.enter_context(FileLock(_lock_of(path), timeout=0, thread_local=False))
    except (Timeout, OSError):
        return False
    return True


def _environments(current: Path | None) -> list[Path]:
    """Environments beside this one, and parts of ones that were never finished, from which no process runs."""
    if current is None:
        return []
    others = [each for each in _children(current.parent) if each != current and (each / "pyvenv.cfg").is_file()]
    return [each for each in others if not _runs_from(each)] if others else []


def _runs_from(folder: Path) -> bool:
    """Whether a process of this user runs, or installs, in an environment."""
    import psutil

    whole, inside = str(folder), f"{folder}{os.sep}"
    for process in psutil.process_iter():
        try:
            if any(word == whole or inside in word for word in process.cmdline()):
                return True
        except psutil.Error:
            continue
    return False


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
