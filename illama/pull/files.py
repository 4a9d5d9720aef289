"""Reading big files with progress, asking for room before something big is written, and fetching one thing once.

Knows: bytes, sha256, free space, locks. Does not know: models.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from illama.errors import PullError
from illama.pull.progress import Progress

CHUNK = 1 << 20
_POLL_SEC = 0.1


def chunks(file: IO[bytes], progress: Progress) -> Iterator[bytes]:
    """The file in pieces of a MiB. Raises CancelledError between two of them."""
    while data := file.read(CHUNK):
        progress.check()
        yield data


def sha256(path: Path, progress: Progress) -> str:
    """The sha256 of a file in hex, with progress in bytes."""
    digest, done, total = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as file:
        for data in chunks(file, progress):
            digest.update(data)
            done += len(data)
            progress.report("check", f"checking {path.name}", done, total)
    return digest.hexdigest()


def need_space(folder: Path, size: int, what: str) -> None:
    """Raise PullError, with the figures, if the filesystem of `folder` has less than `size` bytes free."""
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    free = shutil.disk_usage(existing).free
    if free < size:
        raise PullError(
            f"{what} needs {megabytes(size)} in {folder}, and {megabytes(free)} are free.",
            hint="Free some space, or set ILLAMA_REGISTRY_DIR and ILLAMA_CACHE_DIR to a bigger disk.",
            status=507,
        )


@contextmanager
def alone(lock_file: Path, what: str, progress: Progress) -> Iterator[None]:
    """Hold a lock between processes, after saying that another download of `what` goes first. Raises CancelledError."""
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(lock_file, thread_local=False)
    while True:
        try:
            lock.acquire(timeout=_POLL_SEC)
            break
        except Timeout:
            progress.report("download", f"waiting for another download of {what}")
    try:
        yield
    finally:
        lock.release()


def megabytes(size: int) -> str:
    """A size for people: `98 MB`."""
    return f"{size / 1e6:.0f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"
