"""A LoRA adapter that is loaded with its model: what GenAI must be told for it.

Knows: the options of a `load` message. Does not know: where adapters come from (`registry.adapters`), pipelines.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openvino_genai as genai

from illama.engine.backend import reason
from illama.errors import LoadError

HINT = "Its adapter may be another model's: take it back with `illama set MODEL adapter=`."


def path_of(message: dict[str, Any]) -> str | None:
    """The adapter that a `load` message names, relative to the model's folder."""
    return (message.get("options") or {}).get("adapter")


def properties(folder: Path, message: dict[str, Any]) -> dict[str, Any]:
    """What a pipeline with that adapter is made with; nothing if there is none.

    Static: with continuous batching GenAI 2026.4 ignores an adapter that a request names or that could be switched off,
    and it cannot fuse one into compressed weights. Raises LoadError.
    """
    path = path_of(message)
    if path is None:
        return {}
    try:
        adapter = genai.Adapter(str(folder / path))
    except RuntimeError as error:
        raise LoadError(f"OpenVINO could not read {path}: {reason(error)}", hint=HINT) from error
    scale = message["options"].get("adapter_scale", 1.0)
    return {"adapters": genai.AdapterConfig(adapter, scale, genai.AdapterConfig.Mode.MODE_STATIC)}
