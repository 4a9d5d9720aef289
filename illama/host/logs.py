"""The log files: `host.log`, which the host writes, and `engine.log` and `pull.log`, to which its children append.

Knows: where they are, who may read them, when one is full, how an event becomes one line. Does not know: what is
logged. No prompt, answer or key is ever given to a logger.

A file that has reached `LIMIT` is renamed to `NAME.1`, that to `NAME.2`, and so on; `KEEP` files in all. A child's log
is renamed before the next child opens it; a child that still runs goes on in the file that it has.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from io import TextIOWrapper
from pathlib import Path

from illama.config import Settings

NAMES = ("host", "engine", "pull")
LIMIT = 2 * 2**20
KEEP = 5

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# A line's end would make one event look like two, and other controls are what a terminal obeys.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) != "\t"}
_CONTROLS[ord("\n")] = "\\n"


def path_of(settings: Settings, name: str) -> Path:
    """The file of one of `NAMES`."""
    return settings.log_dir / f"{name}.log"


def pieces(path: Path) -> list[Path]:
    """A log's files that are there, the newest first."""
    return [each for each in (path, *(_older(path, number) for number in range(1, KEEP))) if each.exists()]


def rotate(path: Path, limit: int = LIMIT) -> bool:
    """Rename a log that has reached its limit; whether it was. One that cannot be renamed goes on to grow."""
    try:
        if path.stat().st_size < limit:
            return False
        for number in range(KEEP - 1, 1, -1):
            with suppress(FileNotFoundError):
                _older(path, number - 1).replace(_older(path, number))
        path.replace(_older(path, 1))
    except OSError:
        return False  # not there yet; or, on Windows, open in another process
    return True


@contextmanager
def child_log(settings: Settings, name: str) -> Iterator[int]:
    """A descriptor for a child's standard error, which appends to its log. Raises OSError if there can be none."""
    path = path_of(settings, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    rotate(path)
    descriptor = _open_private(str(path), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def configure(settings: Settings, limit: int = LIMIT) -> None:
    """Let this process, the host, log to `host.log`, and to its standard error where that is a different place.

    Call it once. A log folder that cannot be written is no reason not to serve: then there is standard error alone.
    """
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    path = path_of(settings, "host")
    handlers: list[logging.Handler] = []
    problem: OSError | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(LogFile(path, limit))
    except OSError as error:
        problem = error
    if sys.stderr is not None and not (handlers and _is_open_at(2, path)):
        handlers.append(logging.StreamHandler(sys.stderr))
    one_line = OneLine(_FORMAT)
    for handler in handlers:
        handler.setFormatter(one_line)
        root.addHandler(handler)
    # What no line shows is not looked up for each: the place in the code, the thread, the process.
    logging._srcfile = None  # noqa: SLF001 - so Python's logging guide has it
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    if problem:
        root.warning("there is no log file: %s", problem)


class OneLine(logging.Formatter):
    """One line for an event, its traceback too; the time is local, with its zone."""

    _second: tuple[int, str, str] = (-1, "", "")  # the latest one that was asked for, up to its dot; and the zone
    _line: tuple[logging.LogRecord | None, str] = (None, "")  # the latest event's, for several handlers

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        of, line = self._line
        if of is not record:
            line = super().format(record)
            line = line if line.isprintable() else line.translate(_CONTROLS)
            self._line = (record, line)
        return line

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's name
        """ISO 8601."""
        whole = int(record.created)
        second, upto, zone = self._second
        if second != whole:
            upto, _, zone = datetime.fromtimestamp(whole).astimezone().isoformat(timespec="milliseconds").partition(".")
            zone = zone[3:]
            self._second = (whole, upto, zone)
        return f"{upto}.{int(record.created % 1 * 1000):03d}{zone}"


class LogFile(logging.FileHandler):
    """`host.log`, for its owner alone, renamed when it is full.

    A detached host's standard output and error are this very file, as its starter opened it, for what Python and native
    libraries have to say at a crash. They follow when the file is renamed.
    """

    def __init__(self, path: Path, limit: int = LIMIT) -> None:
        self._path = path
        self._limit = limit
        super().__init__(path, encoding="utf-8")

    def _open(self) -> TextIOWrapper:
        return open(self._path, "a", encoding="utf-8", errors="backslashreplace", opener=_open_private)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one event."""
        try:
            if self.stream and os.fstat(self.stream.fileno()).st_size >= self._limit:
                self._turn_over()
        except OSError:
            self.handleError(record)
        super().emit(record)

    def _turn_over(self) -> None:
        followers = [descriptor for descriptor in (1, 2) if _is_open_at(descriptor, self._path)]
        if rotate(self._path, self._limit):
            fresh = self._open()
            if self.stream:
                self.stream.close()
            self.stream = fresh
            for descriptor in followers:
                os.dup2(fresh.fileno(), descriptor)


def _older(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _is_open_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False
