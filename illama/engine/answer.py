"""One answer while it is made: its text so far to be sent, and its figures.

Knows: detokenizing, stop strings, times. Does not know: how tokens are made, the pipe.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from illama.engine.backend import Backend, Output
from illama.engine.text import Detokenizer, StopScanner


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
    detokenizer: Detokenizer = field(default_factory=Detokenizer)
    completion_tokens: int = 0
    first: float = 0.0
    last: float = 0.0

    @classmethod
    def of(cls, request: dict[str, Any], prompt_tokens: int, cached_tokens: int, arrived: float) -> Answer:
        """The answer to a `generate` message."""
        scanner = StopScanner(request.get("stop") or [])
        logprobs = bool(request.get("sampling", {}).get("logprobs"))
        special = bool(request.get("keep_special"))
        return cls(request["id"], prompt_tokens, cached_tokens, scanner, logprobs, special, arrived)

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
    grown = [(answer, out) for answer, out in live if out.ids]
    # 1. Decode all windows in one call: its cost hardly depends on how many there are.
    pieces: dict[int, str] = {}
    texts = _decode(backend, [(answer, answer.detokenizer.push(out.ids)) for answer, out in grown])
    for answer, out in grown:
        answer.count(len(out.ids))
        pieces[answer.id] = answer.detokenizer.take(texts[answer.id])
    # 2. What was sent becomes the context of the next window.
    moved = [answer for answer, _ in grown if pieces[answer.id]]
    contexts = _decode(backend, [(answer, answer.detokenizer.context()) for answer in moved])
    for answer in moved:
        answer.detokenizer.settle(contexts[answer.id])
    # 3. Stop strings, ends, and the message.
    tokens: list[list[Any]] = []
    done: list[dict[str, Any]] = []
    for answer, out in live:
        finish = out.finish
        sent = answer.scanner.feed(pieces.get(answer.id, ""))
        if finish and not answer.scanner.hit:
            window = answer.detokenizer.push(())
            rest = _decode(backend, [(answer, window)])[answer.id] if window else ""
            sent += answer.scanner.feed(answer.detokenizer.finish(rest) if window else "")
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


def _decode(backend: Backend, windows: list[tuple[Answer, list[int]]]) -> dict[int, str]:
    """The text of each answer's window; those that keep special tokens and the others have a call each."""
    texts: dict[int, str] = {}
    for special in (False, True):
        part = [(answer.id, ids) for answer, ids in windows if answer.keeps_special is special]
        if part:
            decoded = backend.decode([ids for _, ids in part], special=special)
            texts.update(zip((id for id, _ in part), decoded, strict=True))
    return texts


def _logprobs(backend: Backend, answer: Answer, out: Output) -> list[list[Any]] | None:
    if not answer.wants_logprobs or not out.ids:
        return None
    texts = backend.decode([[i] for i in out.ids])
    if out.finish == "stop" and not texts[-1]:
        texts.pop()  # the end-of-text token is not part of the answer
    return [[text, value] for text, value in zip(texts, out.logprobs, strict=False)]
