"""Environments of their own for programs that are only used in tests: made once, from the user's own package index."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path


def environment(*packages: str) -> Path:
    """The folder of the executables of an environment with these packages.

    It is kept in the folder that ILLAMA_TEST_CACHE names, or made anew for each run.
    """
    kept = os.environ.get("ILLAMA_TEST_CACHE")
    what = hashlib.sha256(" ".join([sys.version, *sorted(packages)]).encode()).hexdigest()[:12]
    folder = Path(kept or tempfile.mkdtemp(prefix="illama-env-")) / "environments" / what
    binaries = folder / ("Scripts" if os.name == "nt" else "bin")
    done = folder / "complete"
    if not done.exists():
        venv.create(folder, with_pip=True, clear=True)
        command = [binaries / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
        subprocess.run(command, check=True)
        done.touch()
    return binaries
