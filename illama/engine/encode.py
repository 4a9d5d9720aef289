"""The loop of an embedding or a rerank model: take what waits, run a batch, hand back what is complete.

Knows: requests, their order, what an encoder can be asked. Does not know: OpenVINO, the framing of the pipe.
"""

from __future__ import annotations

import array
import base64
import itertools
import queue
import sys
import traceback
from collections import deque
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
    lanes: int  # batches that are worked on at the same time, if there is enough to do
    block: int  # a batch's texts have the same number of whole blocks of so many tokens; 0: any go together

    def tokenize(self, texts: Sequence[tuple[str | list[int], str]]) -> list[Tokens]:
        """The tokens of texts, or these tokens, each with its kind ("document" or "query"); however many they are.

        Raises RequestError for ids that the model does not have.
        """

    def pair(self, query: str, texts: Sequence[str]) -> list[Tokens]:
        """The tokens of a query with each of the texts."""

    def shorten(self, tokens: Tokens) -> Tokens:
        """The tokens cut to the model's context."""

    def start(self, batch: Sequence[Tokens], *, alone: bool = True) -> Callable[[], Sequence[Any]]:
        """Begin a batch; what is returned waits for its results: of each text the vector, or of each pair the score.

        `alone`: nothing else is under way, and nothing will be soon. Otherwise at most `lanes` are under way at once.
        A vector is little-endian float32, a score a number from 0 to 1. Both raise DeviceError.
        """


@dataclass
class _Request:
    op: str
    dimensions: int | None
    tokens: list[int]
    results: list[Any]
    missing: int


# Texts that wait from which on they are shared among the lanes: fewer are done sooner by the whole device.
_SHARED_FROM = 32


class EncoderWorker:
    """The loop. `send` writes messages to the host: all that a batch has completed go together."""

    def __init__(
        self,
        encoder: Encoder,
        commands: queue.SimpleQueue[dict[str, Any]],
        send: Callable[[list[dict[str, Any]]], None],
    ) -> None:
        self._encoder = encoder
        self._commands = commands
        self._send = send
        self._queue = BatchQueue(encoder.max_texts, encoder.max_tokens, encoder.block)
        self._requests: dict[int, _Request] = {}
        self._under_way: deque[tuple[list[Item], Callable[[], Sequence[Any]]]] = deque()
        self._unsent: list[dict[str, Any]] = []

    def run(self) -> None:
        """Serve until the process ends. Raises DeviceError when a batch failed."""
        while True:
            # All that came during the last batch goes into the next one.
            waiting: list[dict[str, Any]] = []
            while True:
                try:
                    waiting.append(self._commands.get(block=not (self._queue or self._under_way or waiting)))
                except queue.Empty:
                    break
            self.take(waiting)
            self.step()

    def step(self) -> None:
        """Begin as many batches as there are lanes for, wait for the oldest one, and send what is complete."""
        self._fill()
        if not self._under_way:
            return
        batch, results = self._under_way.popleft()
        found = results()
        # The other lane has something to do while this one's results are packed and sent.
        done: set[int] = set()
        for item, result in zip(batch, found, strict=True):
            request = self._requests.get(item.id)
            if request is None:  # cancelled while it was worked on
                continue
            request.results[item.at] = result if request.op == "rerank" else _packed(result, request.dimensions)
            request.missing -= 1
            if not request.missing:
                done.add(item.id)
        for id in sorted(done):
            self._finish(id)
        if not done:
            self._tell({"ev": "alive"})
        self._flush()

    def _fill(self) -> None:
        lanes = self._encoder.lanes
        while self._queue and len(self._under_way) < lanes:
            waiting, free = len(self._queue), lanes - len(self._under_way)
            alone = lanes == 1 or (free == lanes and waiting < _SHARED_FROM)
            # What is left at the end is shared out, so that no lane is idle while another has all of it.
            batch = self._queue.next(None if alone else max(-(-waiting // free), 1))
            tokens = [item.payload for item in batch]
            self._under_way.append((batch, self._encoder.start(tokens, alone=alone)))
            if alone:
                return

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
        self._flush()

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
        self._tell({"ev": "result", "id": id, key: request.results, "tokens": request.tokens})

    def _tell(self, message: dict[str, Any]) -> None:
        self._unsent.append(message)

    def _flush(self) -> None:
        if self._unsent:
            self._send(self._unsent)
            self._unsent = []

    def _refuse(self, id: int, error: IllamaError) -> None:
        self._tell({"ev": "refused", "id": id, "error": pack_error(error)})


def _packed(vector: bytes, dimensions: int | None) -> str:
    """A vector as the protocol has it. With fewer dimensions it is cut and made of length 1 again."""
    if dimensions is not None and dimensions * 4 < len(vector):
        cut = _swapped(array.array("f", vector[: dimensions * 4]))
        length = sum(value * value for value in cut) ** 0.5 or 1.0
        vector = _swapped(array.array("f", [value / length for value in cut])).tobytes()
    return base64.b64encode(vector).decode()


def _swapped(numbers: array.array[float]) -> array.array[float]:
    """Little-endian from this machine's order, or the other way round."""
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
