"""Starts a program that outlives whoever asked for it: a process of its own that prints the program's pid and ends.

Why not directly: what a kernel starts dies with it. On POSIX a new session saves it from the kernel's signals; on
Windows a kernel's shutdown ends all of its descendants, so the parent in between has to be gone.

Knows: processes of this system. Does not know: illama. It is run by path, isolated and without `site`, on the standard
library alone, because everybody waits for it: `python -I -S launcher.py LOG FOLDER PROGRAM ARGUMENT…`.
"""

from __future__ import annotations

import os
import subprocess
import sys


def launch(log: str, folder: str, command: list[str]) -> int:
    """Start `command` detached, in `folder`, its output appended to the file `log`. Returns its pid."""
    attempts = [0]
    if sys.platform == "win32":
        detached = subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP
        # Some jobs forbid to break away from them: then being detached has to do.
        attempts = [detached | subprocess.CREATE_BREAKAWAY_FROM_JOB, detached]
    # Created 0600: a log may quote a path or a name that is nobody else's business.
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        while True:
            flags = attempts.pop(0)
            try:
                return subprocess.Popen(
                    command,
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=os.name == "posix",
                    creationflags=flags,
                ).pid
            except PermissionError:
                if not attempts:
                    raise
    finally:
        os.close(output)


if __name__ == "__main__":
    sys.stdout.write(f"{launch(sys.argv[1], sys.argv[2], sys.argv[3:])}\n")
    sys.stdout.flush()
    # Popen's finaliser would warn about a child that still runs: that it runs on is the purpose.
    os._exit(0)
