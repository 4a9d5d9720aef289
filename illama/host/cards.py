"""What a model's own files say of it, for Ollama's `show`: template, parameters, abilities.

Knows: where a model folder keeps its chat template, its generation defaults and its sizes. Does not know: HTTP.
"""

from __future__ import annotations

import html
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from illama.engine.backend import renders_tools
from illama.host import parsing
from illama.host.answers_ollama import Details
from illama.registry import Entry

# In the tokenizer that OpenVINO runs, the template is an attribute of the XML: quotes and the like are escaped.
_IN_TOKENIZER = re.compile(r'<chat_template value="([^"]*)"')
# Ollama's names for what generation_config.json holds.
_PARAMETERS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "repetition_penalty": "repeat_penalty",
}


@dataclass(frozen=True)
class Card:
    """The description of one model."""

    template: str
    parameters: str
    modelfile: str
    capabilities: list[str]
    model_info: dict[str, Any]


def card(entry: Entry, folder: Path) -> Card:
    """Read a model's card. What its files do not say is left empty; a file that cannot be read says nothing."""
    template = _template(folder)
    parameters = _parameters(folder)
    return Card(
        template,
        "\n".join(parameters),
        _modelfile(entry, template, parameters),
        _capabilities(entry, template),
        _info(entry, _json(folder / "config.json")),
    )


def details(entry: Entry) -> Details:
    """The few words that Ollama's lists have on a model."""
    family = entry.architecture or ""
    return Details(
        format=entry.format,
        family=family,
        families=[family] if family else [],
        quantization_level=entry.weight_format or "",
    )


def _template(folder: Path) -> str:
    found = _IN_TOKENIZER.search(_text(folder / "openvino_tokenizer.xml"))
    if found:
        return html.unescape(found.group(1))
    own = _text(folder / "chat_template.jinja")
    if own:
        return own
    for name in ("chat_template.json", "tokenizer_config.json"):
        given = _json(folder / name).get("chat_template")
        if isinstance(given, str):
            return given
    return ""


def _parameters(folder: Path) -> list[str]:
    config = _json(folder / "generation_config.json")
    return [f"{ours:<24} {config[theirs]}" for theirs, ours in _PARAMETERS.items() if config.get(theirs) is not None]


def _modelfile(entry: Entry, template: str, parameters: list[str]) -> str:
    lines = ["# This is what illama would have as a Modelfile: to be read, not to be used.", f"FROM {entry.name}"]
    lines += [f"PARAMETER {' '.join(line.split())}" for line in parameters]
    lines += [f'TEMPLATE """{template}"""'] if template else []
    return "\n".join(lines) + "\n"


def _capabilities(entry: Entry, template: str) -> list[str]:
    if entry.task == "embedding":
        return ["embedding"]
    if entry.task not in ("text-generation", "image-text-to-text"):
        return []
    known = {
        "completion": True,
        "vision": entry.task == "image-text-to-text",
        "tools": renders_tools(template),
        "thinking": parsing.style_of(template, entry.architecture).think is not None,
    }
    return [name for name, has in known.items() if has]


def _info(entry: Entry, config: dict[str, Any]) -> dict[str, Any]:
    family = entry.architecture or "model"
    text = config.get("text_config") or config
    info = {
        "general.architecture": entry.architecture,
        "general.basename": entry.name,
        "general.license": entry.licence,
        f"{family}.context_length": entry.context_length,
        f"{family}.embedding_length": text.get("hidden_size"),
        f"{family}.block_count": text.get("num_hidden_layers"),
        f"{family}.attention.head_count": text.get("num_attention_heads"),
        f"{family}.vocab_size": text.get("vocab_size"),
    }
    return {key: value for key, value in info.items() if value is not None}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(_text(path) or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
