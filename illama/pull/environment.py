"""The interpreter that converts checkpoints: found, or made with an environment of its own.

Knows: which packages a conversion needs, pip, virtual environments. Does not know: models, or how one is converted.

The user's own packages are never touched: what optimum-intel pins fights with them, and brings gigabytes. The
environment is put together aside and gets its place by one rename when it has shown that it works, so whatever is in
its place is whole; two pulls at once make one.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import secrets
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from illama.config import Settings
from illama.errors import ConverterNeededError, PullError
from illama.pull import children, failures, journal
from illama.pull.files import alone, need_space
from illama.pull.progress import Progress
from illama.registry import atomic, workspace

# Tried together. torch 2.13 of PyPI is a CUDA build on Linux, hence the try of PyTorch's own index before.
TORCH = ("torch==2.13.*", "torchvision==0.28.*")
PACKAGES = (
    "optimum-intel==2.2.0",
    "nncf==3.4.0",
    "openvino==2026.4.1",
    "openvino-tokenizers==2026.4.1.0",
    "transformers==5.5.4",
    "pillow",  # vision-language models' processors
    "sentencepiece",  # tokenizers that come without a tokenizer.json, in one of these three forms
    "tiktoken",
    "protobuf",
)
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
# What a conversion imports, by the names of the packages: an interpreter that has these can convert.
NEEDED = ("optimum-intel", "nncf", "openvino", "openvino-tokenizers", "torch", "transformers")
_MIN_OPTIMUM_INTEL = 2
SIZE = 3_000_000_000  # bytes, with what pip unpacks meanwhile; measured 1.7 GB with a CPU build of torch
_READY = "ready.json"
_PHASE = "environment"

# Runs pip in the environment's interpreter, without being installed there: its own runner is made for that. It ends
# with its stdin, so that an install whose pull was killed does not go on.
_PIP = """
import os, runpy, sys, threading
def watch():
    while os.read(0, 4096):
        pass
    os._exit(1)
