"""OpenVINO GenAI alone, in a process of its own: what everything around the engine is measured against.

Its standard input is lines of JSON: first a `load` message as the engine gets it (`illama.engine.protocol`), then
tasks, {"requests": [{"messages", "max_tokens", "after": {"request", "pieces"} or absent}, ...]}; it answers each with a
line in the form of `illama.bench.load`, to which come each answer's token `ids` and the `longest_step`, in seconds. It
loads with the engine's own settings, says what became of them, and stands still between two tasks.

Knows: `add_request`, `step`, `read`. Does not know: text, pipes of pieces, HTTP; nothing is detokenized.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any


class Loop:
    """The bare loop. Its imports are its own, so that the process's start is timed with them."""

    def __init__(self, message: dict[str, Any]) -> None:
        from pathlib import Path

        import openvino_genai as genai

        from illama.engine.settings import properties, scheduler_config

        folder, device = Path(message["folder"]), message["device"]
        scheduler, context, kv_bytes = scheduler_config(folder, device, {**message, "draft": None})
        self.facts = {"context_length": context, "kv_bytes": kv_bytes}
        self._pipe = genai.ContinuousBatchingPipeline(str(folder), scheduler, device, properties(message))
        self._tokenizer = self._pipe.get_tokenizer()
        self._none = genai.GenerationFinishReason.NONE
        self._config = genai.GenerationConfig
        self._next = 0

    def run(self, requests: list[dict[str, Any]]) -> dict[str, Any]:
        """Answer all requests, those that come after a piece of another then."""
        began = time.monotonic()
        answers = [_Answer() for _ in requests]
        running: dict[int, Any] = {}
        longest = 0.0
        for number, request in enumerate(requests):
            if not request.get("after"):
                running[number] = self._begin(request, answers[number], began)
        while running:
            before = time.monotonic()
            self._pipe.step()
            now = time.monotonic()
            longest = max(longest, now - before)
            for number, handle in list(running.items()):
                if self._read(handle, answers[number], now):
                    del running[number]
            for number, request in enumerate(requests):
                after = request.get("after")
                if after and not answers[number].came and answers[after["request"]].tokens >= after["pieces"]:
                    running[number] = self._begin(request, answers[number], time.monotonic())
        return {
            "answers": [answer.found() for answer in answers],
            "seconds": time.monotonic() - began,
            "longest_step": longest,
        }

    def _begin(self, request: dict[str, Any], answer: _Answer, came: float) -> Any:
        text = self._tokenizer.apply_chat_template(request["messages"], True)
        ids = self._tokenizer.encode(text, add_special_tokens=False).input_ids
        answer.came, answer.prompt = came, int(ids.shape[1])
        config = self._config(max_new_tokens=request["max_tokens"], ignore_eos=True, do_sample=False)
        self._next += 1
        return self._pipe.add_request(self._next, ids, config)

    def _read(self, handle: Any, answer: _Answer, now: float) -> bool:
        """Take what a step brought; whether it was the last."""
        finished = False
        while handle.can_read():
            for part in handle.read().values():
                answer.take(part.generated_ids, now)
                finished = finished or part.finish_reason != self._none
        return finished


class _Answer:
    def __init__(self) -> None:
        self.came = self.first = self.last = self.worst = 0.0
        self.prompt = self.tokens = 0
        self.ids: list[int] = []

    def take(self, ids: list[int], now: float) -> None:
        if not ids:
            return
        if self.tokens:
            self.worst = max(self.worst, now - self.last)
        else:
            self.first = now
        self.last = now
        self.tokens += len(ids)
        self.ids += ids

    def found(self) -> dict[str, Any]:
        return {
            "ttft": self.first - self.came if self.tokens else None,
            "span": self.last - self.first,
            "worst": self.worst,
            "pieces": self.tokens,
            "prompt_tokens": self.prompt,
            "completion_tokens": self.tokens,
            "cached_tokens": None,
            "ids": self.ids,
            "error": None if self.tokens else "an answer without tokens",
        }


def main() -> None:
    """Load, say so, and carry out tasks until there are no more."""
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not end up among the answers

    def send(message: dict[str, Any]) -> None:
        pipe.write(json.dumps(message) + "\n")
        pipe.flush()

    try:
        loop = Loop(json.loads(sys.stdin.readline()))
    except Exception as problem:  # noqa: BLE001 - whoever started this process is told, whatever it was
        send({"error": f"{type(problem).__name__}: {problem}"})
        return
    send({"ready": True, **loop.facts})
    for line in sys.stdin:
        send(loop.run(json.loads(line)["requests"]))
    os._exit(0)  # native libraries get no say in how the process ends
