"""The fallback for models and devices that paged attention cannot serve: one request at a time.

Knows: `LLMPipeline` with a stateful model. Does not know: the pipe, text, stop strings, batches.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import openvino_genai as genai

from illama.engine.backend import DeviceError, Output, Prompt, renders_tools
from illama.engine.genai import Defaults, Prompts, generation_config, versions
from illama.engine.protocol import Facts
from illama.engine.settings import DEFAULT_CONTEXT, chosen, context_of
from illama.errors import UnsupportedError


class _Streamer(genai.StreamerBase):  # type: ignore[misc]  # GenAI's classes carry no types
    """Hands each token to the loop, and stops the generation when it was cancelled."""

    def __init__(self, id: int, outputs: queue.SimpleQueue[Output | Exception]) -> None:
        super().__init__()
        self.id = id
        self.cancelled = False
        self._outputs = outputs

    def write(self, token: Any) -> Any:
        self._outputs.put(Output(self.id, [int(i) for i in (token if isinstance(token, list) else [token])]))
        return genai.StreamingStatus.CANCEL if self.cancelled else genai.StreamingStatus.RUNNING

    def end(self) -> None:
        pass


class StatefulBackend:
    """One pipeline, one request at a time; the others wait here in the order they came."""

    reads = 0

    def __init__(self, folder: Path, device: str, message: dict[str, Any], options: dict[str, Any]) -> None:
        # The NPU plugin has an attention of its own; elsewhere paged attention must not be tried again.
        extra = {} if device == "NPU" else {"ATTENTION_BACKEND": "SDPA"}
        self._pipe = genai.LLMPipeline(str(folder), device, **options, **extra)
        context = message.get("context_length") or context_of(folder) or DEFAULT_CONTEXT
        self._defaults = Defaults(folder, self._pipe.get_generation_config())
        self._prompts = Prompts(self._pipe.get_tokenizer(), context, self._defaults.ends)
        self._waiting: deque[tuple[int, Any, Any]] = deque()
        self._outputs: queue.SimpleQueue[Output | Exception] = queue.SimpleQueue()
        self._running: _Streamer | None = None
        self._cancelled: list[int] = []
        self.facts: Facts = {
            "task": "text-generation",
            "pipeline": "stateful",
            "device": device,
            "context_length": self._prompts.context_length,
            "slots": 1,
            "max_prompt_chars": self._prompts.max_chars,
            "kv_bytes": 0,
            "chat_template": self._prompts.template,
            "tools": renders_tools(self._prompts.template),
            "dimensions": 0,
            "settings": chosen(message),
            "versions": versions(),
        }

    @property
    def busy(self) -> bool:
        return self._running is not None or bool(self._waiting) or bool(self._cancelled)

    def prepare(self, request: dict[str, Any]) -> Prompt:
        tensor, ids, end = self._prompts.prepare(request)
        return Prompt(len(ids), 0, end, tensor)

    def warm_up(self) -> None:
        """Nothing: it has no step that all pay for."""

    def check(self, structured: dict[str, str]) -> None:
        self._prompts.checker.check(structured)

    def start(self, id: int, prompt: Prompt, request: dict[str, Any]) -> None:
        if request["sampling"].get("logprobs"):
            raise UnsupportedError(
                "This model runs on a pipeline that tells no log probabilities.", hint="Leave it out.", param="logprobs"
            )
        config = generation_config(self._defaults, request, self._prompts.context_length - prompt.tokens)
        self._waiting.append((id, prompt.payload, config))

    def cancel(self, id: int) -> None:
        if self._running and self._running.id == id:
            self._running.cancelled = True
            return
        kept = [item for item in self._waiting if item[0] != id]
        if len(kept) < len(self._waiting):
            self._waiting = deque(kept)
            self._cancelled.append(id)

    def step(self) -> list[Output]:
        outputs = [Output(id, finish="cancelled") for id in self._cancelled]
        self._cancelled.clear()
        if self._running is None and self._waiting:
            id, tensor, config = self._waiting.popleft()
            self._running = _Streamer(id, self._outputs)
            args = (self._running, tensor, config)
            threading.Thread(target=self._generate, args=args, name="generate", daemon=True).start()
        if self._running is None:
            return outputs
        # Wait for one token, not for all: the loop takes messages between two steps.
        item = self._outputs.get()
        if isinstance(item, Exception):
            raise DeviceError(str(item)) from item
        if item.finish:
            self._running = None
        return [*outputs, item]

    def _generate(self, streamer: _Streamer, tensor: Any, config: Any) -> None:
        try:
            result = self._pipe.generate(tensor, config, streamer)
            count = len(result.tokens[0])
            finish = "length" if count >= config.max_new_tokens else "stop"
            self._outputs.put(Output(streamer.id, finish="cancelled" if streamer.cancelled else finish))
        except Exception as error:  # noqa: BLE001 - handed to the loop, which ends the engine with the reason
            self._outputs.put(error)

    def decode(self, batches: Sequence[Sequence[int]], *, special: bool = False) -> list[str]:
        return self._prompts.decode(batches, special=special)
