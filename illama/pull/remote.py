"""The plan of a model that comes from a hub.

Knows: the order in which a repository is asked, chosen from, fetched and made a model. Does not know: HTTP, registries.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from illama.config import Settings
from illama.errors import PullError
from illama.pull import gguf, local, recipes, selection, transfer
from illama.pull.files import alone, need_space
from illama.pull.hub import Hub, Listing, look
from illama.pull.plan import TOKENIZER_SPACE, Plan, from_gguf
from illama.pull.progress import Progress
from illama.pull.repos import HubRepo
from illama.pull.selection import Selection
from illama.registry import workspace

_CONFIG = "openvino_config.json"
_MAX_GRAPH = 64 << 20


def plan(wanted: HubRepo, device: str | None, settings: Settings, token: str | None, progress: Progress) -> Plan:
    """Ask the hub what a repository is, choose what is needed of it, and say how to make a model of that.

    Raises PullError; then nothing was fetched but, at the most, one small file.
    """
    hub = Hub(settings.hf_endpoint, token)
    listing = look(hub, wanted)
    chosen = selection.select(listing, wanted)
    downloads = settings.cache_dir / "downloads"
    key = f"{listing.repo.replace('/', '--')}--{listing.commit}"
    folder = downloads / key
    lock = partial(alone, downloads / f".{key}.lock", listing.repo, progress)
    quant = chosen.quant.lower() if chosen.quant else None
    get = partial(_get, hub, listing, folder, progress)
    name = selection.base_name(listing, chosen)
    one_disk = _same_disk(downloads, settings.registry_dir)

    def make(staged: Path) -> Mapping[str, Any]:
        made = chosen.size + TOKENIZER_SPACE if one_disk and not chosen.ir else 0
        need_space(downloads, transfer.missing(chosen.files, folder) + made, f"The download of {listing.repo}")
        get(chosen.files)
        told = _from_ir(listing.repo, folder, staged, progress) if chosen.ir else _from_file(staged)
        return {**told, "licence": listing.licence or told.get("licence")}

    def _from_file(staged: Path) -> dict[str, Any]:
        file = folder / chosen.weights.local
        with _judged(listing.repo, folder):
            facts = gguf.read_header(file)
        return from_gguf(file, facts, name, staged, device, settings, progress)

    weights = chosen.weights
    source = {"kind": "hub", "repo": listing.repo, "revision": listing.commit, "sha256": weights.sha256}
    return Plan(
        base=name,
        digest=str(weights.sha256),
        weight_format=_weight_format(listing, folder, lock, get) if chosen.ir else quant,
        source={**source, **({} if chosen.ir else {"file": weights.name})},
        # On one disk, the files of an IR folder get a second name and no second place.
        space=0 if one_disk else chosen.size + TOKENIZER_SPACE,
        make=make,
        aliases=_aliases(wanted, listing, chosen),
        repo=listing.repo,
        alone=lock,
        done=partial(workspace.delete, folder),
    )


def _get(hub: Hub, listing: Listing, folder: Path, progress: Progress, files: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    transfer.fetch(hub, listing, files, folder, progress)


@contextmanager
def _judged(repo: str, folder: Path) -> Iterator[None]:
    """What came whole and still is no model never will be one: it is not kept."""
    try:
        yield
    except PullError as problem:
        workspace.delete(folder)
        message = problem.message.replace(str(folder), repo)
        raise PullError(message, hint="Use another repository of that model.", status=problem.status) from problem


def _from_ir(repo: str, folder: Path, staged: Path, progress: Progress) -> dict[str, Any]:
    with _judged(repo, folder):
        facts = local.read(folder)
    local.stage(folder, facts, staged, progress, name=repo)
    return {
        "architecture": facts.architecture,
        "context_length": facts.context_length,
        "chat_template": facts.chat_template,
        "recipe": {"name": recipes.GIVEN.name, **facts.versions},
    }


def _weight_format(listing: Listing, folder: Path, lock: Any, get: Any) -> str | None:
    """What the repository says about its weights, which the model's name may depend on: one small file."""
    file = listing.named(_CONFIG) or listing.named("openvino_model.xml")
    if file is None or file.size > _MAX_GRAPH:
        return None
    with lock():
        get([file])
        data = (folder / file.local).read_bytes()
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
