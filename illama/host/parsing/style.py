"""Which formats a model writes in, as its chat template and its architecture tell.

Knows: what is typical of each family's template. Does not know: how the formats are parsed.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from illama.host.parsing import grammars
from illama.host.parsing.grammars import Grammar
from illama.host.parsing.tags import Tags, tags_of

_THINK = (("<think>", "</think>"), ("[THINK]", "[/THINK]"))
_RESULTS = re.compile(r"""["'](?:tool|ipython)["']""")
_TOOLS_IN_SYSTEM = re.compile(r"""message(?:\[["']tools["']\]|\.tools\b)""")
_NO_CONTENT = re.compile(r"""content(?:["']\])? is none""")
# What a template must mention, all of it, for a family. The first that fits counts.
_FAMILIES: tuple[tuple[tuple[str, ...], Grammar], ...] = (
    (("<|channel|>", "<|start|>"), grammars.harmony),
    (("tool\u2581call\u2581begin",), grammars.deepseek),
    (("[TOOL_CALLS]",), grammars.mistral),
    (("<tool_call>",), grammars.hermes),
    (("<|tool_call|>",), grammars.phi),
    (("<|tool|>",), grammars.phi),
    (("<|python_tag|>",), grammars.llama),
    (("<|start_header_id|>", '"parameters"'), grammars.llama),
    (("functools",), grammars.phi),
)


class Style(NamedTuple):
    """How a model writes: the pair of tags around its reasoning, if it reasons, and how it calls tools.

    `tags` surround a call that can be guided once it has begun.

    And what its template reads: calls and results in the history, tools in the system message (Phi-4's), calls of a
    message alone whose content is none (DeepSeek's).
    """

    think: tuple[str, str] | None
    calls: Grammar
    tags: Tags | None = None
    calls_in_history: bool = False
    results: bool = False
    tools_in_system: bool = False
    calls_without_content: bool = False

    @property
    def channels(self) -> bool:
        """Whether every answer is in channels, so that even plain text has to be parsed."""
        return self.calls is grammars.harmony

    @property
    def short_ids(self) -> bool:
        """Whether ids of calls must be of nine letters and digits (Mistral's templates refuse all others)."""
        return self.calls is grammars.mistral

    def opened(self, prompt_end: str) -> bool:
        """Whether a prompt that ends so has opened the reasoning."""
        return self.think is not None and prompt_end.rstrip().endswith(self.think[0])


@lru_cache(maxsize=64)
def style_of(template: str, architecture: str | None) -> Style:
    """The style of a model with this chat template."""
    think = next((tags for tags in _THINK if tags[0] in template or tags[1] in template), None)
    family = next((calls for marks, calls in _FAMILIES if all(mark in template for mark in marks)), None)
    if family is None:
        family = grammars.llama if architecture == "llama" and "<|eot_id|>" in template else grammars.anything
    return Style(
        think,
        family,
        tags_of(family, template),
        calls_in_history="tool_calls" in template,
        results=bool(_RESULTS.search(template)),
        calls_without_content=bool(_NO_CONTENT.search(template)),
        tools_in_system=bool(_TOOLS_IN_SYSTEM.search(template)),
    )
