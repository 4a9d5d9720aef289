"""Decodes a request's images, for models that see.

Knows: Pillow, how large an image may be. Does not know: models, the pipe, where an image came from.
"""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import openvino

from illama.errors import RequestError, UnsupportedError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
# A file of kilobytes may claim to have gigapixels: what its header says is seen before anything is decoded.
MAX_POINTS = 50_000_000


def decode(data: str, number: int) -> Any:
    """An image file in base64 as OpenVINO's tensor of shape [1, height, width, 3]; of several frames, the first.

    What is transparent becomes white, and a photograph is turned as its camera says. Raises RequestError.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise UnsupportedError(
            "The engine's interpreter cannot decode images.", hint="Install pillow there.", param="messages"
        ) from None
    Image.MAX_IMAGE_PIXELS = None  # ours is lower, and says what to do
    where = f"Image {number + 1} of the request"
    try:
        with Image.open(io.BytesIO(base64.b64decode(data)), formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_POINTS:
                raise RequestError(
                    f"{where} has {width} x {height} points, more than {MAX_POINTS // 10**6} million.",
                    hint="Send a smaller one.",
                    param="messages",
                )
            turned = ImageOps.exif_transpose(image).convert("RGBA")
            opaque = Image.alpha_composite(Image.new("RGBA", turned.size, "white"), turned).convert("RGB")
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise RequestError(
            f"{where} cannot be decoded.", hint="Send a whole PNG, JPEG, WebP or GIF file.", param="messages"
        ) from error
    return openvino.Tensor(np.asarray(opaque)[None].copy())
