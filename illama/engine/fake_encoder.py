"""A fake embedding and rerank model: vectors from the words' hashes, no model and no device.

Knows: how to be deterministic, and to put texts with words in common near each other. Does not know: OpenVINO.

The model folder's `fake.json` may hold load_sec, load_error and load_dies (as for `fake`), `dimensions`, `step_sec`
(how long a batch takes) and `log` (a file to which each batch's texts are added, a JSON list a line).
"""

from __future__ import annotations

import hashlib
import json
import struct
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from illama.engine.encode import Tokens
from illama.engine.fake import load_options
from illama.engine.protocol import Facts
from illama.errors import RequestError

_WORDS = 2**16  # ids that a token can have


class FakeEncoder:
    """A token is a word."""

    max_texts, max_tokens, block, lanes = 64, 4096, 0, 1

    def __init__(self, message: dict[str, Any]) -> None:
        self._options = load_options(message)
        self._words: dict[int, str] = {}
        context = message.get("context_length") or 512
        self._instructions = message.get("options") or {}
        self.facts: Facts = {
            "task": message["task"],
            "pipeline": "batched",
            "device": message["device"],
            "context_length": context,
            "slots": 1024,
            "max_prompt_chars": context * 64,
            "kv_bytes": 0,
            "chat_template": "",
            "tools": False,
            "dimensions": int(self._options.get("dimensions", 16)) if message["task"] == "embedding" else 0,
            "settings": {},
            "versions": {"fake": "1"},
        }

    def tokenize(self, texts: Sequence[tuple[str | list[int], str]]) -> list[Tokens]:
        return [Tokens(self._ids(text, kind)) for text, kind in texts]

    def _ids(self, text: str | list[int], kind: str) -> list[int]:
        if isinstance(text, list):
            if any(not 0 <= id < _WORDS for id in text):
                raise RequestError("There is no such token.", param="input")
            return text or [0]
        prefix: str = self._instructions.get("query_instruction" if kind == "query" else "embed_instruction", "")
        ids = []
        for word in (prefix + text).split():
            id = int.from_bytes(hashlib.sha256(word.encode()).digest()[:2], "little")
            self._words[id] = word
            ids.append(id)
        return ids or [0]

    def pair(self, query: str, texts: Sequence[str]) -> list[Tokens]:
        asked = self._ids(query, "query")
        both = [self._ids(text, "document") for text in texts]
        return [Tokens([*asked, *ids], [0] * len(asked) + [1] * len(ids)) for ids in both]

    def shorten(self, tokens: Tokens) -> Tokens:
        limit = self.facts["context_length"]
        return Tokens(tokens.ids[:limit], tokens.types[:limit] if tokens.types is not None else None)

    def start(self, batch: Sequence[Tokens], *, alone: bool = True) -> Callable[[], Sequence[Any]]:
        if self.facts["task"] == "rerank":
            return partial(self._scores, batch)
        return partial(self._vectors, batch)

    def _vectors(self, batch: Sequence[Tokens]) -> list[bytes]:
        self._work(batch)
        size = self.facts["dimensions"]
        return [struct.pack(f"<{size}f", *self._vector(tokens.ids)) for tokens in batch]

    def _scores(self, batch: Sequence[Tokens]) -> list[float]:
        self._work(batch)
        scores = []
        for tokens in batch:
            kinds = list(zip(tokens.ids, tokens.types or [], strict=True))
            asked, text = {id for id, kind in kinds if kind == 0}, {id for id, kind in kinds if kind == 1}
            scores.append(len(asked & text) / max(len(asked), 1))
        return scores

    def _work(self, batch: Sequence[Tokens]) -> None:
        time.sleep(self._options.get("step_sec", 0))
        if "log" in self._options:
            texts = [" ".join(self._words.get(id, "?") for id in tokens.ids) for tokens in batch]
            with Path(self._options["log"]).open("a", encoding="utf-8") as log:
                log.write(json.dumps(texts) + "\n")

    def _vector(self, ids: Sequence[int]) -> list[float]:
        size = self.facts["dimensions"]
        total = [0.0] * size
        for id in ids:
            digest = hashlib.shake_256(id.to_bytes(2, "little")).digest(size)
            total = [value + byte - 127.5 for value, byte in zip(total, digest, strict=True)]
        length = sum(value * value for value in total) ** 0.5 or 1.0
        return [value / length for value in total]
