"""How a handler says what its methods take and answer, for `/openapi.json`.

Knows: the words for it. Does not know: any endpoint, or how the document is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

EVENTS = "text/event-stream"
LINES = "application/x-ndjson"
PLAIN = "text/plain"
JSON = "application/json"


@dataclass(frozen=True)
class Operation:
    """What one method of a path takes and answers; types are msgspec's.

    `stream` is what one event (`EVENTS`) or one line (`LINES`, by `media`) of a streamed answer holds; `query` are
    the parameters of its query, all of them strings that may be left out, with what they mean.
    """

    answer: Any
    request: Any = None
    stream: Any = None
    media: str = EVENTS
    plain: bool = False  # the answer is text
    query: Mapping[str, str] = field(default_factory=dict)
