"""Pictures in a question: what `--image VAR` sends.

Knows: matplotlib's figures, PIL's images, arrays, files, whatever shows itself as PNG. Does not know: these packages,
which it never imports: it looks at what is there. Nothing is fetched from anywhere.
"""

from __future__ import annotations

import base64
import io
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

from illama.errors import RequestError

_KINDS = ((b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "jpeg"), (b"GIF8", "gif"))
_COLOURS = {1: 0, 3: 2, 4: 6}  # channels of an array: PNG's number for grey, RGB, RGBA


def data_url(picture: Any, name: str) -> str:
    """The picture as a data URL: files as they are, all else as PNG. Raises RequestError for what is no picture.

    An array has the shape (height, width) or (height, width, 1, 3 or 4); whole numbers are 0 to 255, others 0 to 1.
    """
    if isinstance(picture, str) and picture.startswith("data:image/"):
        return picture
    content = _content(picture, name)
    kind = next((kind for start, kind in _KINDS if content.startswith(start)), None)
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        kind = "webp"
    if kind is None:
        raise RequestError(f"{name} is no picture in a known format.", hint="PNG, JPEG, WebP and GIF are known.")
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _content(picture: Any, name: str) -> bytes:
    if isinstance(picture, bytes | bytearray):
        return bytes(picture)
    if isinstance(picture, str | Path):
        path = Path(picture).expanduser()
        try:
            return path.read_bytes()
        except OSError as problem:
            raise RequestError(
                f"The picture {path} cannot be read: {problem.strerror}.", hint="--image takes a variable, or a file."
            ) from None
    figure: Any = picture if hasattr(picture, "savefig") else getattr(picture, "figure", None)
    if hasattr(figure, "savefig"):
        file = io.BytesIO()
        figure.savefig(file, format="png", bbox_inches="tight")
        return file.getvalue()
    if type(picture).__module__.partition(".")[0] == "PIL":
        return _of_pil(picture)
    if hasattr(picture, "_repr_png_"):
        shown = picture._repr_png_()
        shown = shown[0] if isinstance(shown, tuple) else shown
        if shown:
            return base64.b64decode(shown) if isinstance(shown, str) else bytes(shown)
    if hasattr(picture, "__array__") and "numpy" in sys.modules:
        return _of_array(sys.modules["numpy"].asarray(picture), name)
    raise RequestError(
        f"{name} is a {type(picture).__name__}, which is no picture.",
        hint="--image takes a matplotlib figure, a PIL image, an array, bytes or a file's path.",
    )


def _of_pil(picture: Any) -> bytes:
    file = io.BytesIO()
    # PNG knows no floating point and no print colours.
    (picture if picture.mode in ("1", "L", "LA", "P", "RGB", "RGBA") else picture.convert("RGB")).save(file, "PNG")
    return file.getvalue()


def _of_array(array: Any, name: str) -> bytes:
    numpy = sys.modules["numpy"]
    points = array[:, :, None] if array.ndim == 2 else array
    if points.ndim != 3 or points.shape[2] not in _COLOURS or 0 in points.shape:
        raise RequestError(
            f"{name} is an array of the shape {array.shape}, which is no picture.",
            hint="A picture's shape is (height, width), (height, width, 3) or (height, width, 4).",
        )
    if points.dtype.kind == "f":
        points = numpy.nan_to_num(points).clip(0, 1) * 255 + 0.5
    elif points.dtype.kind == "b":
        points = points * 255
    points = points.clip(0, 255).astype("uint8")
    height, width, channels = points.shape
    # Each line of a PNG begins with a byte for its filter: none.
    lines = numpy.concatenate([numpy.zeros((height, 1), "uint8"), points.reshape(height, -1)], axis=1)
    head = struct.pack(">IIBBBBB", width, height, 8, _COLOURS[channels], 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(lines.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
