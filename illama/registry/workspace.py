"""The registry's two side rooms: staging, where a model is put together, and trash, where it waits to be deleted.

Knows: who owns a staging folder, what is left over, what a folder's deletion brings. Does not know: entries, the index.

Both are hidden folders in the registry's own, because only there a rename into or out of the models is sure to stay on
one filesystem. No model's name begins with a dot, so nothing in them can be taken for a model.

The rule for leftovers: each staging folder has a lock file beside it, which its process holds until it is done. Whoever
writes to the registry next deletes the staging folders whose lock is free (their process is gone, whatever ended it),
and all that is in the trash. Nothing goes by age, so a slow conversion is safe and a killed one is cleaned up at once.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from illama.errors import RegistryError

if TYPE_CHECKING:
    from filelock import FileLock

STAGING, TRASH = ".staging", ".trash"
_LOCK_SUFFIX = ".lock"

# The lock of each staging folder of this process. Kept here because a lock that is garbage-collected is released.
_owned: dict[Path, FileLock] = {}


def make_rooms(root: Path) -> None:
    """Make the registry's folder and its side rooms: while there is still space, for a model can be removed later."""
    for room in (STAGING, TRASH):
        (root / room).mkdir(parents=True, exist_ok=True)


def open_staging(root: Path) -> Path:
    """Make a fresh staging folder that this process owns. Call with the registry locked: a sweep could take it else."""
    from filelock import FileLock  # here, since who only reads should not wait for its import

    folder = root / STAGING / secrets.token_hex(8)
    lock = FileLock(f"{folder}{_LOCK_SUFFIX}", timeout=0, thread_local=False)
    lock.acquire()
    _owned[folder] = lock
    folder.mkdir()
    return folder


def close_staging(folder: Path) -> None:
    """Delete what is left of a staging folder and give up its lock. Does nothing for a folder that isn't there."""
    delete(folder)
    lock = _owned.pop(folder, None)
    if lock is not None:
        _drop(lock)


def sweep_staging(root: Path) -> None:
    """Delete the staging folders whose process is gone. Call with the registry locked."""
    from filelock import FileLock, Timeout

    names = {path.name for path in _children(root / STAGING)}
    for token in {name.removesuffix(_LOCK_SUFFIX) for name in names}:
        folder = root / STAGING / token
        if folder in _owned:
            continue
        lock = FileLock(f"{folder}{_LOCK_SUFFIX}", timeout=0, thread_local=False)
        try:
            lock.acquire()
        except Timeout:
            continue
        delete(folder)
        _drop(lock)


def abandoned(root: Path) -> list[Path]:
    """The staging folders whose process is gone."""
    from filelock import FileLock, Timeout

    found = []
    for folder in sorted(each for each in _children(root / STAGING) if each.suffix != _LOCK_SUFFIX):
        if folder in _owned:
            continue
        try:
            with FileLock(f"{folder}{_LOCK_SUFFIX}", timeout=0, thread_local=False):
                found.append(folder)
        except Timeout:
            continue
    return found


def into_trash(root: Path, folder: Path) -> Path:
    """Take a folder out of the models in one step, by a rename. Returns where it is now."""
    return folder.rename(root / TRASH / f"{folder.name}.{secrets.token_hex(8)}")


def trash(root: Path) -> list[Path]:
    """What waits to be deleted."""
    return sorted(_children(root / TRASH))


def empty_trash(root: Path) -> None:
    """Delete all that is in the trash. What cannot be deleted now (an open file on Windows) waits for the next time."""
    for path in _children(root / TRASH):
        delete(path)


def delete(path: Path) -> None:
    """Delete a folder and what is in it, as far as possible. A symbolic link is deleted itself, never followed."""
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)


def freed_by_deleting(*paths: Path) -> int:
    """The bytes that deleting folders and files brings: what has another name elsewhere (a hard link) brings none.

    What disappears meanwhile counts as nothing.
    """
    found = []
    for path in (each for top in paths for each in walk(top)):
        with suppress(FileNotFoundError):
            found.append(path.lstat())
    links_here = Counter((each.st_dev, each.st_ino) for each in found)
    sizes = {(each.st_dev, each.st_ino): each.st_size for each in found if each.st_nlink <= links_here[_key(each)]}
    return sum(sizes.values())


def walk(folder: Path) -> Iterator[Path]:
    """All that is below a folder, or the file itself, and is no folder. Symbolic links are named, not followed."""
    if folder.is_symlink() or folder.is_file():
        yield folder
        return
    for parent, folders, files in os.walk(folder, followlinks=False):
        for name in (*files, *(each for each in folders if (Path(parent) / each).is_symlink())):
            yield Path(parent) / name


def is_regular(path: Path) -> bool:
    """Whether this is a plain file: no link, folder, device or pipe."""
    return stat.S_ISREG(path.lstat().st_mode)


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the filesystem or its owner's rights don't allow that."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as problem:
        if problem.errno in {errno.EEXIST, errno.ENOENT, errno.ENOSPC, errno.EDQUOT}:
            raise
        shutil.copyfile(source, target, follow_symlinks=False)


def measured(folder: Path, *, but: str) -> dict[str, int]:
    """The size in bytes of each file below a folder, by its path with `/`, `but` one.

    Raises RegistryError for a folder with nothing else in it, and for links and special files.
    """
    files = {}
    for path in sorted(walk(folder)):
        relative = path.relative_to(folder).as_posix()
        if not is_regular(path):
            raise RegistryError(
                f"{relative} is a link or a special file, which no model may have.", hint="Copy the file itself."
            )
        if relative != but:
            files[relative] = path.lstat().st_size
    if not files:
        raise RegistryError(f"{folder} holds no files to make a model of.", hint="Pull the model again.")
    return files


def _key(status: os.stat_result) -> tuple[int, int]:
    return (status.st_dev, status.st_ino)


def _children(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _drop(lock: FileLock) -> None:
    path = Path(lock.lock_file)
    if os.name == "nt":  # an open file cannot be deleted there
        lock.release()
        path.unlink(missing_ok=True)
    else:
        path.unlink(missing_ok=True)
        lock.release()
