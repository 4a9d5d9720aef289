"""The notebooks run from top to bottom, with the real small model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support_kernels import ROOT, end_host, environment
from support_models import real_model_cache

# What a notebook needs beside illama and its tests' own packages.
NEEDS = {"04_structured_output": ("pandas", "matplotlib")}


@pytest.mark.slow
@pytest.mark.parametrize("notebook", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.name)
def test_a_notebook_runs(notebook: Path, home: Path):
    for package in NEEDS.get(notebook.stem, ()):
        pytest.importorskip(package)
    kept = real_model_cache()
    env = environment(
        home,
        ILLAMA_REGISTRY_DIR=str(kept / "registry"),
        ILLAMA_CACHE_DIR=str(kept / "cache"),
        ILLAMA_STREAM="0",
    )
    # Its own configuration: ours makes errors of warnings, and here those of other packages would count too.
    options = [
        "--nbval-lax",
        "--nbval-cell-timeout=200",
        "-p",
        "no:cacheprovider",
        "-c",
        os.devnull,
        "--rootdir",
        str(ROOT),
    ]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *options, str(notebook)],
            env=env,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        end_host(env)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
