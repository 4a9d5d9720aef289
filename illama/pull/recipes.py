"""How a model is made for a device: a fixed table, so that nobody has to choose.

Knows: which way was measured to be best where. Does not know: how it is carried out.
"""

from __future__ import annotations

from dataclasses import dataclass


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
