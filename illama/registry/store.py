"""The registry: one folder with a folder for each model, and `index.json`, which is derived from these.

Knows: what is on disk, what is whole, who may write when. Does not know: how a model is fetched, made or run.

The models' folders, each with its own `illama.json`, are the truth; the index only makes listing fast. Whatever moment
a process is killed at, a folder is either among the models or not, and the index is brought in line by the next reader
or writer. Readers never wait: they take no lock, and the index is always whole. Writers hold `index.json.lock`.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from illama.errors import BrokenModelError, ModelExistsError, RegistryError
from illama.registry import atomic, names, workspace
from illama.registry.entry import Entry
from illama.registry.view import View

INDEX, METADATA, VERSION = "index.json", "illama.json", 1
LOCK_WAIT_SEC = 30.0


class _State(NamedTuple):
    models: dict[str, Entry]
    stale: bool  # the index should be written again
    broken: bool  # there is an index, and it cannot be used


class Registry:
    """The models in one folder, which is made when it is first written to.

    One object may be used from many threads, and many processes may share the folder.

    >>> Registry(Path("/nowhere/at/all")).entries()
    []
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._watched = (root / INDEX, root)
        self._seen: tuple[object, View] | None = None

    def entries(self) -> list[Entry]:
        """All models, by name. Cheap while nothing has changed on disk. Raises RegistryError if it cannot be read."""
        return list(self._view().entries)

    def token(self) -> str:
        """A short word that changes whenever the registry does, by whomever; it costs two looks at the disk."""
        return hashlib.sha256(repr(self._signature()).encode()).hexdigest()[:16]

    def get(self, name: str) -> Entry:
        """The model of that name: exactly, else as an alias, else in any case of letters.

        Raises ModelNotFoundError, whose hint has the nearest names.
        """
        return self._view().get(name)

    def folder(self, entry: Entry) -> Path:
        """Where a model's files lie. Raises InvalidNameError for an entry that no registry made."""
        return self.root / names.folder_name(entry.name)

    def check(self, entry: Entry) -> Path:
        """The model's folder, after seeing that every file is there with its size.

        Raises BrokenModelError, which names the file.
        """
        folder = self.folder(entry)
        for path, size in entry.files.items():
            file = folder / path
            try:
                if not workspace.is_regular(file):
                    raise _broken(entry, f"{file} is not a plain file")
                found = file.stat().st_size
            except OSError as problem:
                raise _broken(entry, f"{file} is missing ({problem.strerror})") from problem
            if found != size:
                raise _broken(entry, f"{file} has {found} bytes and should have {size}")
        if not entry.files:
            raise _broken(entry, f"{folder / METADATA} lists no files")
        return folder

    def staging(self) -> Path:
        """A fresh folder of this process, in which a model can be put together: `add` it, or `discard` it.

        It lies on the models' filesystem but not among them. Raises RegistryError if the registry cannot be written,
        so that this comes out before a long download and not after it.
        """
        with self._writing():
            return workspace.open_staging(self.root)

    def discard(self, staged: Path) -> None:
        """Delete a staging folder, if it is still there."""
        workspace.close_staging(staged)

    def add(self, entry: Entry, staged: Path) -> Entry:
        """Make the staged folder a model, in one step. Returns the entry with its files and its size in bytes.

        Raises ModelExistsError, and leaves the staged folder as it is, if the name or the folder is taken, and
        RegistryError if it cannot be written.
        """
        names.validate(entry.name)
        with self._explained():
            files = workspace.measured(staged, but=METADATA)
            entry = replace(entry, files=files, size=sum(files.values()))
            # A power cut must not leave a model whose name has reached the disk and whose content has not.
            for path in files:
                atomic.sync_file(staged / path)
            atomic.write(staged / METADATA, _dump({"version": VERSION, **entry.to_json()}))
        with self._writing() as models:
            View(models.values()).refuse_taken(entry.name)
            target = self.folder(entry)
            if os.path.lexists(target):
                raise ModelExistsError(
                    f"{target} is already there, although it is no model of this registry.",
                    hint="Move that folder away, or choose another name with --name.",
                )
            staged.rename(target)
            models[entry.name] = entry
            try:
                atomic.sync_folder(self.root)
                self._save(models)
            except OSError:
                target.rename(staged)
                raise
        self.discard(staged)
        return entry

    def remove(self, name: str) -> tuple[Entry, int]:
        """Delete a model's files. Returns its entry and the bytes that came free.

        The model is gone in one step; a crash while its files are deleted leaves work for the next writer and nothing
        half-listed. Raises ModelNotFoundError, and RegistryError if it cannot be written.
        """
        with self._writing() as models:
            entry = View(models.values()).get(name)
            folder = self.folder(entry)
            freed = workspace.freed_by_deleting(folder)
            workspace.into_trash(self.root, folder)
            del models[entry.name]
            # A full disk must not keep anyone from making room: the next reader writes the index instead.
            with suppress(OSError):
                self._save(models)
        return entry, freed

    def update(self, name: str, change: Callable[[Entry], Entry]) -> Entry:
        """Replace what is recorded about a model by what `change` makes of it; its name stays.

        Files that `change` lists besides must be in the folder; those that it no longer lists are deleted. A crash
        leaves the old record or the new one. Raises ModelNotFoundError, what `change` raises, RegistryError.
        """
        with self._writing() as models:
            entry = View(models.values()).get(name)
            new = replace(change(entry), name=entry.name)
            if new.files != entry.files:
                new = replace(new, size=sum(new.files.values()))
            # The folder's own file is the truth: without an index, the next reader makes a new one from it.
            (self.root / INDEX).unlink(missing_ok=True)
            atomic.write(self.folder(entry) / METADATA, _dump({"version": VERSION, **new.to_json()}))
            models[entry.name] = new
            self._save(models)
            for path in entry.files.keys() - new.files.keys():
                with suppress(OSError):  # an open file on Windows goes with the model
                    (self.folder(entry) / path).unlink()
        return new

    def copy(self, source: str, destination: str) -> Entry:
        """Make a second model of the same files, with hard links where possible. Aliases stay with the first.

        Raises ModelNotFoundError, ModelExistsError, InvalidNameError, BrokenModelError and RegistryError.
        """
        entry = self.get(source)
        view = self._view()
        if view.holder(names.validate(destination)) == entry:
            raise ModelExistsError(f"{destination} is {entry.name} itself.", hint="Give the copy a name of its own.")
        view.refuse_taken(destination)
        folder = self.check(entry)
        staged = self.staging()
        try:
            with self._explained():
                for path in entry.files:
                    (staged / path).parent.mkdir(parents=True, exist_ok=True)
                    workspace.link_or_copy(folder / path, staged / path)
            created = datetime.now(timezone.utc).isoformat(timespec="seconds")
            return self.add(replace(entry, name=destination, aliases=(), created=created), staged)
        finally:
            self.discard(staged)

    def abandoned(self) -> list[Path]:
        """What processes that are gone have left of models that they were making."""
        return workspace.abandoned(self.root)

    def trash(self) -> list[Path]:
        """What is left of removed models, for instance because a file was open on Windows."""
        return workspace.trash(self.root)

    def broken_indexes(self) -> list[Path]:
        """Indexes that could not be read, and were set aside for someone to look at."""
        return sorted(self.root.glob(f"{INDEX}.broken-*"))

    def tidy(self) -> None:
        """Delete all of these. Raises RegistryError if the registry cannot be written."""
        with self._writing():
            for path in self.broken_indexes():
                path.unlink(missing_ok=True)

    def free_name(
        self,
        base: str,
        *,
        digest: str,
        weight_format: str | None = None,
        repo: str | None = None,
        fixed: bool = False,
    ) -> tuple[str, Entry | None]:
        """The name that a new model gets: the first free one, or the entry that is this very model already.

        The bare name stays with the first: another weight format of it is `Phi-4:int8`, and another organisation's
        model of that name gets its organisation (the front part of `repo`) in front. `fixed`: this name or none.
        Raises ModelExistsError if there is no name left.
        """
        view = self._view()
        organisation = repo.partition("/")[0] if repo and "/" in repo else None
        tries = [(base, False)] if fixed else names.candidates(base, weight_format, organisation)
        for name, marked in tries:
            holder = view.holder(name)
            if holder is None:
                theirs = view.organisation(base)
                if marked or name == base or theirs is None or organisation is None or theirs == organisation:
                    return name, None
            elif (holder.digest, holder.weight_format) == (digest, weight_format):
                return holder.name, holder
        view.refuse_taken(base)
        raise AssertionError("the base is always tried, so it is taken")

    # How the disk is read.

    def _view(self) -> View:
        signature = self._signature()
        seen = self._seen
        if seen is None or seen[0] != signature:
            state = self._load()
            if state.stale:
                self._heal()
            self._seen = seen = (signature, View(state.models.values()))
        return seen[1]

    def _signature(self) -> object:
        # The folder's own time changes when a model's folder comes or goes, even by hand.
        index, folder = self._watched
        return _stamp(index), _stamp(folder)

    def _load(self) -> _State:
        """The models as the folders and the index together tell them."""
        with self._explained():
            try:
                folders = {
                    each.name
                    for each in os.scandir(self.root)
                    if not each.name.startswith(".") and each.is_dir(follow_symlinks=False)
                }
            except FileNotFoundError:
                return _State({}, stale=False, broken=False)
            indexed, broken = self._read_index()
        homes = {names.folder_name(name): entry for name, entry in indexed.items()}
        models = {entry.name: entry for folder, entry in homes.items() if folder in folders}
        for folder in folders - homes.keys():
            entry = self._read_metadata(folder)
            if entry is not None:
                models[entry.name] = entry
        return _State(models, stale=broken or models.keys() != indexed.keys(), broken=broken)

    def _read_index(self) -> tuple[dict[str, Entry], bool]:
        """The index's models, and whether there is an index that is broken or of another version."""
        try:
            data = msgspec.json.decode((self.root / INDEX).read_bytes())
            if data["version"] != VERSION:
                return {}, True
            entries = [Entry.from_json(each) for each in data["models"].values()]
        except FileNotFoundError:
            return {}, False
        except (IsADirectoryError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return {}, True
        return {entry.name: entry for entry in entries}, False

    def _read_metadata(self, folder: str) -> Entry | None:
        """The model in a folder, or None: then it is left alone, whatever it is."""
        name = names.from_folder(folder)
        try:
            data = msgspec.json.decode((self.root / folder / METADATA).read_bytes())
            entry = Entry.from_json(data) if data["version"] == VERSION else None
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None
        return entry if entry is not None and entry.name == name else None

    # How it is written.

    def _heal(self) -> None:
        """Write the index again, if that can be done at once; a reader neither waits for it nor fails by it."""
        from filelock import FileLock  # here, since who only reads should not wait for its import

        try:
            with FileLock(self.root / f"{INDEX}.lock", timeout=0):
                state = self._load_for_writing()
                if state.stale:
                    self._save(state.models)
        except (OSError, RegistryError):
            return

    @contextmanager
    def _writing(self) -> Iterator[dict[str, Entry]]:
        """Hold the lock, and give the models as they are now."""
        from filelock import FileLock, Timeout

        with self._explained():
            workspace.make_rooms(self.root)
            try:
                with FileLock(self.root / f"{INDEX}.lock", timeout=LOCK_WAIT_SEC):
                    workspace.sweep_staging(self.root)
                    for leftover in self.root.glob(f".{INDEX}.*{atomic.TEMP_SUFFIX}"):
                        leftover.unlink(missing_ok=True)
                    yield self._load_for_writing().models
            except Timeout:
                raise RegistryError(
                    f"Another process has kept the registry {self.root} locked for {LOCK_WAIT_SEC:g} seconds.",
                    hint="Try again; if it stays so, end the illama process that hangs.",
                ) from None
            workspace.empty_trash(self.root)

    def _load_for_writing(self) -> _State:
        """What `_load` gives, with a broken index out of the way, where someone can look at it."""
        state = self._load()
        if state.broken:
            moment = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S%fZ")
            (self.root / INDEX).rename(self.root / f"{INDEX}.broken-{moment}")
        return state

    def _save(self, models: Mapping[str, Entry]) -> None:
        everything = {name: models[name].to_json() for name in sorted(models, key=str.casefold)}
        atomic.write(self.root / INDEX, _dump({"version": VERSION, "models": everything}))

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what the system says into what the user can do."""
        try:
            yield
        except OSError as problem:
            raise self._explanation(problem) from problem

    def _explanation(self, problem: OSError) -> RegistryError:
        reason = problem.strerror or str(problem)
        if problem.errno in {errno.ENOSPC, errno.EDQUOT}:
            return RegistryError(
                f"The disk of the registry {self.root} is full.", hint="Free some space, for instance with illama rm."
            )
        return RegistryError(
            f"The registry {self.root} (owner: {_owner(self.root)}) cannot be used: {reason}.",
            hint=f"Set ILLAMA_REGISTRY_DIR to a folder of your own, or have {_owner(self.root)} give you access.",
        )


def _stamp(path: Path) -> object:
    try:
        status = path.stat()
    except OSError as problem:
        return problem.errno
    return (status.st_mtime_ns, status.st_size, status.st_ino)


def _owner(path: Path) -> str:
    """Who a folder, or the nearest one above it that exists, belongs to."""
    with suppress(OSError, KeyError, NotImplementedError):
        return next(each for each in (path, *path.parents) if os.path.lexists(each)).owner()
    return "its owner"


def _broken(entry: Entry, what: str) -> BrokenModelError:
    return BrokenModelError(
        f"The model {entry.name} is damaged: {what}.",
        hint=f"Remove it with `illama rm {entry.name}` and pull it again.",
    )


def _dump(data: Mapping[str, Any]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(data), indent=1) + b"\n"
