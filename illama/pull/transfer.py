"""Getting files from a hub, so that no byte is fetched twice and none is wrong.

Knows: HTTP ranges, redirects, hashes, when to try again, who may see the token. Does not know: which files make a
model.

What has come of a file lies in `NAME.part` and is added to, in this call and in the next; only what has the right hash
gets the name itself. The addresses name a commit, so that a repository that changes meanwhile cannot mix in.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx

import illama
from illama.errors import PullError
from illama.pull.files import chunks
from illama.pull.hub import Hub, Listing, RemoteFile, refused, unreachable
from illama.pull.progress import Progress
from illama.registry import atomic
from illama.transport import is_loopback

PART = ".part"
_PHASE = "download"
# Tries in a row that bring nothing new, and the seconds before the second; each further pause is twice as long.
TRIES = 5
PAUSE_SEC = 0.5
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
_MAX_REDIRECTS = 8
_BUSY = {408, 425, 429, 500, 502, 503, 504}


class _AgainError(Exception):
    """This try failed, the next may not; the argument is the error to raise when there is none."""


def missing(files: Sequence[RemoteFile], folder: Path) -> int:
    """The bytes that are still to be fetched into a folder."""
    return sum(file.size for file in files) - sum(_present(file, folder) for file in files)


def fetch(hub: Hub, listing: Listing, files: Sequence[RemoteFile], folder: Path, progress: Progress) -> None:
    """Fetch files of a repository into a folder. What is there already stays; all is checked by size and hash.

    Raises PullError, CancelledError, and OSError where the disk is full; what has come is kept for the next call.
    """
    headers = {"User-Agent": f"illama/{illama.__version__}", "Accept-Encoding": "identity"}
    own = not is_loopback(hub.endpoint)
    with httpx.Client(headers=headers, timeout=_TIMEOUT, trust_env=own, follow_redirects=False) as client:
        _Fetch(client, hub, listing, files, folder, progress).all()


class _Fetch:
    def __init__(
        self,
        client: httpx.Client,
        hub: Hub,
        listing: Listing,
        files: Sequence[RemoteFile],
        folder: Path,
        progress: Progress,
    ) -> None:
        self._client, self._hub, self._listing = client, hub, listing
        self._files, self._folder, self._progress = files, folder, progress
        self._total = sum(file.size for file in files)
        self._done = 0  # bytes of the files before the one at hand

    def all(self) -> None:
        for file in self._files:
            if not _is_whole(self._folder / file.local, file):
                self._one(file)
            self._done += file.size
            self._report(0)

    def _one(self, file: RemoteFile) -> None:
        path = self._folder / f"{file.local}{PART}"
        # A part that a crash of the machine has spoiled, or a byte that flipped on its way: once more from the start.
        for _ in range(2):
            with _Part.open(path, file, self._progress) as part:
                self._complete(file, part)
                good = part.is_right()
            if good:
                path.replace(self._folder / file.local)
                atomic.sync_folder(self._folder)
                return
            path.unlink()
        raise PullError(
            f"{file.name} of {self._listing.repo} came twice with a wrong checksum.",
            hint="It was not kept. Something between here and the hub changes files: check the proxy and HF_ENDPOINT.",
            status=502,
        )

    def _complete(self, file: RemoteFile, part: _Part) -> None:
        url, failures, furthest = self._listing.url(self._hub, file), 0, part.size
        while part.size < file.size:
            try:
                self._receive(url, file, part)
            except _AgainError as problem:
                reason = problem.args[0]
            except (httpx.TransportError, httpx.InvalidURL) as problem:
                reason = unreachable(self._hub, problem)
            else:
                reason = unreachable(self._hub, EOFError("the connection ended early"))
            if part.size >= file.size:
                return
            failures = 1 if part.size > furthest else failures + 1
            furthest = max(furthest, part.size)
            if failures >= TRIES:
                raise reason
            self._progress.wait(PAUSE_SEC * 2 ** (failures - 1))
            self._report(part.size)

    def _receive(self, url: str, file: RemoteFile, part: _Part) -> None:
        with self._open(url, part.size) as response:
            self._check(response, file, part)
            for data in response.iter_raw():
                part.write(data)
                self._report(min(part.size, file.size))
                if part.size > file.size:
                    return  # its checksum says the rest

    @contextmanager
    def _open(self, url: str, start: int) -> Iterator[httpx.Response]:
        for _ in range(_MAX_REDIRECTS):
            request = self._client.build_request("GET", url, headers=self._headers(url, start))
            response = self._client.send(request, stream=True)
            try:
                if not response.has_redirect_location:
                    yield response
                    return
                url = str(request.url.join(response.headers["Location"]))
            finally:
                response.close()
        raise _AgainError(unreachable(self._hub, EOFError("it redirects without end")))

    def _headers(self, url: str, start: int) -> dict[str, str]:
        headers = {"Range": f"bytes={start}-"} if start else {}
        # The hub redirects big files to a storage elsewhere, which is not to see the token.
        if self._hub.token and _origin(url) == _origin(self._hub.endpoint):
            headers["Authorization"] = f"Bearer {self._hub.token}"
        return headers

    def _check(self, response: httpx.Response, file: RemoteFile, part: _Part) -> None:
        """See that the body is what the part lacks. Raises PullError, and _AgainError if another try is worth it."""
        status = response.status_code
        if status == 206:
            if response.headers.get("Content-Range", "").startswith(f"bytes {part.size}-"):
                return
            part.restart()
            raise _AgainError(refused(self._hub, self._listing.repo, status, None))
        if status == 200:
            part.restart()  # the whole file, whatever was asked for
            return
        if status == 416:
            part.restart()
        problem = refused(self._hub, self._listing.repo, status, response.headers.get("X-Error-Code"))
        # A storage that refuses has been asked too late: the hub gives a new address.
        if status in _BUSY | {416} or _origin(str(response.request.url)) != _origin(self._hub.endpoint):
            raise _AgainError(problem)
        if status == 404:
            problem = PullError(
                f"{self._hub.host} lists {file.name} in {self._listing.repo} and does not have it.",
                hint="Pull again later; what has come is kept.",
                status=502,
            )
        raise problem

    def _report(self, done: int) -> None:
        self._progress.report(_PHASE, f"downloading {self._listing.repo}", self._done + done, self._total)


class _Part:
    """A file that grows, with the hash of what is in it."""

    def __init__(self, descriptor: int, file: RemoteFile, progress: Progress) -> None:
        self._remote = file
        self._file = os.fdopen(descriptor, "r+b", buffering=0)
        self._hash = _hasher(file)
        self.size = 0
        if os.fstat(descriptor).st_size > file.size:
            self.restart()
        for data in chunks(self._file, progress):
            self._hash.update(data)
            self.size += len(data)

    @classmethod
    @contextmanager
    def open(cls, path: Path, file: RemoteFile, progress: Progress) -> Iterator[_Part]:
        # No link is followed: in a cache that users share, somebody else may have put one there.
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        part = cls(os.open(path, flags, 0o644), file, progress)
        with part._file:
            yield part
            os.fsync(part._file.fileno())

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:  # unbuffered, so that what was written is on disk and not in a buffer when the disk is full
            count = self._file.write(rest)
            self._hash.update(rest[:count])
            self.size += count
            rest = rest[count:]

    def restart(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._hash = _hasher(self._remote)
        self.size = 0

    def is_right(self) -> bool:
        wanted = self._remote.sha256 or self._remote.git_id
        return self.size == self._remote.size and wanted in {None, self._hash.hexdigest()}


def _hasher(file: RemoteFile) -> hashlib._Hash:
    if file.sha256 or not file.git_id:
        return hashlib.sha256()
    # A small file's id is git's: https://git-scm.com/book/en/v2/Git-Internals-Git-Objects
    return hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)


def _present(file: RemoteFile, folder: Path) -> int:
    if _is_whole(folder / file.local, file):
        return file.size
    part = folder / f"{file.local}{PART}"
    return min(part.stat().st_size, file.size) if part.is_file() and not part.is_symlink() else 0


def _is_whole(path: Path, file: RemoteFile) -> bool:
    return path.is_file() and not path.is_symlink() and path.stat().st_size == file.size


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
