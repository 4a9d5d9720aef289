"""What is known of a model before it is made, and how to make it.

Knows: the fields that every kind of source has to tell. Does not know: the kinds, or the registry.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from illama.config import Settings
from illama.pull import convert, gguf, recipes
from illama.pull.progress import Progress

TOKENIZER_SPACE = 16 << 20  # the IR of tokenizer, detokenizer and graph, generously


@dataclass(frozen=True)
class Wishes:
    """What the user asked for beside the source; `settings` are those in force.

    `weight_format` is "int4", "int8", "fp16", "auto" or None; `trust_remote_code` and `make_environment` say what the
    user has agreed to; `token` is for a hub, and for nothing else.
    """

    settings: Settings
    device: str | None = None
    weight_format: str | None = None
    trust_remote_code: bool = False
    make_environment: bool = False
    token: str | None = field(default=None, repr=False)


def _nothing() -> None:
    """Most sources leave nothing behind."""


@dataclass(frozen=True)
class Plan:
    """`make` fills a staging folder and tells the rest of the entry, its `weight_format` too if that came out another;
    `space` is what it needs there in bytes. `converts` says that the weights' format can be chosen.

    `alone` is held from the last look at the registry to the end, so that two pulls of one source do not fetch it
    twice; `done` is called when the model is in the registry.
    """

    base: str
    digest: str
    weight_format: str | None
    source: Mapping[str, Any]
    space: int
    make: Callable[[Path], Mapping[str, Any]]
    aliases: tuple[str, ...] = ()
    repo: str | None = None
    converts: bool = False
    alone: Callable[[], AbstractContextManager[object]] = nullcontext
    done: Callable[[], None] = _nothing


def from_gguf(
    file: Path,
    facts: gguf.GgufFacts,
    name: str,
    staged: Path,
    device: str | None,
    settings: Settings,
    progress: Progress,
) -> dict[str, Any]:
    """Make a GGUF file's IR in a staging folder, and tell what the entry needs to know."""
    recipe = recipes.for_gguf(device)
    python = settings.engine_python or Path(sys.executable)
    versions = convert.to_ir(file, staged, python, name, progress)
    return {
        "architecture": facts.architecture,
        "context_length": facts.context_length,
        "chat_template": facts.chat_template,
        "licence": facts.licence,
        "recipe": {"name": recipe.name, "device": device, "weights": facts.weight_format, **versions},
    }
