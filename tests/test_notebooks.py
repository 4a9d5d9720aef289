"""The notebooks run from top to bottom, with the real small model."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support_checkpoints import ir, minilm
from support_kernels import ROOT, end_host, environment
from support_models import real_model_cache

from illama.registry import Registry

SMOLLM2 = "SmolLM2-135M-Instruct"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# Keys as illama makes them (the owner's, an inference key), Jupyter's and the hub's tokens.
_SECRET = r"illama-[\w-]{43}|(?<![0-9a-f])[0-9a-f]{48}(?![0-9a-f])|hf_\w{20,}|[?&]token=\w+"
_HOME = r"/home/\w+|/root\b|/Users/\w+|[A-Za-z]:\\\\+Users"
# What a notebook needs beside illama and its tests' own packages.
NEEDS = {
    "04_structured_output": ("pandas", "matplotlib"),
    "05_embeddings_and_search": ("numpy", "pandas", "matplotlib"),
}


def install_minilm(registry: Registry) -> None:
    """Install the embedding model, as its pull from the hub would: the same conversion that other tests use."""
    made = ir(minilm())
    entry = Registry(made.parent).get("model")
    staged = registry.staging()
    shutil.copytree(made, staged, dirs_exist_ok=True, ignore=shutil.ignore_patterns("illama.json"))
    repo = "sentence-transformers/all-MiniLM-L6-v2"
    source = {"kind": "hub", "repo": repo, "sha256": entry.source["sha256"]}
    registry.add(replace(entry, name="all-MiniLM-L6-v2", aliases=(repo,), source=source), staged)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_a_saved_notebook_has_outputs_and_no_key_no_token_and_no_home(notebook: Path):
    text = notebook.read_text()
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    assert any(cell["outputs"] for cell in cells)
    assert [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"] == []
    assert re.findall(_SECRET, text) == []
    assert re.findall(_HOME, text) == []


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs(notebook: Path, home: Path):
    for package in NEEDS.get(notebook.stem, ()):
        pytest.importorskip(package)
    kept = real_model_cache()
    registry = Registry(home / "registry")
    shutil.copytree(kept / "registry" / SMOLLM2, registry.root / SMOLLM2)
    if notebook.stem == "05_embeddings_and_search":
        install_minilm(registry)
    env = environment(
        home,
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
