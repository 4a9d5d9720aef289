"""How an embedding model makes one vector of a text's many: what sentence-transformers' files say of it.

Knows: modules.json, the pooling's configuration, prompts, lengths. Does not know: where these files are.

The export to OpenVINO drops all of this, so it has to be read from the source, and kept in the registry's entry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

from illama.errors import PullError
from illama.registry.entry import is_inside

# In the first of these folders may lie the model itself, with all that is read of it.
FILES = ("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json", "[0-9]_*/*.json")
_MODES = {"pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean", "pooling_mode_lasttoken": "last"}
_NAMES = {"cls": "cls", "mean": "mean", "lasttoken": "last", "last": "last"}
_QUERY, _DOCUMENT = ("query", "search_query"), ("document", "passage", "search_document", "corpus")


@dataclass(frozen=True)
class Module:
    """A step of an embedding model: its kind, such as `Pooling`, and its folder, "" or with a `/` at its end."""

    kind: str
    folder: str


def modules(data: object) -> tuple[Module, ...]:
    """The steps that a `modules.json` names; none if there is no such file, or a folder in it leads elsewhere."""
    found = []
    for each in data if isinstance(data, list) else ():
        path = str(each.get("path", "")).strip("/") if isinstance(each, dict) else ".."
        if path and not is_inside(path):
            return ()
        found.append(Module(str(each.get("type", "")).rpartition(".")[2], f"{path}/" if path else ""))
    return tuple(found)


def is_told_by(name: str) -> bool:
    """Whether a file of this path may say how an embedding model's vectors are made."""
    return name.endswith(".json") and any(fnmatch(name, each) for each in FILES)


def of(label: str, load: Callable[[str], Any]) -> dict[str, Any]:
    """The options of a model in OpenVINO's format, where sentence-transformers' files lie beside it."""
    return options(label, modules(load("modules.json")), load, "")


def options(label: str, steps: tuple[Module, ...], load: Callable[[str], Any], base: str) -> dict[str, Any]:
    """What the engine must know: "pooling", "normalize", and what the source says of instructions and "max_length".

    Raises PullError for what no engine of ours does: another kind of pooling, or further layers of weights.
    """
    # Without modules.json, this is what sentence-transformers itself makes of a model.
    if not steps:
        return {"pooling": "mean", "normalize": False}
    kinds = [step.kind for step in steps]
    strange = [kind for kind in kinds[1:] if kind not in {"Pooling", "Normalize", "Dropout"}]
    if strange:
        raise _unusable(label, f"it has a further layer of weights ({strange[0]})")
    where = next((step.folder for step in steps if step.kind == "Pooling"), None)
    config = load(f"{where}config.json") if where is not None else {}
    found: dict[str, Any] = {"pooling": _pooling(label, config), "normalize": "Normalize" in kinds}
    said = load("config_sentence_transformers.json")
    prompts = said.get("prompts") if isinstance(said, dict) else None
    for key, names in (("query_instruction", _QUERY), ("embed_instruction", _DOCUMENT)):
        texts = (prompts.get(name) for name in names) if isinstance(prompts, dict) else ()
        text = next((each for each in texts if isinstance(each, str) and each), None)
        if text:
            found[key] = text
    length = next(
        (
            told["max_seq_length"]
            for told in (load(f"{base}sentence_bert_config.json"), load("sentence_bert_config.json"))
            if isinstance(told, dict) and isinstance(told.get("max_seq_length"), int) and told["max_seq_length"] > 0
        ),
        None,
    )
    return {**found, **({"max_length": length} if length else {})}


def _pooling(label: str, config: object) -> str:
    if not isinstance(config, Mapping) or not config:
        return "mean"
    named = config.get("pooling_mode")
    modes = [named] if isinstance(named, str) else named if isinstance(named, list) else []
    modes += [mode for mode, on in config.items() if mode.startswith("pooling_mode_") and on is True]
    found = {_MODES.get(mode) or _NAMES.get(mode) for mode in modes} or {"mean"}
    if len(found) != 1 or None in found:
        raise _unusable(label, f"its pooling is {', '.join(map(str, modes))}")
    return str(found.pop())


def _unusable(label: str, why: str) -> PullError:
    return PullError(
        f"{label} cannot be used for embeddings: {why}.",
        hint="illama does mean, cls and last-token pooling, with or without normalization.",
        status=400,
    )
