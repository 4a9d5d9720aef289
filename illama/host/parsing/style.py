"""Which formats a model writes in, as its chat template and its architecture tell.

Knows: what is typical of each family's template. Does not know: how the formats are parsed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

_THINK = (("<think>", "</think>"), ("[THINK]", "[/THINK]"))


class Style(NamedTuple):
    """How a model writes: `think` is the pair of tags around its reasoning, if it reasons."""

    think: tuple[str, str] | None

    def opened(self, prompt_end: str) -> bool:
        """Whether a prompt that ends so has opened the reasoning."""
        return self.think is not None and prompt_end.rstrip().endswith(self.think[0])


@lru_cache(maxsize=64)
def style_of(template: str, architecture: str | None) -> Style:
    """The style of a model with this chat template."""
    think = next((tags for tags in _THINK if tags[0] in template or tags[1] in template), None)
    return Style(think)
