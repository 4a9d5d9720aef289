"""The plan of a model that comes from a hub.

Knows: the order in which a repository is asked, chosen from, fetched and made a model. Does not know: HTTP, registries.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from illama.errors import PullError
from illama.pull import checkpoint, converting, export, gguf, local, pooling, recipes, selection, transfer
from illama.pull.files import alone, need_space
from illama.pull.hub import Hub, Listing, RemoteFile, look
from illama.pull.plan import TOKENIZER_SPACE, Plan, Wishes, from_gguf
from illama.pull.progress import Progress
from illama.pull.repos import HubRepo
from illama.pull.selection import Selection
from illama.registry import workspace

_CONFIG = "openvino_config.json"
_MAX_GRAPH = 64 << 20


def plan(wanted: HubRepo, wishes: Wishes, progress: Progress) -> Plan:
    """Ask the hub what a repository is, choose what is needed of it, and say how to make a model of that.

    Raises PullError; then nothing was fetched but some small files.
    """
    hub = Hub(wishes.settings.hf_endpoint, wishes.token)
    listing = look(hub, wanted)
    chosen = selection.select(listing, wanted)
    downloads = wishes.settings.cache_dir / "downloads"
    there = _There(hub, listing, downloads, progress)
    if chosen is None:
        return _plan_checkpoint(there, wanted, wishes, progress)
    folder = there.folder
    quant = chosen.quant.lower() if chosen.quant else None
    name = selection.base_name(listing, chosen)
    one_disk = _same_disk(downloads, wishes.settings.registry_dir)

    def make(staged: Path) -> Mapping[str, Any]:
        made = chosen.size + TOKENIZER_SPACE if one_disk and not chosen.ir else 0
        there.need_space(chosen.files, made)
        there.get([*chosen.files, *chosen.small])
        told = _from_ir(there, chosen, staged, progress) if chosen.ir else _from_file(staged)
        return {**told, "licence": listing.licence or told.get("licence")}

    def _from_file(staged: Path) -> dict[str, Any]:
        file = folder / chosen.weights.local
        with _judged(listing.repo, folder):
            facts = gguf.read_header(file)
        return from_gguf(file, facts, name, staged, wishes.device, wishes.settings, progress)

    weights = chosen.weights
    source = {"kind": "hub", "repo": listing.repo, "revision": listing.commit, "sha256": weights.sha256}
    return Plan(
        base=name,
        digest=str(weights.sha256),
        weight_format=_weight_format(there, chosen.weights) if chosen.ir else quant,
        source={**source, **({} if chosen.ir else {"file": weights.name})},
        # On one disk, the files of an IR folder get a second name and no second place.
        space=0 if one_disk else chosen.size + TOKENIZER_SPACE,
        make=make,
        aliases=_aliases(wanted, listing, chosen),
        repo=listing.repo,
        alone=there.alone,
        done=partial(workspace.delete, folder),
    )


def _plan_checkpoint(there: _There, wanted: HubRepo, wishes: Wishes, progress: Progress) -> Plan:
    listing = there.listing
    if wanted.quant:
        wishes = replace(wishes, weight_format=wanted.quant.lower())
    names = {file.name: file.size for file in listing.files}
    small = [file for file in listing.files if file.name in checkpoint.first(names)]
    with there.alone():
        there.get(small)

    def load(name: str) -> Any:
        file = listing.named(name)
        return local.load(there.folder, file.local) if file in small and file else {}

    try:
        found = checkpoint.read(listing.repo, names, load, trusted=wishes.trust_remote_code)
    except PullError:
        workspace.delete(there.folder)
        raise
    files = [file for file in listing.files if file.name in found.files]
    hashes = {file.name: str(file.sha256) for file in files if file.name in found.weights}
    if "None" in hashes.values():
        raise selection.unusable(listing, "the hub gives no checksum of its weights", "Use another repository.")
    conversion = converting.prepare(found, listing.repo, listing.repo, wishes)

    def locate(name: str) -> Path:
        file = listing.named(name)
        assert file is not None, "the checkpoint's files are the repository's"
        return there.folder / file.local

    def make(staged: Path) -> Mapping[str, Any]:
        there.need_space(files, export.disk_needed(found, conversion.weight_format) if one_disk else 0)
        there.get(files)
        return {**conversion.run(locate, staged, progress), "licence": listing.licence}

    digest = converting.digest(hashes)
    one_disk = _same_disk(there.downloads, wishes.settings.registry_dir)
    return Plan(
        base=selection.base_name(listing, None),
        digest=digest,
        weight_format=conversion.weight_format,
        source={
            "kind": "hub",
            "repo": listing.repo,
            "revision": listing.commit,
            "sha256": digest,
            "files": hashes,
        },
        space=0,  # the conversion looks for itself
        make=make,
        aliases=(listing.repo, f"{listing.repo}:{conversion.weight_format}"),
        repo=listing.repo,
        converts=True,
        alone=there.alone,
        done=partial(workspace.delete, there.folder),
    )


class _There:
    """A repository, and the folder into which its files are fetched."""

    def __init__(self, hub: Hub, listing: Listing, downloads: Path, progress: Progress) -> None:
        self.listing = listing
        self.downloads = downloads
        key = f"{listing.repo.replace('/', '--')}--{listing.commit}"
        self.folder = downloads / key
        self.alone = partial(alone, downloads / f".{key}.lock", listing.repo, progress)
        self._hub = hub
        self._progress = progress

    def get(self, files: Sequence[RemoteFile]) -> None:
        """Fetch files that are not there yet. Hold `alone`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        transfer.fetch(self._hub, self.listing, files, self.folder, self._progress)

    def need_space(self, files: Sequence[RemoteFile], more: int) -> None:
        """Raise PullError if the disk has no room for what is missing of these files, and `more` bytes."""
        size = transfer.missing(files, self.folder) + more
        need_space(self.downloads, size, f"The download of {self.listing.repo}")


