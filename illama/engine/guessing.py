"""Guessing the next tokens, by a draft model or by looking them up in the prompt: what GenAI must be told for it.

Knows: the options of a `load` message. Does not know: pipelines, requests.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openvino_genai as genai

from illama.errors import LoadError

# Tokens that are guessed at a time, and the length of the runs that the prompt is searched for.
GUESSED, NGRAM = 4, 3


def looks_up(message: dict[str, Any]) -> bool:
    """Whether a `load` message wants prompt lookup."""
    return bool((message.get("options") or {}).get("prompt_lookup"))


def parameters(message: dict[str, Any]) -> dict[str, int]:
    """What each request must say where the next tokens are guessed: how many, and from runs of how many."""
    tokens = {"num_assistant_tokens": int((message.get("options") or {}).get("draft_tokens") or GUESSED)}
    if message.get("draft"):
        return tokens
    return {**tokens, "max_ngram_size": NGRAM} if looks_up(message) else {}


def same_tokens(tokenizer: Any, draft: str) -> None:
    """Return if a draft model has the same tokens. Raises LoadError: its guesses would be another text."""
    if genai.Tokenizer(draft).get_vocab() != tokenizer.get_vocab():
        raise LoadError(
            f"{Path(draft).name} cannot draft for this model: its tokens are others.",
            hint="Take it back with `illama set MODEL draft=`, or name a model of the same family.",
        )
