"""A local folder with a model in OpenVINO's format: what must be in it, what it says, and how it gets into staging.

Knows: the files of an IR folder as optimum-intel and GenAI write them. Does not know: names, the registry's index.
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from illama.errors import PullError
from illama.pull import pooling
from illama.pull.progress import Progress
from illama.registry import workspace
from illama.registry.entry import is_inside

_PART = re.compile(r"openvino_(\w+)\.(xml|bin)")
# What a model of each kind must have: the graph with its weights, and the tokenizer; who generates text, also the way
# back from tokens to it.
_TEXT = ("openvino_model", "openvino_tokenizer", "openvino_detokenizer")
_VISION: tuple[str, ...] = (
    "openvino_language_model",
    "openvino_text_embeddings_model",
    "openvino_vision_embeddings_model",
)
_VISION += _TEXT[1:]
_WELCOME: tuple[str, ...] = (
    "config.json",
    "generation_config.json",
    "openvino_config.json",
    "tokenizer_config.json",
    "tokenizer.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
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
    weights: str
    size: int
    task: str
    options: dict[str, Any]
    architecture: str | None
    weight_format: str | None
    context_length: int | None
    chat_template: bool
    versions: dict[str, str]


def is_wanted(name: str) -> bool:
    """Whether a file of this name belongs to a model in OpenVINO's format."""
    return "/" not in name and (bool(_PART.fullmatch(name)) or any(fnmatch(name, pattern) for pattern in _WELCOME))


def weights_of(names: Iterable[str]) -> str | None:
    """The file with the model's weights among these, or None if they are no model in OpenVINO's format."""
    graphs = {found[1] for found in map(_PART.fullmatch, names) if found}
    return next((f"openvino_{each}.bin" for each in ("language_model", "model") if each in graphs), None)


def lacking(names: Iterable[str]) -> list[str]:
    """The files that a model in OpenVINO's format needs and that are not among these names."""
    there = set(names)
    graphs = {name.rpartition(".")[0] for name in there if _PART.fullmatch(name)}
    needed = {*graphs, *(_VISION if "openvino_language_model" in graphs else _TEXT[:2])}
    return [f"{part}.{kind}" for part in sorted(needed) for kind in ("xml", "bin") if f"{part}.{kind}" not in there]


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


def names(folder: Path) -> dict[str, int]:
    """The plain files of a folder and of those in it, by path with `/`, with their sizes in bytes.

    Raises PullError for a link that leads out of the folder.
    """
    below = [each for each in folder.iterdir() if each.is_dir() and not each.is_symlink()]
    files = [each for where in (folder, *below) for each in where.iterdir() if not each.is_dir()]
    return {each.relative_to(folder).as_posix(): each.stat().st_size for each in files if _is_plain(folder, each)}


def plain(folder: Path, name: str) -> Path:
    """Where a file of a folder really lies. Raises PullError if it is no plain file, or a link that leads out."""
    file = folder / name
    if not is_inside(name) or not _is_plain(folder, file):
        raise _unusable(folder, f"{name} is not a plain file")
    return file.resolve()


def load(folder: Path, name: str) -> Any:
    """A JSON file of a folder; {} if there is no such file. Raises PullError."""
    return _json(plain(folder, name)) if is_inside(name) and (folder / name).exists() else {}


def check(folder: Path) -> None:
    """See that each part of the model is there and whole. Raises PullError, which names the file."""
    here = [each.name for each in folder.iterdir()]
    missing = lacking(here)
    if missing:
        raise _unusable(folder, f"{missing[0]} is missing", _missing_hint(folder))
    for name in filter(_PART.fullmatch, here):
        file = folder / name
        if not _is_plain(folder, file):
            raise _unusable(folder, f"{name} is not a plain file")
        if file.stat().st_size == 0:
            raise _unusable(folder, f"{name} is empty")
    for name in (each for each in here if _PART.fullmatch(each) and each.endswith(".xml")):
        text = (folder / name).read_bytes()
        if not text.rstrip().endswith(b"</net>"):
            raise _unusable(folder, f"{name} is cut or is not OpenVINO IR")
        end = max((int(offset) + int(size) for offset, size in _CONSTANT.findall(text)), default=0)
        weights = Path(name).with_suffix(".bin")
        found = (folder / weights).stat().st_size
        if found < end:
            raise _unusable(folder, f"{weights} is cut: it has {found} of {end} bytes")


def read(folder: Path) -> IrFacts:
    """Look at a folder that a user gave. Raises PullError if it is not a whole model, or leads out of itself."""
    check(folder)
    files = tuple(sorted(each.name for each in folder.iterdir() if is_wanted(each.name) and _is_plain(folder, each)))
    config, tokenizer = _object(folder / "config.json"), _object(folder / "tokenizer_config.json")
    weights = weights_of(files)
    assert weights is not None, "a folder that was checked has weights"
    text = (folder / weights).with_suffix(".xml").read_bytes()
    tokenizer_text = (folder / "openvino_tokenizer.xml").read_bytes()
    versions = {"openvino": _RUNTIME.search(text), "openvino_genai": _GENAI.search(tokenizer_text)}
    kind, task = config.get("model_type"), _task(text, weights)
    if task == "text-generation" and lacking([*files, "openvino_detokenizer.xml"]):
        raise _unusable(folder, "openvino_detokenizer.xml is missing", _missing_hint(folder))
    return IrFacts(
        files=files,
        weights=weights,
        size=sum((folder / name).stat().st_size for name in files),
        task=task,
        options=_options(folder) if task == "embedding" else {},
        architecture=kind if isinstance(kind, str) else None,
        weight_format=weight_format(_object(folder / "openvino_config.json")) or compressed(text),
        context_length=_context(config),
        chat_template="chat_template" in tokenizer
        or any(name.startswith("chat_template.") for name in files)
        or b"<chat_template value=" in tokenizer_text,
        versions={key: found[1].decode("utf-8", "replace") for key, found in versions.items() if found},
    )


def _task(graph: bytes, weights: str) -> str:
    """What a model is for, as its graph's outputs and inputs tell it."""
    if weights.startswith("openvino_language_model"):
        return "image-text-to-text"
    if b'names="last_hidden_state' in graph or b'names="token_embeddings' in graph:
        return "embedding"
    # A model that writes has a memory of what went before; one that ranks has logits alone.
    remembers = any(mark in graph for mark in (b"ReadValue", b"past_key", b"beam_idx"))
    return "rerank" if b'names="logits' in graph and not remembers else "text-generation"


def _options(folder: Path) -> dict[str, Any]:
    """What sentence-transformers' files say, where they lie beside an exported model."""
    return pooling.of(str(folder), lambda name: load(folder, name))


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
    data = _json(file)
    return data if isinstance(data, dict) else {}


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as problem:
        raise _unusable(file.parent, f"{file.name} is not whole JSON ({problem})") from problem


def _context(config: dict[str, Any]) -> int | None:
    nested = config.get("text_config")
    for values in (config, nested if isinstance(nested, dict) else {}):
        for key in _CONTEXT_KEYS:
            value = values.get(key)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    return None


def _missing_hint(folder: Path) -> str:
    if any(folder.glob("*.gguf")):
        return "For a GGUF file, give the file's path and not its folder's."
    parts = ", ".join(f"{part}.xml and .bin" for part in _TEXT)
    return f"A model's folder holds {parts}, or a whole checkpoint with config.json and .safetensors files."


def _unusable(folder: Path, why: str, hint: str = "Export or copy the model again.") -> PullError:
    return PullError(f"{folder} cannot be used as a model: {why}.", hint=hint, status=400)
