"""How a model is made for a device: a fixed table, so that nobody has to choose.

Knows: which way was measured to be best where. Does not know: how it is carried out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """A way to make a model: its name, which the registry keeps, and what it does in one sentence."""

    name: str
    meaning: str


KEEP = Recipe("keep", "The source's own quantized weights, bit for bit, saved as OpenVINO IR.")
GIVEN = Recipe("given", "The IR as it was given.")

# Tokens per second of SmolLM2-135M Q4_1 by continuous batching on a CPU of two cores, one client and eight:
#     the GGUF's own groups of 32 (u4, kept)           105        550
#     requantized to int8 per channel                   87        420
#     requantized to symmetric int4, groups of 32       97        460
#     requantized to symmetric int4, groups of 64  105-130    450-580
# Quantizing a second time also costs text quality (8.6 % rms error of the weights at groups of 64) and wins nothing
# that is outside of the noise. Loading takes 1.7 s from IR and 4.4 s from the GGUF, hence the conversion at pull.
# GPU and NPU have CPU's recipe until they are measured.
FROM_GGUF: dict[str, Recipe] = {"CPU": KEEP, "GPU": KEEP, "NPU": KEEP}


def for_gguf(device: str | None) -> Recipe:
    """The recipe for a GGUF file on a device, such as `GPU.1`; None or AUTO is any device."""
    return FROM_GGUF.get((device or "CPU").partition(".")[0], KEEP)


@dataclass(frozen=True)
class Conversion:
    """A way to make a checkpoint's weights smaller: the format they get, and what optimum-intel is told.

    `options` are those of its OVWeightQuantizationConfig; None leaves the weights in 16 bits.
    """

    name: str
    weight_format: str
    options: Mapping[str, Any] | None

    def to_job(self) -> dict[str, Any]:
        """As the converter's script reads it."""
        return {"name": self.name, "weight_format": self.weight_format, "options": self.options}


WEIGHT_FORMATS = ("int4", "int8", "fp16")
AUTO = "auto"
# Below this number of weights, 4 bits cost more than they bring: such a model is small anyway. It is also where
# optimum-intel begins to compress on its own.
_SMALL = 1_000_000_000
_GROUPS = (128, 64, 32)

# What a model with 16-bit weights computes in on a CPU. By itself OpenVINO takes bfloat16 where the CPU has it: its 8
# bits of precision turned SmolLM2-135M's "The capital of France is Paris." into French nonsense, as the first word is a
# near tie. 32 bits answer right, and were faster (10.6 tokens/s for 8.4; AVX-512 without AMX); they take a third more
# memory. Who asks for fp16 asks for fidelity. Compressed weights are not concerned: they answered right as they are.
CPU_PRECISION = "f32"

_FP16 = Conversion("fp16", "fp16", None)
_INT8 = Conversion("int8", "int8", {"bits": 8, "sym": False, "weight_only": True})


def for_checkpoint(
    task: str, parameters: int, dimensions: Sequence[int], wanted: str | None
) -> tuple[str, list[Conversion]]:
    """The format to aim at, and the ways to make it, the best first; the next is for when one does not fit the model.

    `wanted` is a format, which is then kept to, or None or "auto": then the format may change if nothing else works.
    """
    free = wanted in {None, AUTO}
    aim = _auto(task, parameters) if free else str(wanted)
    ways = {"int4": [*_int4(dimensions)], "int8": [_INT8], "fp16": [_FP16]}[aim]
    if free:
        ways += [each for each in (_INT8, _FP16) if each not in ways]
    return aim, ways


def _auto(task: str, parameters: int) -> str:
    if task in {"embedding", "rerank"}:
        # 16 bits are no faster: MiniLM's ms of CPU a text on two cores (medians, in turn, computing in f32), fp16 and
        # int8: of 10 tokens in batches 4.2 and 4.1, alone 8.9 and 8.2; of 83 tokens 35.7 and 35.6, alone 32.0 and 32.5.
        return "int8"
    return "int8" if parameters < _SMALL else "int4"


def _int4(dimensions: Sequence[int]) -> list[Conversion]:
    """Four bits, symmetric: the fastest on a CPU (tokens per second of SmolLM2-135M on two cores: symmetric groups of
    64 83, asymmetric 68, groups of 32 76, int8 57), and what GPUs and NPUs have kernels for.

    A group must divide the lengths that it lies along: 128 does not divide SmolLM2's 576, and 64 does.
    """
    group = next((each for each in _GROUPS if dimensions and all(length % each == 0 for length in dimensions)), None)
    base = {"bits": 4, "sym": True, "ratio": 1.0, "weight_only": True}
    exact = [Conversion(f"int4-sym-{group}", "int4", {**base, "group_size": group})] if group else []
    # Where a layer's length is not what the configuration says: a group that divides it, or 8 bits for that layer.
    loose = Conversion("int4-sym-fitted", "int4", {**base, "group_size": 64, "group_size_fallback": "adjust"})
    return [*exact, loose]
