"""`logs`: the last lines of a log, and what comes after them.

Knows: how to read a file from its end, and to follow one that is renamed when it is full. Does not know: what is in it.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

from illama.cli import text
from illama.config import Settings
from illama.errors import NotFoundError
from illama.host import logs
from illama.paths import private

_BLOCK = 64 * 2**10
# Seconds between two looks at a log that is followed.
_PAUSE = 0.2


def show(args: argparse.Namespace, settings: Settings) -> int:
    """`illama logs`."""
    path = logs.path_of(settings, args.log)
    if settings.base_url:
        text.warn(["ILLAMA_BASE_URL names a host whose logs are where it runs; these are of this machine."])
    if not args.follow:
        for line in tail(settings, args.log, args.lines):
            print(line)
        return 0
    # What is followed is opened first, so that nothing falls between the last line shown and the first one followed.
    with closing(Follower(path)) as follower:
        _print(last_lines(path, args.lines))
        while True:
            _print(follower.new())
            time.sleep(_PAUSE)


def tail(settings: Settings, log: str, count: int) -> list[str]:
    """The last lines of one of this machine's logs, harmless to print. Raises NotFoundError if there is no log yet."""
    path = logs.path_of(settings, log)
    if not logs.pieces(path):
        raise NotFoundError(
            f"There is no {log} log yet.", hint=f"It will be {path}: the host writes it when there is something."
        )
    return [private(text.harmless(line.decode("utf-8", "replace"))) for line in last_lines(path, count)]


def last_lines(path: Path, count: int) -> list[bytes]:
    """The last lines of a log, from its older files too where the newest has fewer."""
    lines: list[bytes] = []
    for piece in logs.pieces(path):
        missing = count - len(lines)
        if missing <= 0:
            break
        lines[:0] = _tail(piece, missing)
    return lines


class Follower:
    """Reads what is appended to a log from now on; follows it when it is renamed, or not there yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("rb") if path.exists() else None
        self._rest = b""
        if self._file:
            self._file.seek(0, os.SEEK_END)

    def close(self) -> None:
        """Let go of the file."""
        if self._file:
            self._file.close()

    def new(self) -> Iterator[bytes]:
        """The whole lines that have come since the last call."""
        while True:
            renamed = self._renamed()
            if self._file:
                # Read after the look: the host writes nothing more to a file that was renamed by then.
                *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
                yield from lines
            if not renamed:
                return
            self.close()
            if self._rest:
                yield self._rest
            self._file, self._rest = self._path.open("rb"), b""

    def _renamed(self) -> bool:
        try:
            there = self._path.stat()
        except OSError:
            return False
        return self._file is None or not os.path.samestat(os.fstat(self._file.fileno()), there)


def _tail(path: Path, count: int) -> list[bytes]:
    with path.open("rb") as file:
        start = file.seek(0, os.SEEK_END)
        read = b""
        # One more line's end than lines: the first may be cut.
        while start > 0 and read.count(b"\n") <= count:
            step = min(_BLOCK, start)
            start -= step
            file.seek(start)
            read = file.read(step) + read
    return read.splitlines()[-count:]


def _print(lines: Iterable[bytes]) -> None:
    for line in lines:
        print(text.harmless(line.decode("utf-8", "replace")), flush=True)
