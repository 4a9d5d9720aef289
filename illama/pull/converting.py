"""The plan of a model that has to be converted, wherever its checkpoint lies.

Knows: what is asked of a checkpoint before anything big is fetched, and what its conversion tells the registry. Does
not know: how files are fetched, or how one is converted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from illama.pull import environment, export, local, recipes
from illama.pull.checkpoint import Checkpoint
from illama.pull.files import sha256
from illama.pull.plan import Wishes
from illama.pull.progress import Progress


@dataclass(frozen=True)
class Conversion:
    """A conversion that can begin: everything that can be known before is in order.

    `weight_format` is what it aims at; what comes out may be another one if none was asked for.
    """

    checkpoint: Checkpoint
    label: str
    repo: str | None
    weight_format: str
    ways: tuple[recipes.Conversion, ...]
    wishes: Wishes

    def run(self, locate: Callable[[str], Path], staged: Path, progress: Progress) -> dict[str, Any]:
        """Fill a staging folder; what the entry needs to know. `locate` tells where a file of the checkpoint lies."""
        made = export.to_ir(
            self.checkpoint, locate, self.ways, staged, self.label, self.repo, self.wishes.settings, progress
        )
        facts = local.read(staged)
        weights = {path.name: sha256(path, progress) for path in sorted(staged.glob("openvino_*model.bin"))}
        return {
            "task": self.checkpoint.task,
            "options": {**self.checkpoint.options, **_precision(self.checkpoint.task, made.weight_format)},
            "architecture": self.checkpoint.architecture,
            "context_length": self.checkpoint.context_length,
            "chat_template": facts.chat_template,
            "weight_format": made.weight_format,
            "recipe": {
                **made.recipe,
                "asked": self.wishes.weight_format or recipes.AUTO,
                "remote_code": self.checkpoint.remote_code,
                "sha256": weights,
            },
        }


def prepare(checkpoint: Checkpoint, label: str, repo: str | None, wishes: Wishes) -> Conversion:
    """See that a checkpoint can be converted here, before anything big of it is fetched.

    Raises ConverterNeededError if an environment has to be made that nobody has agreed to, and PullError, with the
    figures, if memory or disk are too small.
    """
    environment.need(wishes.settings, label, make=wishes.make_environment)
    aim, ways = recipes.for_checkpoint(
        checkpoint.task, checkpoint.parameters, checkpoint.dimensions, wishes.weight_format
    )
    export.check_room(label, checkpoint, aim, wishes.settings)
    return Conversion(checkpoint, label, repo, aim, tuple(ways), wishes)


def _precision(task: str, weight_format: str) -> dict[str, str]:
    writes = task in {"text-generation", "image-text-to-text"}
    return {"cpu_precision": recipes.CPU_PRECISION} if writes and weight_format == "fp16" else {}


def digest(hashes: Mapping[str, str]) -> str:
    """One hash for a checkpoint's weights, of the sha256 of each of their files: that of a single file is its own."""
    if len(hashes) == 1:
        return next(iter(hashes.values()))
    return hashlib.sha256("\n".join(f"{hashes[name]} {name}" for name in sorted(hashes)).encode()).hexdigest()
