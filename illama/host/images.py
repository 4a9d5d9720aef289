"""The images of a chat request: what is taken, how much of it, and how the engine is told where each belongs.

Knows: data URLs, the limits, GenAI's tags. Does not know: messages' other parts, how images are decoded (the engine).
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from illama.errors import BodyTooLargeError, RequestError, UnsupportedError

# How many images a request may have, and the bytes of each one's file. Its size in points is seen before it is decoded.
MAX_IMAGES = 16
MAX_BYTES = 20 * 2**20
# The first bytes by which the kinds that the engine decodes are known.
_KINDS = {b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG", b"GIF8": "GIF", b"RIFF": "WebP"}
_DATA = re.compile(r"data:[\w.+-]+/[\w.+-]+(?:;[\w=.+-]+)*;base64,", re.IGNORECASE)
# How GenAI is told where in a prompt an image belongs, whatever the model's own tag is.
_TAG = "<ov_genai_image_{number}>"


class Images:
    """Collects the images of one request, in the order of their parts."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def tag(self, part: dict[str, Any], where: str) -> str:
        """Take the image of an `image_url` part; returns the text that stands for it.

        Raises RequestError for what is no image, too large or one too many, UnsupportedError for an address elsewhere.
        """
        given = part.get("image_url")
        url = given.get("url") if isinstance(given, dict) else given
        if not isinstance(url, str):
            raise RequestError(f"{where}.image_url.url is missing.", param=where)
        if len(self.found) >= MAX_IMAGES:
            raise RequestError(f"The request has more than {MAX_IMAGES} images.", param=where)
        self.found.append(_checked(url, where))
        return _TAG.format(number=len(self.found) - 1)


def _checked(url: str, where: str) -> str:
    head = _DATA.match(url)
    if head is None:
        if url.lower().startswith("data:"):
            raise RequestError(f"{where}: the data URL is not in base64.", param=where)
        raise UnsupportedError(
            f"{where}: the model host fetches no images from elsewhere.",
            hint="Send the image itself, as data:image/png;base64,…; or the host's owner sets ILLAMA_IMAGE_URLS=1.",
            param=where,
        )
    data = url[head.end() :]
    if len(data) > MAX_BYTES * 4 // 3 + 4:
        raise BodyTooLargeError(
            f"{where}: the image is larger than {MAX_BYTES // 2**20} MiB.", hint="Send a smaller one.", param=where
        )
    try:
        content = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise RequestError(f"{where}: the image is no valid base64.", param=where) from None
    kind = next((name for start, name in _KINDS.items() if content.startswith(start)), None)
    if kind is None or (kind == "WebP" and content[8:12] != b"WEBP"):
        raise RequestError(f"{where} is no image that is known.", hint="Send PNG, JPEG, WebP or GIF.", param=where)
    return data
