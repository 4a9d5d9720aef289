"""The processes that a benchmark starts, and the way they are talked to: a line of JSON there, a line of JSON back.

Knows: how they are started, and that none outlives the benchmark. Does not know: what they do.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from illama.errors import EngineError

# Seconds for a process to end by itself when it is told that nothing more will come.
_PATIENCE = 2.0


class Child:
    """A process that answers lines."""

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self._name = name
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - open for as long as the process runs
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=None if env is None else dict(env),
            text=True,
            # An interrupt is for the benchmark, which ends its children itself.
            start_new_session=os.name == "posix",
        )

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def ask(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Send a line and wait for the answer. Raises EngineError if there is none, or it says `error`."""
        assert self._process.stdin is not None, "it was started with a pipe"
        assert self._process.stdout is not None, "it was started with a pipe"
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise EngineError(f"{self._name} has ended: {self._last_words()}", hint="Try again, or leave it out.")
        answer: dict[str, Any] = json.loads(line)
        if answer.get("error"):
            raise EngineError(f"{self._name} failed: {answer['error']}", hint="Try again, or leave it out.")
        return answer

    def close(self) -> None:
        """End it: kindly, and if it is at work, at once."""
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if stream:
                    stream.close()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        finally:
            self._log.close()

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
