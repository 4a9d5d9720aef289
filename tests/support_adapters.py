"""LoRA adapters as PEFT saves them, made by hand: random matrices, a header of safetensors."""

from __future__ import annotations

import json
import random
import struct
from array import array
from pathlib import Path

# A model's graph with one named layer, as much of it as an adapter is checked against.
GRAPH = '<net><layer name="__module.model.layers.0.self_attn.q_proj/ov_ext::linear/MatMul" type="MatMul"/></net>'


def save(folder: Path, layers: dict[str, tuple[int, int]], *, rank: int = 4, seed: int = 1, **config: object) -> Path:
    """An adapter in a folder, which is made. `layers` maps `layers.0.self_attn.q_proj` and the like to (in, out)."""
    made = random.Random(seed)
    tensors = {}
    for layer, (inputs, outputs) in layers.items():
        for side, shape in (("A", (rank, inputs)), ("B", (outputs, rank))):
            values = array("f", (made.gauss(0, 0.1) for _ in range(shape[0] * shape[1])))
            tensors[f"base_model.model.model.{layer}.lora_{side}.weight"] = (shape, values.tobytes())
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "adapter_model.safetensors", tensors)
    if config:
        (folder / "adapter_config.json").write_text(json.dumps({"r": rank, **config}))
    return folder


def write(file: Path, tensors: dict[str, tuple[tuple[int, ...], bytes]]) -> Path:
    """A safetensors file of 32-bit numbers."""
    header, data = {}, b""
    for name, (shape, content) in tensors.items():
        offsets = [len(data), len(data) + len(content)]
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": offsets}
        data += content
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return file
