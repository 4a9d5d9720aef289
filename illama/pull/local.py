"""A local folder with a model in OpenVINO's format: what must be in it, what it says, and how it gets into staging.

Knows: the files of an IR folder as optimum-intel and GenAI write them. Does not know: names, the registry's index.
"""

from __future__ import annotations

import json
import re
import stat
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from illama.errors import PullError
from illama.pull.progress import Progress
from illama.registry import workspace

_PARTS = ("openvino_model", "openvino_tokenizer", "openvino_detokenizer")
REQUIRED = tuple(f"{part}.{kind}" for part in _PARTS for kind in ("xml", "bin"))
WEIGHTS = "openvino_model.bin"
_WELCOME: tuple[str, ...] = (
    "config.json",
    "generation_config.json",
    "openvino_config.json",
    "tokenizer_config.json",
    "tokenizer.json",
)
_WELCOME += ("special_tokens_map.json", "added_tokens.json", "chat_template.*", "LICENSE*", "NOTICE*")

_CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "n_ctx")
_CONSTANT = re.compile(rb'offset="(\d+)" size="(\d+)"')
_RUNTIME = re.compile(rb'<(?:Runtime_version|info name="OpenVINO Runtime") value="([^"]+)"')
_GENAI = re.compile(rb'<openvino_genai_version value="([^"]+)"')
_WEIGHT_MODE = re.compile(rb'<weight_compression>.*?<mode value="(\w+)"', re.DOTALL)


@dataclass(frozen=True)
class IrFacts:
    """What an IR folder says about its model. `context_length` is in tokens, `size` in bytes."""

    files: tuple[str, ...]
    size: int
    architecture: str | None
    weight_format: str | None
    context_length: int | None
    chat_template: bool
    versions: dict[str, str]


def is_wanted(name: str) -> bool:
    """Whether a file of this name belongs to a model in OpenVINO's format."""
    return name in REQUIRED or ("/" not in name and any(fnmatch(name, pattern) for pattern in _WELCOME))


def weight_format(config: object) -> str | None:
    """What an `openvino_config.json` says about the weights: `int4`, `int8`, `fp16`… or None."""
    if not isinstance(config, dict):
        return None
    kind = config.get("dtype")
    if isinstance(kind, str) and re.fullmatch(r"[a-z]{2,5}\d[\w]{0,10}", kind):
        return kind
    quantization = config.get("quantization_config")
    bits = quantization.get("bits") if isinstance(quantization, dict) else None
    return f"int{bits}" if bits in {4, 8} else None


def compressed(model_xml: bytes) -> str | None:
    """What `openvino_model.xml` says about its weights' compression, `int4` or `int8`, or None."""
    mode = _WEIGHT_MODE.search(model_xml)
    return mode[1].decode().partition("_")[0] if mode else None


def check(folder: Path) -> None:
    """See that each part of the model is there and whole. Raises PullError, which names the file."""
    for name in REQUIRED:
        file = folder / name
        if not file.exists():
            raise _unusable(folder, f"{name} is missing", _missing_hint(folder))
        if not _is_plain(folder, file):
            raise _unusable(folder, f"{name} is not a plain file")
        if file.stat().st_size == 0:
            raise _unusable(folder, f"{name} is empty")
    for part in _PARTS:
        text = (folder / f"{part}.xml").read_bytes()
        if not text.rstrip().endswith(b"</net>"):
            raise _unusable(folder, f"{part}.xml is cut or is not OpenVINO IR")
        end = max((int(offset) + int(size) for offset, size in _CONSTANT.findall(text)), default=0)
        found = (folder / f"{part}.bin").stat().st_size
        if found < end:
            raise _unusable(folder, f"{part}.bin is cut: it has {found} of {end} bytes")


def read(folder: Path) -> IrFacts:
    """Look at a folder that a user gave. Raises PullError if it is not a whole model, or leads out of itself."""
    check(folder)
    files = tuple(sorted(each.name for each in folder.iterdir() if is_wanted(each.name) and _is_plain(folder, each)))
    config, tokenizer = _object(folder / "config.json"), _object(folder / "tokenizer_config.json")
    model_xml, tokenizer_xml = (folder / f"{part}.xml" for part in _PARTS[:2])
    text, tokenizer_text = model_xml.read_bytes(), tokenizer_xml.read_bytes()
    versions = {"openvino": _RUNTIME.search(text), "openvino_genai": _GENAI.search(tokenizer_text)}
    kind = config.get("model_type")
    return IrFacts(
        files=files,
        size=sum((folder / name).stat().st_size for name in files),
        architecture=kind if isinstance(kind, str) else None,
        weight_format=weight_format(_object(folder / "openvino_config.json")) or compressed(text),
        context_length=_context(config),
        chat_template="chat_template" in tokenizer
        or any(name.startswith("chat_template.") for name in files)
        or b"<chat_template value=" in tokenizer_text,
        versions={key: found[1].decode("utf-8", "replace") for key, found in versions.items() if found},
    )


def stage(folder: Path, facts: IrFacts, staged: Path, progress: Progress, *, name: str | None = None) -> None:
    """Give the model's files, and only these, a second name in staging, or copy them. Raises PullError, OSError."""
    done = 0
    for name in facts.files:
        # Links are followed once, here and not by the copy, and only to where _is_plain has looked.
        source = (folder / name).resolve()
        if not _is_plain(folder, folder / name):
            raise _unusable(folder, f"{name} is not a plain file")
        workspace.link_or_copy(source, staged / name)
        done += (staged / name).lstat().st_size
        progress.report("copy", f"copying {name or folder.name}", min(done, facts.size), facts.size)
    if any(not workspace.is_regular(staged / name) for name in facts.files):
        raise _unusable(folder, "its files change while they are read")
    check(staged)


def _is_plain(folder: Path, file: Path) -> bool:
    """Whether this is a plain file of the folder. Raises PullError for a link that leads out of it."""
    if file.is_symlink() and not file.resolve().is_relative_to(folder.resolve()):
        raise _unusable(
            folder,
            f"{file.name} is a link that leads out of the folder",
            f"Make a copy without links (`cp -rL {folder} COPY`) and pull that.",
        )
    return file.exists() and stat.S_ISREG(file.stat().st_mode)


def _object(file: Path) -> dict[str, Any]:
    """A JSON file's object; empty if there is no such file."""
    try:
        data = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as problem:
        raise _unusable(file.parent, f"{file.name} is not whole JSON ({problem})") from problem
    return data if isinstance(data, dict) else {}


def _context(config: dict[str, Any]) -> int | None:
    nested = config.get("text_config")
    for values in (config, nested if isinstance(nested, dict) else {}):
        for key in _CONTEXT_KEYS:
            value = values.get(key)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    return None


def _missing_hint(folder: Path) -> str:
    if (folder / "openvino_language_model.xml").exists():
        return "This looks like a model for images and text, which this version cannot run."
    if any(folder.glob("*.safetensors")):
        return "These are weights before conversion: export them with optimum-intel, and pull the folder it makes."
    if any(folder.glob("*.gguf")):
        return "For a GGUF file, give the file's path and not its folder's."
    return f"A model's folder holds {', '.join(REQUIRED)}."


def _unusable(folder: Path, why: str, hint: str = "Export or copy the model again.") -> PullError:
    return PullError(f"{folder} cannot be used as a model: {why}.", hint=hint, status=400)
