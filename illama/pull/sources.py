"""What the words after `pull` mean.

Knows: catalogue names, folders, GGUF files, a hub's repositories, installed models. Does not know: what is inside a
file, or how to fetch it.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass, replace
from pathlib import Path

from illama.errors import ModelNotFoundError, PullError
from illama.pull.catalog import CatalogueItem, find, find_on_hub, known_names
from illama.pull.repos import HubRepo, is_address, parse
from illama.registry import Entry, Registry
from illama.registry.names import fold, shown


@dataclass(frozen=True)
class Folder:
    """A local folder that should hold a model in OpenVINO's format, or a checkpoint. The path is absolute."""

    path: Path


@dataclass(frozen=True)
class GgufFile:
    """A local GGUF file. The path is absolute."""

    path: Path


@dataclass(frozen=True)
class Installed:
    """A model of the registry: there is nothing to pull."""

    entry: Entry


Source = CatalogueItem | Folder | GgufFile | HubRepo | Installed


def localize(source: str) -> str:
    """Make a path absolute, so that it means the same in another process's folder. Other sources stay as they are."""
    if find(source) is not None or not _is_path(source):
        return source
    try:
        return str(Path(source).expanduser().absolute())
    except RuntimeError:  # there is no such user
        return str(Path(source).absolute())


def resolve(source: str, registry: Registry, weight_format: str | None = None) -> Source:
    """What to pull: a catalogue's model, a local folder or GGUF file, a hub's repository, or what is installed already.

    Who names a repository and a `weight_format` means the checkpoint there, whatever else is had under that name.
    Raises PullError for a path that leads to nothing usable, and ModelNotFoundError for a name that nobody knows.
    """
    source = source.strip()
    item = find(source)
    named = parse(source) if weight_format not in {None, "auto"} and not _is_path(source) else None
    if named is not None:
        return named
    if item is not None:
        return item
    if _is_path(source):
        return _local(Path(localize(source)))
    try:
        return Installed(registry.get(source))
    except ModelNotFoundError:
        repo = on_hub(source)
        if repo is None:
            raise _unknown(source) from None
        return repo


def on_hub(source: str) -> HubRepo | None:
    """The hub's repository that a source means, or None if it is to be had without a hub. Asks nobody."""
    source = source.strip()
    if find(source) is not None or _is_path(source):
        return None
    item = find_on_hub(source)
    return replace(parse(item.repo) or HubRepo(item.repo), aliases=item.aliases) if item else parse(source)


def canonical(source: str) -> str:
    """One spelling for all names of a source, as far as they can be known to mean the same without asking a hub."""
    source = source.strip()
    item, repo = find(source), on_hub(source)
    if repo and repo.revision == "main":
        repo = replace(repo, revision=None)
    if item or repo:
        return item.name if item else repo.label.lower() if repo else source
    return os.path.realpath(localize(source)) if _is_path(source) else fold(source)


def _is_path(source: str) -> bool:
    if "\0" in source or not source or is_address(source):
        return False
    return (
        source.startswith((".", "~", "/"))
        or (os.sep in source and os.sep != "/")
        or source.lower().endswith(".gguf")
        or Path(source).is_absolute()
        or _exists(Path(source))
    )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # far too long for a path, for instance
        return False


def _local(path: Path) -> Source:
    exists = _exists(path)
    if exists and path.is_dir():
        return Folder(path)
    if exists and path.is_file() and path.suffix.lower() == ".gguf":
        return GgufFile(path)
    if exists:
        raise PullError(
            f"{path} is neither a folder nor a .gguf file.",
            hint="Give a folder with a model in it, or a .gguf file.",
            status=400,
        )
    raise PullError(
        f"There is no {path} on the host's machine.",
        hint="Check the path; a relative one is taken from where the command runs.",
        status=404,
    )


def _unknown(source: str) -> ModelNotFoundError:
    near = difflib.get_close_matches(fold(source)[:200], known_names(), n=3, cutoff=0.5)
    known = f"Did you mean {' or '.join(near)}? " if near else f"Known names: {', '.join(known_names())}. "
    what = f"Nothing is known by the name {shown(source)}."
    return ModelNotFoundError(
        what,
        hint=f"{known}A repository on the hub is pulled as organisation/name, a folder or .gguf file by its path.",
    )
