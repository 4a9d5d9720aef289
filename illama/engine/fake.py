"""A fake engine of the same protocol: deterministic tokens, adjustable delays and faults, no model and no device.

Knows: how to answer with what it was told. Does not know: OpenVINO.

It answers with the last message's text, or the raw prompt, in tokens of four bytes. The model folder's `fake.json`, and
a last message that begins with `/fake {...}`, change that:

    load_sec, load_error     how long loading takes; the reason for which it fails
    load_dies                the process ends while it loads
    first_step               the reason for which the first step after loading fails
    step_sec                 how long a step takes
    tokens                   how many tokens to answer with (the text is repeated)
    text                     what to answer with
    echo                     answer with the `generate` message itself, as JSON
    die_at, hang_at          the token before which the process ends, or stops making progress
    drop                     refuse the request as a full KV cache would
    chat_template            (fake.json) the text of the template that the model is said to have
    prompt_end               (fake.json) how every prompt is said to end
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from illama.engine.backend import DeviceError, Output, Prompt, renders_tools
from illama.engine.protocol import Facts
from illama.errors import ContextLengthError, LoadError, RequestError

_CHUNK = 256  # prompt tokens that a step reads
_IMAGE = 16  # tokens that an image takes
_WIDTH = 4  # bytes in a token: characters may be cut in two, as real tokenizers do


@dataclass
class _Running:
    pieces: list[int]
    limit: int
    options: dict[str, Any]
    logprobs: bool
    unread: int  # prompt tokens still to be read
    given: int = 0
    cancelled: bool = False


def load_options(message: dict[str, Any]) -> dict[str, Any]:
    """The options of a model's `fake.json`, after what they say of its loading has happened."""
    options: dict[str, Any] = {}
    path = Path(message["folder"]) / "fake.json"
    if path.exists():
        options = json.loads(path.read_text(encoding="utf-8"))
    time.sleep(options.get("load_sec", 0))
    if options.get("load_dies"):
        print("the fake device is on fire", file=sys.stderr, flush=True)  # noqa: T201 - the engine's log
        os._exit(9)
    if options.get("load_error"):
        raise LoadError(f"The model could not be loaded: {options['load_error']}")
    return options


class FakeBackend:
    """Answers from a table. Ids are indices into the bytes seen so far."""

    reads = _CHUNK

    def __init__(self, message: dict[str, Any]) -> None:
        self._options = load_options(message)
        context = message.get("context_length") or 8192
        self._table: list[bytes] = []
        self._ids: dict[bytes, int] = {}
        self._running: dict[int, _Running] = {}
        self.facts: Facts = {
            "task": message.get("task", "text-generation"),
            "pipeline": "paged",
            "device": message["device"],
            "context_length": context,
            "slots": int(self._options.get("slots", 16)),
            "max_prompt_chars": context * _WIDTH,
            "kv_bytes": 0,
            "chat_template": self._options.get("chat_template", ""),
            "tools": renders_tools(self._options.get("chat_template", "")),
            "dimensions": 0,
            "settings": {},
            "versions": {"fake": "1"},
        }

    @property
    def busy(self) -> bool:
        return bool(self._running)

    def _tokens(self, text: str) -> list[int]:
        data = text.encode("utf-8", "replace")
        ids = []
        for at in range(0, len(data), _WIDTH):
            piece = data[at : at + _WIDTH]
            if piece not in self._ids:
                self._ids[piece] = len(self._table)
                self._table.append(piece)
            ids.append(self._ids[piece])
        return ids

    def prepare(self, request: dict[str, Any]) -> Prompt:
        given = request.get("prompt")
        texts = [message["content"] or "" for message in request["messages"]] if given is None else [_said(given)]
        prompt = self._tokens("".join(texts))
        if not prompt and given is not None:
            raise RequestError("The prompt is empty: it has no tokens.", param="prompt")
        prompt += prompt[:1] * _IMAGE * len(request.get("images") or [])
        if len(prompt) >= self.facts["context_length"]:
            raise ContextLengthError.of(self.facts["context_length"], len(prompt))
        return Prompt(len(prompt), end=self._options.get("prompt_end", ""))

    def warm_up(self) -> None:
        if "first_step" in self._options:
            raise DeviceError(str(self._options["first_step"]))

    def check(self, structured: dict[str, str]) -> None:
        schema = structured.get("json_schema")
        try:
            json.loads(schema or "{}")
        except ValueError as error:
            raise RequestError(f"The schema is no JSON: {error}", param="response_format") from error

    def start(self, id: int, prompt: Prompt, request: dict[str, Any]) -> None:
        given = request.get("prompt")
        text, options = request["messages"][-1]["content"] if given is None else _said(given), dict(self._options)
        if text.startswith("/fake "):
            ours, end = json.JSONDecoder().raw_decode(text, len("/fake "))
            options.update(ours)
            text = text[end:].lstrip()
        if options.get("echo"):
            text = json.dumps({key: value for key, value in request.items() if key not in ("op", "arrived")})
        elif "tags" not in (request.get("structured") or {"tags": ""}):
            text = "{}"
        pieces = self._tokens(options.get("text", text) or "ok")
        wanted = int(options.get("tokens", len(pieces)))
        pieces = (pieces * -(-wanted // len(pieces)))[:wanted]
        sampling = request["sampling"]
        limit = min(sampling.get("max_tokens", wanted + 1), self.facts["context_length"] - prompt.tokens)
        self._running[id] = _Running(pieces, limit, options, bool(sampling.get("logprobs")), prompt.tokens)

    def cancel(self, id: int) -> None:
        if id in self._running:
            self._running[id].cancelled = True

    def step(self) -> list[Output]:
        time.sleep(max(run.options.get("step_sec", 0) for run in self._running.values()))
        outputs = []
        for id, run in list(self._running.items()):
            output = self._advance(id, run)
            if output:
                outputs.append(output)
                if output.finish or output.error:
                    del self._running[id]
        return outputs

    def _advance(self, id: int, run: _Running) -> Output | None:
        if run.cancelled:
            return Output(id, finish="cancelled")
        if run.options.get("drop"):
            return Output(id, error="The device's KV cache has no room for this request beside those that are running.")
        if run.unread > _CHUNK:
            run.unread -= _CHUNK
            return None
        if run.options.get("die_at") == run.given:
            os._exit(9)
        if run.options.get("hang_at") == run.given:
            threading.Event().wait()
        if run.given >= min(len(run.pieces), run.limit):
            return Output(id, finish="stop" if run.given >= len(run.pieces) else "length")
        token = run.pieces[run.given]
        run.given += 1
        cut = run.given >= run.limit and run.given < len(run.pieces)
        return Output(id, [token], [-0.5] if run.logprobs else [], "length" if cut else None)

    def decode(self, batches: Sequence[Sequence[int]], *, special: bool = False) -> list[str]:
        return [b"".join(self._table[i] for i in ids).decode("utf-8", "replace") for ids in batches]


def _said(prompt: str | list[int]) -> str:
    """A raw prompt as text. Token ids are taken for the numbers of characters."""
    if isinstance(prompt, str):
        return prompt
    try:
        return "".join(map(chr, prompt))
    except (ValueError, OverflowError) as error:
        raise RequestError(f"There is no such token: {error}.", param="prompt") from error