threading.Thread(target=watch, daemon=True).start()
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
_VERSIONS = f"""
import importlib.metadata as metadata, json
found = {{}}
for name in {NEEDED!r}:
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""
_TRY = "import nncf, openvino, openvino_tokenizers, torch, transformers, optimum.exporters.openvino, optimum.intel"
# Settings of the user's pip or Python that would put packages elsewhere, or let others in.
_HIDDEN: tuple[str, ...] = ("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_REQUIRE_VIRTUALENV", "PIP_PYTHON")
_HIDDEN += ("PYTHONPATH", "PYTHONHOME", "HF_TOKEN", "ILLAMA_API_KEY")


@dataclass(frozen=True)
class Converter:
    """An interpreter that can convert; `own` says that its environment was made by illama, for this alone."""

    python: Path
    own: bool


def place(settings: Settings) -> Path:
    """Where the environment of these very versions is, or would be."""
    key = hashlib.sha256("\n".join((*TORCH, *PACKAGES)).encode()).hexdigest()[:12]
    return settings.converter_dir / f"{PACKAGES[0].replace('==', '-')}-{key}"


def find(settings: Settings) -> Converter | None:
    """The interpreter that is to convert, or None if its environment has to be made first.

    Raises PullError if ILLAMA_CONVERTER_PYTHON names one that cannot.
    """
    if settings.converter_python:
        return _named(settings.converter_python)
    if _can_convert({name: _version(name) for name in NEEDED}):
        return Converter(Path(sys.executable), own=False)
    folder = place(settings)
    if (folder / _READY).is_file() and _python(folder).exists():
        return Converter(_python(folder), own=True)
    return None


def need(settings: Settings, what: str, *, make: bool) -> None:
    """See that a conversion is possible, or may be made possible, before anything big is fetched for it.

    Raises ConverterNeededError if an environment has to be made and `make` says no, and PullError as `find` does.
    """
    if find(settings) is None and not make:
        raise ConverterNeededError(
            f"{what} is a checkpoint, and nothing that can convert one is there yet.",
            hint="Pull it again with --yes: illama then makes an environment of its own for that, once, in "
            f"{settings.converter_dir} (about 2 GB, some minutes; your packages stay as they are). Or set "
            "ILLAMA_CONVERTER_PYTHON to an interpreter that has optimum-intel.",
        )


def ensure(settings: Settings, progress: Progress) -> Converter:
    """The interpreter that is to convert, its environment made if need be.

    Raises PullError, which names the full log, and CancelledError; then there is no half-made environment.
    """
    found = find(settings)
    if found is not None:
        return found
    folder = place(settings)
    with alone(folder.with_name(f".{folder.name}.lock"), "the converter's packages", progress):
        found = find(settings)  # another pull may just have made it
        return found if found is not None else _make(folder, settings, progress)


def environ() -> dict[str, str]:
    """The environment variables of a process in an environment of its own."""
    return {key: value for key, value in os.environ.items() if key not in _HIDDEN}


def _named(python: Path) -> Converter:
    what = f"ILLAMA_CONVERTER_PYTHON, {python},"
    hint = "Set it to an interpreter that has optimum-intel with OpenVINO, or unset it for one that illama makes."
    try:
        done = children.run([str(python), "-c", _VERSIONS], tick=lambda: None, cwd=Path.home())
        found = json.loads(done.output.strip().rpartition("\n")[2])
    except OSError as problem:
        raise PullError(f"{what} cannot be started: {problem.strerror}.", hint=hint) from problem
    except ValueError as problem:
        raise PullError(f"{what} is no Python that works.", hint=hint) from problem
    lacking = [name for name in NEEDED if name not in found]
    if lacking:
        raise PullError(f"{what} has no {', '.join(lacking)}.", hint=hint)
    return Converter(python, own=False)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _can_convert(found: dict[str, str | None]) -> bool:
    optimum = found["optimum-intel"] or "0"
    return all(found.values()) and int(optimum.partition(".")[0]) >= _MIN_OPTIMUM_INTEL


def _python(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _make(folder: Path, settings: Settings, progress: Progress) -> Converter:
    need_space(settings.converter_dir, SIZE, "The converter's environment")
    for leftover in settings.converter_dir.glob(".building-*"):
        workspace.delete(leftover)
    # A name of its own: what a killed pull's pip might still write cannot get into this one.
    building = settings.converter_dir / f".building-{secrets.token_hex(4)}"
    log = journal.fresh(settings, "converter")
    try:
        build = _Build(building, log, progress)
        build.run("making an environment for the converter", [sys.executable, "-m", "venv", "--without-pip", building])
        build.torch()
        build.pip("installing optimum-intel for the converter", *PACKAGES)
        build.without_broken_torchvision()
        build.run("trying the converter", [_python(building), "-c", _TRY])
        versions = build.run("trying the converter", [_python(building), "-c", _VERSIONS])
        atomic.write(building / _READY, versions.strip().rpartition("\n")[2].encode())
        workspace.delete(folder)  # one that lost its interpreter, for instance
        building.rename(folder)
        atomic.sync_folder(folder.parent)
    finally:
        workspace.delete(building)
    return Converter(_python(folder), own=True)


class _Build:
    """The steps of making an environment, each with its progress, its output in the log and its errors explained."""

    def __init__(self, folder: Path, log: Path, progress: Progress) -> None:
        self._folder, self._log, self._progress = folder, log, progress
        self._constraints: list[str] = []

    def run(self, status: str, command: list[str | Path]) -> str:
        """Run a command to its end; its output. Raises PullError."""
        done = self._try(status, command)
        if done.code != 0:
            raise failures.of_environment(done, self._log)
        return done.output

    def pip(self, status: str, *packages: str, options: tuple[str, ...] = ()) -> None:
        """Install packages. Raises PullError."""
        self.run(status, self._pip("install", *options, *self._constraints, *packages))

    def torch(self) -> None:
        """Install torch: a CPU build from PyTorch's own index where it can be reached, else as pip is set up."""
        status = "installing PyTorch for the converter"
        if sys.platform == "linux" and platform.machine() == "x86_64":  # elsewhere PyPI's own build is for CPUs
            quick = ("--index-url", CPU_INDEX, "--timeout", "5", "--retries", "0")
            if self._try(status, self._pip("install", *quick, *TORCH)).code == 0:
                self._keep_torch()
                return
        self.pip(status, TORCH[0])
        self._keep_torch()

    def _keep_torch(self) -> None:
        # Else the next call of pip might put another build in its place.
        found = self.run("looking at PyTorch", [_python(self._folder), "-c", _VERSIONS])
        version = json.loads(found.strip().rpartition("\n")[2])["torch"]
        file = self._folder / "constraints.txt"
        file.write_text(f"torch=={version}\n", encoding="utf-8")
        self._constraints = ["--constraint", str(file)]

    def without_broken_torchvision(self) -> None:
        """A torchvision of another build than torch breaks every import of it; without one, all that is here works."""
        if self._try("looking at torchvision", [_python(self._folder), "-c", "import torchvision"]).code != 0:
            self.run("removing torchvision", self._pip("uninstall", "--yes", "torchvision"))

    def _pip(self, verb: str, *arguments: str) -> list[str | Path]:
        spec = importlib.util.find_spec("pip")
        if spec is None or spec.origin is None:
            raise PullError(
                f"pip, which makes the converter's environment, is missing in {sys.executable}.",
                hint=f"Run `{sys.executable} -m ensurepip`, or install pip there, and pull again.",
            )
        runner = Path(spec.origin).with_name("__pip-runner__.py")
        options = ["--no-input", "--progress-bar=off", "--only-binary=:all:"] if verb == "install" else []
        return [_python(self._folder), "-c", _PIP, runner, verb, "--disable-pip-version-check", *options, *arguments]

    def _try(self, status: str, command: list[str | Path]) -> children.Finished:
        def tick() -> None:
            self._progress.report(_PHASE, status)

        tick()
        words = [str(word) for word in command]
        try:
            return children.run(words, tick=tick, cwd=self._log.parent, env=environ(), log=self._log)
        except OSError as problem:
            raise PullError(f"{words[0]} cannot be started: {problem.strerror}.", hint="Pull again.") from problem
