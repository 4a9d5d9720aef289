"""One answer while it is made: its text so far to be sent, and its figures.

Knows: detokenizing, stop strings, times. Does not know: how tokens are made, the pipe.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from illama.engine.backend import Backend, Output
from illama.engine.text import Detokenizer, StopScanner

# The texts of tokens that were met: without special tokens, and with them.
Known = tuple[dict[int, str], dict[int, str]]


@dataclass
class Answer:
    """The state of one request in the engine. Times are of the monotonic clock, in seconds."""

    id: int
    prompt_tokens: int
    cached_tokens: int
    scanner: StopScanner
    wants_logprobs: bool
    keeps_special: bool
    arrived: float
    detokenizer: Detokenizer
    completion_tokens: int = 0
    read: int = 0  # tokens of the prompt, as far as it is known
    first: float = 0.0
    last: float = 0.0

    @classmethod
    def of(cls, request: dict[str, Any], known: Known, prompt_tokens: int, cached_tokens: int) -> Answer:
        """The answer to a `generate` message; `known` is what all of an engine's answers share."""
        special = bool(request.get("keep_special"))
        return cls(
            request["id"],
            prompt_tokens,
            cached_tokens,
            scanner=StopScanner(request.get("stop") or []),
            wants_logprobs=bool(request.get("sampling", {}).get("logprobs")),
            keeps_special=special,
            arrived=request["arrived"],
            detokenizer=Detokenizer(known[special]),
            read=cached_tokens,
        )

    def count(self, tokens: int) -> None:
        """Note that so many tokens came now."""
        self.last = time.monotonic()
        if not self.completion_tokens:
            self.first = self.last
        self.completion_tokens += tokens

    def summary(self, finish: str) -> dict[str, Any]:
        """The entry of `done` in the protocol."""
        first = self.first or time.monotonic()
        return {
            "id": self.id,
            "finish_reason": finish,
            "prompt_tokens": self.prompt_tokens,
            "cached_tokens": self.cached_tokens,
            "completion_tokens": self.completion_tokens,
            "prompt_ms": round((first - self.arrived) * 1000, 3),
            "predicted_ms": round((self.last - first) * 1000, 3) if self.completion_tokens else 0.0,
        }


def advance(backend: Backend, answers: dict[int, Answer], outputs: Sequence[Output]) -> dict[str, Any] | None:
    """Turn what a step brought into one `step` message; None if there is nothing to say.

    Answers that ended leave `answers`. One that hit a stop string is cancelled in the backend, and ends as "stop".
    """
    live = [(answers[out.id], out) for out in outputs if out.id in answers]
    # 1. Text that is known by heart; what is left is decoded in one call: its cost hardly depends on how much it is.
    pieces: dict[int, str] = {}
    unknown: list[Answer] = []
    for answer, out in live:
        if out.ids:
            answer.count(len(out.ids))
            piece = answer.detokenizer.push(out.ids)
            if piece is None:
                unknown.append(answer)
            else:
                pieces[answer.id] = piece
    for answer, texts in _decoded(backend, unknown):
        pieces[answer.id] = answer.detokenizer.take(texts)
    # 2. Stop strings, ends, and the message.
    tokens: list[list[Any]] = []
    done: list[dict[str, Any]] = []
    for answer, out in live:
        finish = out.finish
        sent = answer.scanner.feed(pieces.get(answer.id, ""))
        if finish and not answer.scanner.hit:
            if answer.detokenizer.pending:
                for _, texts in _decoded(backend, [answer]):
                    sent += answer.scanner.feed(answer.detokenizer.finish(texts))
            sent += "" if answer.scanner.hit else answer.scanner.flush()
        if answer.scanner.hit and finish is None:
            backend.cancel(answer.id)
        if answer.scanner.hit:
            finish = "stop"
        if sent or out.ids:
            tokens.append([answer.id, sent, len(out.ids), _logprobs(backend, answer, out)])
        if finish:
            answer.prompt_tokens = out.prompt_tokens or answer.prompt_tokens
            done.append(answer.summary(finish))
            del answers[answer.id]
    return {"ev": "step", "tokens": tokens, "done": done} if tokens or done else None


def _decoded(backend: Backend, answers: Sequence[Answer]) -> Iterator[tuple[Answer, list[str]]]:
    """The texts of each answer's rows; those that keep special tokens and the others have a call each."""
    for special in (False, True):
        part = [(answer, answer.detokenizer.rows()) for answer in answers if answer.keeps_special is special]
        texts = iter(backend.decode([row for _, rows in part for row in rows if row], special=special) if part else ())
        for answer, rows in part:
            yield answer, [next(texts) if row else "" for row in rows]


def _logprobs(backend: Backend, answer: Answer, out: Output) -> list[list[Any]] | None:
    if not answer.wants_logprobs or not out.ids:
        return None
    texts = backend.decode([[i] for i in out.ids])
    if out.finish == "stop" and not texts[-1]:
        texts.pop()  # the end-of-text token is not part of the answer
    return [[text, value] for text, value in zip(texts, out.logprobs, strict=False)]