@contextmanager
def _judged(repo: str, folder: Path) -> Iterator[None]:
    """What came whole and still is no model never will be one: it is not kept."""
    try:
        yield
    except PullError as problem:
        workspace.delete(folder)
        message = problem.message.replace(str(folder), repo)
        raise PullError(message, hint="Use another repository of that model.", status=problem.status) from problem


def _from_ir(there: _There, chosen: Selection, staged: Path, progress: Progress) -> dict[str, Any]:
    repo, folder = there.listing.repo, there.folder
    with _judged(repo, folder):
        facts = local.read(folder)
        options = facts.options
        if facts.task == "embedding":
            known = {file.name: file.local for file in chosen.small}
            options = pooling.of(repo, lambda name: local.load(folder, known[name]) if name in known else {})
    local.stage(folder, facts, staged, progress, name=repo)
    return {
        "task": facts.task,
        "options": options,
        "architecture": facts.architecture,
        "context_length": facts.context_length,
        "chat_template": facts.chat_template,
        "recipe": {"name": recipes.GIVEN.name, **facts.versions},
    }


def _weight_format(there: _There, weights: RemoteFile) -> str | None:
    """What the repository says about its weights, which the model's name may depend on: one small file."""
    file = there.listing.named(_CONFIG) or there.listing.named(f"{weights.name.removesuffix('.bin')}.xml")
    if file is None or file.size > _MAX_GRAPH:
        return None
    with there.alone():
        there.get([file])
        data = (there.folder / file.local).read_bytes()
    if file.name != _CONFIG:
        return local.compressed(data)
    try:
        return local.weight_format(json.loads(data))
    except (ValueError, RecursionError):
        return None


def _aliases(wanted: HubRepo, listing: Listing, chosen: Selection) -> tuple[str, ...]:
    # Where a repository has several models, only the name with the quantization means this one.
    full = (listing.repo,) if chosen.ir or chosen.alone else ()
    if not chosen.ir and chosen.quant:
        full = (*full, f"{listing.repo}:{chosen.quant}")
    return (*full, *wanted.aliases)


def _same_disk(one: Path, other: Path) -> bool:
    devices = [next(each for each in (path, *path.parents) if each.exists()).stat().st_dev for path in (one, other)]
    return devices[0] == devices[1]
