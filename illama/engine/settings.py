"""The settings with which OpenVINO GenAI loads a model: how much a step takes on, the KV cache, OpenVINO's properties.

Knows: what a `load` message and a model's files say of them. Does not know: pipelines, requests.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import openvino_genai as genai

from illama.engine import adapters

# Prompt tokens that one step reads, unless the model's options say otherwise. Smaller makes a cancel and the other
# streams' next token come sooner, larger reads a prompt faster; 256 is about 20 steps for a prompt of 5,000 tokens.
MAX_BATCHED_TOKENS = 256
# Requests in one batch. More gains little on the devices this is for, and each may need a whole context of KV cache.
SLOTS = 32
# Tokens in a block of the KV cache, by device (OpenVINO's plugins fix them).
BLOCK_TOKENS = {"CPU": 32, "GPU": 16}
# What is assumed of a model that states no context length.
DEFAULT_CONTEXT = 4096
_GIB = 2**30
# The options that are for a CPU, and OpenVINO's properties for them.
_CPU = {
    "cpu_precision": "INFERENCE_PRECISION_HINT",
    "threads": "INFERENCE_NUM_THREADS",
    "pinning": "ENABLE_CPU_PINNING",
    "hyper_threading": "ENABLE_HYPER_THREADING",
    "cores": "SCHEDULING_CORE_TYPE",
}
_CORES = {"all": "ANY_CORE", "performance": "PCORE_ONLY", "efficient": "ECORE_ONLY"}
# A GPU's plugin calls its 8-bit KV cache i8, and has no bfloat16.
_KV_GPU = {"u8": "i8", "f16": "f16", "bf16": "f16"}


def properties(message: dict[str, Any]) -> dict[str, Any]:
    """OpenVINO's properties for the model of a `load` message."""
    options = chosen(message)
    if message.get("cache_dir") and message["device"] != "CPU":
        options["CACHE_DIR"] = message["cache_dir"]
    if adapters.path_of(message):
        options.pop("CACHE_DIR", None)  # what is there was compiled without the adapter
        options.update(adapters.properties(Path(message["folder"]), message))
    return options


def chosen(message: dict[str, Any]) -> dict[str, Any]:
    """OpenVINO's properties that the model's options name, for the device of a `load` message."""
    kind, options = message["device"].partition(".")[0], message.get("options") or {}
    found: dict[str, Any] = {}
    if kind == "CPU":
        found = {name: options[option] for option, name in _CPU.items() if options.get(option) is not None}
        if "SCHEDULING_CORE_TYPE" in found:
            found["SCHEDULING_CORE_TYPE"] = _CORES[found["SCHEDULING_CORE_TYPE"]]
    precision = options.get("kv_precision")
    if precision and kind in BLOCK_TOKENS:
        found["KV_CACHE_PRECISION"] = precision if kind == "CPU" else _KV_GPU[precision]
    return found


def batched_tokens(message: dict[str, Any]) -> int:
    """Prompt tokens that one step reads of the model of a `load` message."""
    return int((message.get("options") or {}).get("max_batched_tokens") or MAX_BATCHED_TOKENS)


def block_tokens(device: str) -> int:
    """Tokens in a block of a device's KV cache."""
    return BLOCK_TOKENS.get(device.partition(".")[0], 16)


def scheduler_config(folder: Path, device: str, message: dict[str, Any]) -> tuple[Any, int, int]:
    """GenAI's `SchedulerConfig` for a `load` message; the context (tokens) and the KV cache (bytes) that it leaves."""
    context = message.get("context_length") or context_of(folder) or DEFAULT_CONTEXT
    scheduler = genai.SchedulerConfig()
    step = scheduler.max_num_batched_tokens = batched_tokens(message)
    scheduler.max_num_seqs = SLOTS
    # With a draft, a prefix from the cache makes GenAI 2026.4 fail in the step of a sampled answer.
    draft = message.get("draft")
    scheduler.enable_prefix_caching = not draft
    block = block_tokens(device)
    budget = message.get("kv_bytes") or _GIB
    precision = (message.get("options") or {}).get("kv_precision")
    per_token = kv_bytes_per_token(folder, precision)
    if per_token and draft:
        per_token += kv_bytes_per_token(Path(draft), precision) or per_token
    if not per_token:
        scheduler.cache_size = max(budget // _GIB, 1)
        return scheduler, context, int(scheduler.cache_size * _GIB)
    # No more than all slots could use at once, no less than one step.
    blocks = min(budget // (per_token * block), SLOTS * -(-context // block))
    scheduler.num_kv_blocks = max(blocks, -(-step // block) + 1)
    return scheduler, min(context, scheduler.num_kv_blocks * block), int(scheduler.num_kv_blocks * block * per_token)


def context_of(folder: Path) -> int | None:
    """The context length that a model folder's config.json states, in tokens."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    for part in (config, config.get("text_config") or {}):
        for key in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"):
            if isinstance(part.get(key), int):
                return int(part[key])
    return None


def is_vision(folder: Path) -> bool:
    """Whether a folder holds a vision-language model: its language model is one of several."""
    return (folder / "openvino_language_model.xml").exists()


def kv_bytes_per_token(folder: Path, precision: str | None = None) -> int | None:
    """Bytes of KV cache for a token, from the shapes of the model's states; None if it has none of rank 4.

    Counted as the default precision of CPU and GPU has it (8 bits, and 12 bytes of scale and zero point a head and
    token), or as 16 bits if that is the `precision`: both give the sizes which OpenVINO 2026.4 reports on a CPU.
    """
    name = "openvino_language_model.xml" if is_vision(folder) else "openvino_model.xml"
    xml = (folder / name).read_text(encoding="utf-8", errors="replace")
    total = 0
    # A state's shape is [batch, heads, tokens, head size]; each key and each value has one.
    for heads, size in re.findall(r'variable_shape="[^",]*,(\d+),[^",]*,(\d+)"', xml):
        total += int(heads) * (2 * int(size) if precision in ("f16", "bf16") else int(size) + 12)
    return total or None
