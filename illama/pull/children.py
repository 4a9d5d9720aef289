"""Child processes of a pull: started here, watched here, and never left behind.

Knows: starting, waiting, killing, output. Does not know: what a child does.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

POLL_SEC = 0.1


@dataclass(frozen=True)
class Finished:
    """How a child ended: its exit code (negative: the signal), and all that it printed on either stream."""

    code: int
    output: str


def run(
    command: Sequence[str],
    *,
    tick: Callable[[], None],
    cwd: Path,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
) -> Finished:
    """Run a command to its end, calling `tick` every tenth of a second; what `tick` raises kills it and goes on.

    The child's stdin is a pipe that stays open, so a child can see by its end that this process is gone. Its output is
    kept in `log`, if there is one, after what is there. Raises OSError if the command cannot be started.
    """
    # A file, not a pipe: output of any length cannot block the child, and nothing has to be read meanwhile.
    with _output(log) as output:
        start = output.seek(0, os.SEEK_END)
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, cwd=cwd, env=env
        )
        try:
            while True:
                try:
                    code = process.wait(POLL_SEC)
                    break
                except subprocess.TimeoutExpired:
                    tick()
        finally:
            _end(process)
        output.seek(start)
        return Finished(code, output.read().decode("utf-8", "replace"))


def _output(log: Path | None) -> AbstractContextManager[IO[bytes]]:
    return log.open("a+b") if log else tempfile.TemporaryFile()


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        try:
            family = psutil.Process(process.pid).children(recursive=True)
        except psutil.Error:
            family = []
        process.kill()
        for each in family:
            try:
                each.kill()
            except psutil.Error:
                continue
        process.wait()
        psutil.wait_procs(family, timeout=1)
    if process.stdin:
        process.stdin.close()
