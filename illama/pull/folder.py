"""The plan of a model that lies in a local folder: in OpenVINO's format, or as a checkpoint.

Knows: what of a folder may be read, links that lead out of it. Does not know: hubs, or how a checkpoint is converted.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from illama.pull import checkpoint, converting, local, recipes
from illama.pull.files import sha256
from illama.pull.plan import Plan, Wishes
from illama.pull.progress import Progress
from illama.registry.names import suggest


def plan(folder: Path, wishes: Wishes, progress: Progress) -> Plan:
    """How to make a model of a folder. Raises PullError if it holds none, or leads out of itself."""
    names = local.names(folder)
    if local.weights_of(names) is None and checkpoint.looks_like_one(names):
        return _checkpoint(folder, names, wishes, progress)
    return _ir(folder, progress)


def _ir(folder: Path, progress: Progress) -> Plan:
    facts = local.read(folder)

    def make(staged: Path) -> Mapping[str, Any]:
        local.stage(folder, facts, staged, progress)
        return {
            "task": facts.task,
            "options": facts.options,
            "architecture": facts.architecture,
            "context_length": facts.context_length,
            "chat_template": facts.chat_template,
            "recipe": {"name": recipes.GIVEN.name, **facts.versions},
        }

    digest = sha256(folder / facts.weights, progress)
    return Plan(
        base=suggest(folder.resolve().name),
        digest=digest,
        weight_format=facts.weight_format,
        source={"kind": "ir", "file": str(folder), "sha256": digest},
        space=facts.size,
        make=make,
    )


def _checkpoint(folder: Path, names: Mapping[str, int], wishes: Wishes, progress: Progress) -> Plan:
    def load(name: str) -> Any:
        return local.load(folder, name) if name in names else {}

    label = suggest(folder.resolve().name)
    found = checkpoint.read(str(folder), names, load, trusted=wishes.trust_remote_code)
    conversion = converting.prepare(found, label, None, wishes)
    hashes = {name: sha256(local.plain(folder, name), progress) for name in found.weights}
    digest = converting.digest(hashes)

    def make(staged: Path) -> Mapping[str, Any]:
        return conversion.run(lambda name: local.plain(folder, name), staged, progress)

    return Plan(
        base=label,
        digest=digest,
        weight_format=conversion.weight_format,
        source={"kind": "checkpoint", "file": str(folder), "sha256": digest, "files": hashes},
        space=0,  # the conversion has looked for itself
        make=make,
        converts=True,
    )
