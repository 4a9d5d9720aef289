"""Environments of their own for programs that are only used in tests: made once, from the user's own package index."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

from filelock import FileLock
from support_models import kept_folder


def environment(*packages: str) -> Path:
    """The folder of the executables of an environment with these packages.

    It is kept in the folder that ILLAMA_TEST_CACHE names, or made anew for each run.
    """
    what = hashlib.sha256(" ".join([sys.version, *sorted(packages)]).encode()).hexdigest()[:12]
    folder = kept_folder() / "environments" / what
    binaries = folder / ("Scripts" if os.name == "nt" else "bin")
    done = folder / "complete"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not done.exists():
            venv.create(folder, with_pip=True, clear=True)
            command = [binaries / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
            subprocess.run(command, check=True)
            done.touch()
    return binaries
