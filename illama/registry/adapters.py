"""LoRA adapters: which files are one, whether one fits a model, and its place in the model's folder.

Knows: the header of a safetensors file, the names that PEFT gives to weights and OpenVINO to layers. Does not know: the
registry's index, how an adapter is computed. Weights are copied, never read.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from illama.errors import RequestError
from illama.registry import atomic

FOLDER = "adapters"
_FILE, _CONFIG = "adapter_model.safetensors", "adapter_config.json"
# A header of more bytes than this is none: safetensors' own limit.
_MAX_HEADER = 100_000_000
_MATRIX = re.compile(r"base_model\.model\.(model\..+)\.lora_([AB])\.weight")
# Keys of PEFT's configuration that change the result and that nothing here obeys.
_UNKNOWN = ("use_dora", "rank_pattern", "alpha_pattern", "modules_to_save")


@dataclass(frozen=True)
class Placed:
    """An adapter in a model's folder: its file's path there and its size in bytes, and its factor as PEFT has it."""

    path: str
    size: int
    scale: float | None


def place(folder: Path, given: str) -> Placed:
    """Copy an adapter into a model's folder. `given` is its file, or the folder that PEFT saved it to.

    The copy's name has the beginning of its sha256, so another adapter never changes a file that is in use. Raises
    RequestError for what is no LoRA adapter, or none for this model.
    """
    file = Path(given).expanduser()
    file = file / _FILE if file.is_dir() else file
    try:
        _refuse_unfit(folder, file, _layers(file))
        scale = _scale(file.parent / _CONFIG)
        name = file.absolute().parent.name if file.name == _FILE else file.stem
        name = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64] or "lora"
        path = f"{FOLDER}/{name}-{_digest(file)[:12]}.safetensors"
        target = folder / path
        target.parent.mkdir(exist_ok=True)
        part = target.with_name(f".{target.name}{atomic.TEMP_SUFFIX}")
        try:
            shutil.copyfile(file, part)
            atomic.sync_file(part)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as problem:
        text = f"The adapter {given} cannot be used: {problem.strerror or problem}."
        raise RequestError(text, hint="Name a file that you can read.", param="adapter") from problem
    return Placed(path, target.stat().st_size, scale)


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        for piece in iter(lambda: opened.read(2**20), b""):
            digest.update(piece)
    return digest.hexdigest()


def _layers(file: Path) -> set[str]:
    """The layers that an adapter changes, as its file's header names them."""
    header = _header(file)
    sides: dict[str, set[str]] = {}
    for key in header:
        found = _MATRIX.fullmatch(key)
        if found is None:
            raise _refused(file, f"{key[:100]} is no lora_A or lora_B matrix of PEFT's", "Only plain LoRA can be used.")
        sides.setdefault(found[1], set()).add(found[2])
    if not sides:
        raise _refused(file, "it holds no matrices", "Name the adapter_model.safetensors that PEFT has written.")
    lone = next((layer for layer, both in sides.items() if len(both) < 2), None)
    if lone is not None:
        raise _refused(file, f"{lone[:100]} has one matrix of two", "Save it again.")
    return set(sides)


def _header(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            if not 2 <= length <= _MAX_HEADER:
                raise ValueError("no header")
            header = json.loads(opened.read(length))
            end = max((each["data_offsets"][1] for key, each in header.items() if key != "__metadata__"), default=0)
            if file.stat().st_size != 8 + length + end:
                raise ValueError("cut")
    except (struct.error, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as problem:
        raise _refused(file, "it is no whole safetensors file", "Save or download it again.") from problem
    return {key: value for key, value in header.items() if key != "__metadata__"}


def _refuse_unfit(folder: Path, file: Path, layers: set[str]) -> None:
    # OpenVINO GenAI only prints a warning for layers that it does not find, and answers as if there were no adapter.
    text = (folder / "openvino_model.xml").read_text(encoding="utf-8", errors="replace")
    named = set(re.findall(r"__module\.([\w.]+)", text))
    if not named:
        raise _refused(
            file,
            "the model's layers have no names, as in all that is made from a GGUF file",
            "Pull the model's checkpoint, or a repository in OpenVINO's format.",
        )
    missing = sorted(layers - named)
    if missing:
        what = f"{len(missing)} of its {len(layers)} layers are not in the model, such as {missing[0][:100]}"
        raise _refused(file, what, "Use an adapter that was made for this very model.")


def _scale(config: Path) -> float | None:
    """What PEFT multiplies an adapter with, by the configuration beside its file; the file itself does not say."""
    try:
        found = json.loads(config.read_text(encoding="utf-8"))
        other = next((name for name in _UNKNOWN if found.get(name)), None)
        rank, alpha = float(found["r"]), float(found["lora_alpha"])
        scale = alpha / (math.sqrt(rank) if found.get("use_rslora") else rank)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError, ZeroDivisionError, RecursionError) as problem:
        raise _refused(config, "it has no r and lora_alpha", "Save the adapter again.") from problem
    if other is not None:
        raise _refused(config, f"{other} is not supported", "Merge the adapter into its model, and pull that.")
    return scale


def _refused(file: Path, why: str, hint: str) -> RequestError:
    return RequestError(f"{file.name} cannot be used as an adapter: {why}.", hint=hint, param="adapter")
