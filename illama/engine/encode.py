"""The loop of an embedding or a rerank model: take what waits, run a batch, hand back what is complete.

Knows: requests, their order, what an encoder can be asked. Does not know: OpenVINO, the framing of the pipe.
"""

from __future__ import annotations

import base64
import itertools
import queue
import struct
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from illama.engine.batching import BatchQueue, Item
from illama.engine.protocol import Facts, pack_error
from illama.errors import ContextLengthError, EngineError, IllamaError, RequestError


@dataclass(frozen=True)
class Tokens:
    """A tokenized text, never empty. `types` are the token type ids where the model knows two kinds."""

    ids: Sequence[int]
    types: Sequence[int] | None = None


class Encoder(Protocol):
    """A loaded embedding or rerank model. All calls come from one thread."""

    facts: Facts
    max_texts: int  # of a batch
    max_tokens: int  # of a batch, its padding too
    block: int  # a batch's texts have the same number of whole blocks of so many tokens; 0: any go together

    def tokenize(self, texts: Sequence[tuple[str | list[int], str]]) -> list[Tokens]:
        """The tokens of texts, or these tokens, each with its kind ("document" or "query"); however many they are.

        Raises RequestError for ids that the model does not have.
        """

    def pair(self, query: str, texts: Sequence[str]) -> list[Tokens]:
        """The tokens of a query with each of the texts."""

    def shorten(self, tokens: Tokens) -> Tokens:
        """The tokens cut to the model's context."""

    def vectors(self, batch: Sequence[Tokens]) -> list[Sequence[float]]:
        """The vector of each text. Raises DeviceError."""

    def scores(self, batch: Sequence[Tokens]) -> list[float]:
        """The relevance of each pair, from 0 to 1. Raises DeviceError."""


@dataclass
class _Request:
    op: str
    dimensions: int | None
    tokens: list[int]
    results: list[Any]
    missing: int


class EncoderWorker:
    """The loop. `send` writes a message to the host."""

    def __init__(
        self,
        encoder: Encoder,
        commands: queue.SimpleQueue[dict[str, Any]],
        send: Callable[[dict[str, Any]], None],
    ) -> None:
        self._encoder = encoder
        self._commands = commands
        self._send = send
        self._queue = BatchQueue(encoder.max_texts, encoder.max_tokens, encoder.block)
        self._requests: dict[int, _Request] = {}

    def run(self) -> None:
        """Serve until the process ends. Raises DeviceError when a batch failed."""
        while True:
            # All that came during the last batch goes into the next one.
            waiting: list[dict[str, Any]] = []
            while True:
                try:
                    waiting.append(self._commands.get(block=not (self._queue or waiting)))
                except queue.Empty:
                    break
            self.take(waiting)
            self.step()

    def step(self) -> None:
        """Run one batch and send what is complete."""
        batch = self._queue.next()
        if not batch:
            return
        tokens = [item.payload for item in batch]
        if self._encoder.facts["task"] == "rerank":
            results: Sequence[Any] = self._encoder.scores(tokens)
        else:
            results = self._encoder.vectors(tokens)
        for item, result in zip(batch, results, strict=True):
            request = self._requests[item.id]
            request.results[item.at] = result if request.op == "rerank" else _packed(result, request.dimensions)
            request.missing -= 1
        done = {item.id for item in batch if not self._requests[item.id].missing}
        for id in sorted(done):
            self._finish(id)
        if not done:
            self._send({"ev": "alive"})

    def take(self, messages: Sequence[dict[str, Any]]) -> None:
        """Queue what is asked for, and drop what is cancelled."""
        cancelled = {message["id"] for message in messages if message["op"] == "cancel"}
        begun = [message for message in messages if message["op"] != "cancel" and message["id"] not in cancelled]
        # A call of the tokenizer costs more than a short text in it: all are given to it at once.
        plain = [message for message in begun if message["op"] == "embed"]
        try:
            tokens = self._tokenize(plain) if len(plain) > 1 else {}
        except Exception:  # noqa: BLE001 - one of them is at fault: each is tried by itself
            tokens = {}
        for message in begun:
            try:
                self._begin(message, tokens.get(message["id"]))
            except IllamaError as refusal:
                self._refuse(message["id"], refusal)
            except Exception as bug:  # noqa: BLE001 - one request's trouble must not be everybody's
                traceback.print_exc()
                self._refuse(message["id"], EngineError(f"The engine could not take this request: {bug!r}"))
        for id in cancelled:
            self._queue.drop(id)
            self._requests.pop(id, None)
            self._refuse(id, RequestError("The request was cancelled."))

    def _tokenize(self, messages: Sequence[dict[str, Any]]) -> dict[int, list[Tokens]]:
        texts = [(text, message.get("kind", "document")) for message in messages for text in self._clipped(message)]
        tokens = iter(self._encoder.tokenize(texts))
        return {message["id"]: list(itertools.islice(tokens, len(message["texts"]))) for message in messages}

    def _clipped(self, message: dict[str, Any]) -> list[Any]:
        """The texts without what is so far beyond the context that it need not even be tokenized."""
        facts = self._encoder.facts
        most = facts["max_prompt_chars"]
        for text in message["texts"]:
            if len(text) > most and not message.get("truncate"):
                at_least = len(text) * facts["context_length"] // most
                raise ContextLengthError.of(facts["context_length"], at_least, at_least=True)
        return [text[:most] for text in message["texts"]]

    def _begin(self, message: dict[str, Any], tokens: list[Tokens] | None) -> None:
        encoder, id, op = self._encoder, message["id"], message["op"]
        if (op == "rerank") != (encoder.facts["task"] == "rerank") or op not in ("embed", "rerank"):
            raise RequestError(f"A model for {encoder.facts['task']} cannot {op}.")
        limit = encoder.facts["context_length"]
        if op == "rerank":
            tokens = encoder.pair(message["query"][: encoder.facts["max_prompt_chars"]], self._clipped(message))
        elif tokens is None:
            tokens = self._tokenize([message])[id]
        for at, each in enumerate(tokens):
            if len(each.ids) > limit:
                if not message.get("truncate"):
                    raise ContextLengthError.of(limit, len(each.ids))
                tokens[at] = encoder.shorten(each)
        items = [Item(id, at, len(each.ids), each) for at, each in enumerate(tokens)]
        lengths = [item.tokens for item in items]
        self._requests[id] = _Request(op, message.get("dimensions"), lengths, [None] * len(items), len(items))
        self._queue.add(items)
        if not items:
            self._finish(id)

    def _finish(self, id: int) -> None:
        request = self._requests.pop(id)
        key = "scores" if request.op == "rerank" else "vectors"
        self._send({"ev": "result", "id": id, key: request.results, "tokens": request.tokens})

    def _refuse(self, id: int, error: IllamaError) -> None:
        self._send({"ev": "refused", "id": id, "error": pack_error(error)})


def _packed(vector: Sequence[float], dimensions: int | None) -> str:
    """A vector as the protocol has it. With fewer dimensions it is cut and made of length 1 again."""
    if dimensions is not None and dimensions < len(vector):
        vector = vector[:dimensions]
        length = sum(value * value for value in vector) ** 0.5 or 1.0
        vector = [value / length for value in vector]
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
