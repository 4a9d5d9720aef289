"""What the header of a GGUF file says, and whether OpenVINO GenAI can read that file at all.

Knows: the GGUF format up to where the weights begin. Does not know: weights, conversion.

The header is read here and not by the `gguf` package: that one builds an array for every token of the vocabulary, which
takes seconds, and needs numpy. GenAI's own reader checks no bounds, so a cut file must be found before it gets there.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import mmap
import re
import struct
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from illama.errors import PullError

ARCHITECTURES = ("llama", "qwen2", "qwen3")

# ggml's number of a tensor kind: its name, weights in a block, bytes of a block. These are the kinds that GenAI reads.
KINDS: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    8: ("Q8_0", 32, 34),
    12: ("Q4_K", 256, 144),
    14: ("Q6_K", 256, 210),
    30: ("BF16", 1, 2),
}
# Kinds that it doesn't, by name, so that the message can say what the file has.
_OTHERS = {6: "Q5_0", 7: "Q5_1", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 13: "Q5_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS"}
_OTHERS |= {18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 29: "IQ1_M", 39: "MXFP4"}
# llama.cpp's `general.file_type`, where it says more than the tensors' kinds do.
_FILE_TYPES = {14: "q4_k_s", 15: "q4_k_m", 18: "q6_k"}

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_QUANT_SUFFIX = re.compile(r"[.\-_](?:I?Q\d\w*|B?F16|F32|FP16|MXFP4)$", re.IGNORECASE)
READABLE = "Use a file whose weights are Q4_0, Q4_1, Q4_K, Q6_K, Q8_0, F16, BF16 or F32."


@dataclass(frozen=True)
class GgufFacts:
    """What a GGUF file's header says. `context_length` is in tokens, `ir_size` the expected size as IR in bytes."""

    architecture: str
    weight_format: str
    context_length: int | None
    chat_template: bool
    licence: str | None
    ir_size: int


class _CutError(Exception):
    pass


def read_header(path: Path) -> GgufFacts:
    """Read a file's header. Raises PullError for a file that is cut, or that GenAI cannot read."""
    if path.stat().st_size == 0:
        raise PullError(f"{path.name} is empty.", hint="Download the file again.", status=400)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            return _facts(path.name, _Cursor(data))
        except _CutError:
            raise PullError(
                f"{path.name} is cut: its header speaks of more than its {len(data)} bytes.",
                hint="Download the file again.",
                status=400,
            ) from None


def model_name(path: Path) -> str:
    """What a model is called by its file: `SmolLM2-135M-Instruct.Q4_1.gguf` is `SmolLM2-135M-Instruct`."""
    return _QUANT_SUFFIX.sub("", path.name[: -len(path.suffix)])


class _Cursor:
    """A place in the header that cannot leave the file."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at, self.size = data, 0, len(data)

    def skip(self, count: int) -> int:
        start, self.at = self.at, self.at + count
        if self.at > self.size:
            raise _CutError
        return start

    def number(self, code: str) -> Any:
        kind = struct.Struct(f"<{code}")
        return kind.unpack_from(self.data, self.skip(kind.size))[0]

    def text(self) -> str:
        length = self.number("Q")
        start = self.skip(length)
        return self.data[start : start + length].decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        """A value; for an array only its length, because none of those that matter here is one."""
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            return self.number(_code(kind))
        inner, count = self.number("I"), self.number("Q")
        if inner == _STRING:
            for _ in range(count):
                self.skip(self.number("Q"))
        else:
            self.skip(count * struct.calcsize(f"<{_code(inner)}"))
        return count


def _code(kind: int) -> str:
    if kind not in _SCALARS:
        raise PullError(f"The file's header has a value of the unknown kind {kind}.", hint="Download it again.")
    return _SCALARS[kind]


def _facts(name: str, cursor: _Cursor) -> GgufFacts:
    start = cursor.skip(4)
    if cursor.data[start : start + 4] != b"GGUF":
        raise PullError(f"{name} is not a GGUF file.", hint="Give a .gguf file or an OpenVINO folder.", status=400)
    version = cursor.number("I")
    if version not in {2, 3}:
        raise _unusable(name, f"it has version {version} of the format, or the byte order of another machine")
    tensors, pairs = cursor.number("Q"), cursor.number("Q")
    header: dict[str, Any] = {}
    for _ in range(pairs):
        key = cursor.text()
        header[key] = cursor.value(cursor.number("I"))
    architecture = str(header.get("general.architecture"))
    if architecture not in ARCHITECTURES:
        raise _unusable(name, f"its architecture is {architecture}; readable are {', '.join(ARCHITECTURES)}")
    if header.get("split.count", 1) != 1:
        raise _unusable(name, "it is one part of several")
    sizes, ir_size = _tensors(name, cursor, tensors, header.get("general.alignment", 32))
    main_kind = max(sizes, key=lambda kind: sizes[kind], default="f32").lower()
    context = header.get(f"{architecture}.context_length")
    return GgufFacts(
        architecture=architecture,
        weight_format=_FILE_TYPES.get(header.get("general.file_type", -1), main_kind),
        context_length=context if isinstance(context, int) and context > 0 else None,
        chat_template=bool(header.get("tokenizer.chat_template")),
        licence=str(header["general.license"]) if header.get("general.license") else None,
        ir_size=ir_size,
    )


def _tensors(name: str, cursor: _Cursor, count: int, alignment: int) -> tuple[Counter[str], int]:
    """The bytes of each kind of tensor, and of all of them as IR. Raises _CutError if the file ends before they do."""
    sizes: Counter[str] = Counter()
    ir_size = end = 0
    for _ in range(count):
        tensor = cursor.text()
        shape = [cursor.number("Q") for _ in range(min(cursor.number("I"), 5))]
        kind, offset = cursor.number("I"), cursor.number("Q")
        if kind not in KINDS:
            raise _unusable(
                name, f"{tensor} is {_OTHERS.get(kind, f'of kind {kind}')}, which OpenVINO GenAI cannot read"
            )
        label, weights, block = KINDS[kind]
        size = math.prod(shape) // weights * block
        sizes[label] += size
        # GenAI turns Q6_K into F16: its groups of 16 have no match in OpenVINO.
        ir_size += 2 * math.prod(shape) if label == "Q6_K" else size
        end = max(end, offset + size)
    if not isinstance(alignment, int) or alignment <= 0:
        raise _CutError
    begin = -(-cursor.at // alignment) * alignment
    if begin + end > cursor.size:
        raise _CutError
    return sizes, ir_size


def _unusable(name: str, why: str) -> PullError:
    return PullError(f"{name} cannot be used: {why}.", hint=READABLE, status=400)
