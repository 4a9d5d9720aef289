"""Making OpenVINO IR of a Hugging Face checkpoint, in a process of the converter's interpreter.

Knows: what that process is given, what it must leave, what it needs of memory and disk. Does not know: optimum-intel
itself, or where the checkpoint came from.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from illama.config import Settings
from illama.engine import launch
from illama.errors import PullError
from illama.host import memory
from illama.pull import children, environment, failures, journal, local
from illama.pull.checkpoint import Checkpoint
from illama.pull.files import megabytes, need_space
from illama.pull.progress import Progress
from illama.pull.recipes import Conversion
from illama.registry import workspace

_SCRIPT = Path(__file__).with_name("checkpoint_to_ir.py")
_ROOM = ".converting"  # in the staging folder, beside nothing: it is gone when the model's files take its place
_TASKS = {
    "text-generation": "text-generation-with-past",
    "embedding": "feature-extraction",
    "rerank": "text-classification",
    "image-text-to-text": "image-text-to-text",
}
# Bytes that torch and optimum-intel take before the first weight: 0.9 GB measured with torch 2.13.
_LIBRARIES = 1_000_000_000


@dataclass(frozen=True)
class Made:
    """How a conversion ended: the recipe that did it, those that failed before, and the converter's versions."""

    weight_format: str
    recipe: dict[str, Any]


def memory_needed(checkpoint: Checkpoint) -> int:
    """Bytes that its conversion takes at the most: torch's copy of the weights, and OpenVINO's."""
    return 2 * checkpoint.bytes_in_16_bits + _LIBRARIES


def disk_needed(checkpoint: Checkpoint, weight_format: str) -> int:
    """Bytes that it needs in the registry meanwhile: the weights in 16 bits, and what is made of them."""
    share = {"int4": 0.65, "int8": 0.55}.get(weight_format, 0.05)  # int4 leaves embeddings in 8 bits
    return int((1 + share) * checkpoint.bytes_in_16_bits) + (64 << 20)


def check_room(label: str, checkpoint: Checkpoint, weight_format: str, settings: Settings) -> None:
    """Raise PullError, with figures, if memory or disk are too small; before anything big is fetched."""
    need_space(settings.registry_dir, disk_needed(checkpoint, weight_format), f"The conversion of {label}")
    needed, free = memory_needed(checkpoint), memory.machine().free
    if free is not None and free < needed:
        raise PullError(
            f"The conversion of {label} needs {megabytes(needed)} of memory, and {megabytes(free)} are free.",
            hint="Unload models (`illama stop`) and close other programs, or pull a repository that is OpenVINO "
            "already (OpenVINO/…) or a GGUF file: these are not converted.",
            status=507,
        )


def to_ir(
    checkpoint: Checkpoint,
    locate: Callable[[str], Path],
    ways: Sequence[Conversion],
    staged: Path,
    label: str,
    repo: str | None,
    settings: Settings,
    progress: Progress,
) -> Made:
    """Fill an empty staging folder with the IR of a checkpoint. `locate` tells where a file of it lies.

    Raises PullError, which names the full log, and CancelledError.
    """
    converter = environment.ensure(settings, progress)
    check_room(label, checkpoint, ways[0].weight_format, settings)
    room = staged / _ROOM
    source, work, output = (room / name for name in ("source", "work", "output"))
    for folder in (source, work, output):
        folder.mkdir(parents=True)
    for name in checkpoint.files:
        target = source / name.removeprefix(checkpoint.base)
        target.parent.mkdir(parents=True, exist_ok=True)
        workspace.link_or_copy(locate(name), target)
    job = {
        "source": str(source),
        "work": str(work),
        "output": str(output),
        "task": _TASKS[checkpoint.task],
        "trust_remote_code": checkpoint.remote_code,
        "recipes": [way.to_job() for way in ways],
        "tuned_for": repo,
        "status": str(room / "status"),
        "result": str(room / "result.json"),
    }
    (room / "job.json").write_text(json.dumps(job), encoding="utf-8")
    result = _run(converter, room, label, settings, progress)
    for path in output.iterdir():
        path.replace(staged / path.name)
    workspace.delete(room)
    local.check(staged)
    done = result["recipe"]
    told = {"name": done["name"], "options": done["options"] or {}, **result["versions"]}
    if result["failed"]:
        told["failed"] = result["failed"]
    return Made(done["weight_format"], told)


def _run(
    converter: environment.Converter, room: Path, label: str, settings: Settings, progress: Progress
) -> Mapping[str, Any]:
    log = journal.fresh(settings, f"convert-{label}")
    status = room / "status"

    def tick() -> None:
        try:
            doing = status.read_text(encoding="utf-8")
        except OSError:
            doing = "starting"
        progress.report("convert", f"converting {label} to OpenVINO: {doing}")

    env = environment.environ() if converter.own else launch.environment(os.environ)
    # What transformers leaves behind goes with the staging folder, and so does code of the repository's own.
    env |= {"HF_HOME": str(room / "hf"), **dict.fromkeys(("TMPDIR", "TMP", "TEMP"), str(room))}
    tick()
    try:
        done = children.run([str(converter.python), str(_SCRIPT), "job.json"], tick=tick, cwd=room, env=env, log=log)
    except OSError as problem:
        raise PullError(
            f"The converter's Python {converter.python} cannot be started: {problem.strerror}.",
            hint="Set ILLAMA_CONVERTER_PYTHON to an interpreter that has optimum-intel, or unset it.",
        ) from problem
    try:
        if done.code == 0:
            result: Mapping[str, Any] = json.loads((room / "result.json").read_bytes())
            return result
    except (OSError, ValueError):
        pass
    raise failures.of_conversion(done, label, log)
