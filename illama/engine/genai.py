"""OpenVINO GenAI behind the engine's loop: continuous batching over a paged KV cache.

Knows: `ContinuousBatchingPipeline`, its scheduler's settings, chat templates. Does not know: the pipe, stop strings.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import openvino_genai as genai

from illama.engine import adapters, guessing
from illama.engine.backend import PROMPT_END, DeviceError, Output, Prompt, reason, renders_tools
from illama.engine.grammar import GrammarChecker, structured_output
from illama.engine.prefix import PrefixCache
from illama.engine.protocol import Facts
from illama.engine.settings import SLOTS, batched_tokens, block_tokens, chosen, properties, scheduler_config
from illama.errors import ContextLengthError, LoadError, RequestError, UnsupportedError

_KV_HINT = "The device may not have that kv_precision: take it back with `illama set MODEL kv_precision=`."


def load(message: dict[str, Any]) -> Any:
    """Load a model as a `load` message says: paged, or stateful where paged attention cannot serve it.

    Returns a Backend. Raises LoadError.
    """
    folder, device, mode = Path(message["folder"]), message["device"], message.get("pipeline") or "auto"
    options = properties(message)
    if message.get("task") == "image-text-to-text":
        from illama.engine.vision import VisionBackend

        try:
            return VisionBackend(folder, device, message, options)
        except RuntimeError as error:
            raise explain(error, folder) from error
    if mode != "stateful" and device != "NPU":
        try:
            return PagedBackend(folder, device, message, options)
        except RuntimeError as error:
            precise = "KV_CACHE_PRECISION" in options
            wanted = mode == "paged" or message.get("draft") or guessing.looks_up(message)
            if precise or wanted or "memory" in str(error).lower():
                raise explain(error, folder, _KV_HINT if precise else None) from error
            print(f"paged attention cannot serve {folder.name}: {error}", file=sys.stderr, flush=True)  # noqa: T201
    from illama.engine.stateful import StatefulBackend

    try:
        return StatefulBackend(folder, device, message, options)
    except RuntimeError as error:
        raise explain(error, folder, adapters.HINT if adapters.path_of(message) else None) from error


def explain(error: RuntimeError, folder: Path, advice: str | None = None) -> LoadError:
    """The error for a model that OpenVINO did not load; `advice` is for one that may have a reason of its own."""
    text = str(error)
    if "memory" in text.lower():
        hint = "Free some memory (close other programs, unload other models), or pull a smaller weight format."
    elif advice:
        hint = advice
    elif "token" in text.lower():
        hint = f"Its tokenizer may be missing or made by another release: remove {folder.name} and pull it again."
    else:
        hint = "Its files may be damaged or made by another release of OpenVINO: remove it and pull it again."
    return LoadError(f"OpenVINO could not load {folder.name}: {reason(error)}", hint=hint)


def versions() -> dict[str, str]:
    """The versions that an engine runs with."""
    return {"openvino": openvino.get_version(), "openvino_genai": genai.__version__}


class Prompts:
    """A model's tokenizer: templates, tokens and the limits that follow from both."""

    def __init__(self, tokenizer: Any, context_length: int, ends: set[int]) -> None:
        self.tokenizer = tokenizer
        self.template: str = tokenizer.chat_template or ""
        self.ends = ends  # the tokens that end a text
        # Some tokenizers cut what is longer than they like, and say nothing: what they cut never fits.
        seen = tokenizer.encode(" a" * (context_length + 1), add_special_tokens=False).input_ids.shape[1]
        self.context_length = min(context_length, seen)
        self._cut = seen
        vocabulary = tokenizer.get_vocab()
        # A prompt of more characters than this has more tokens than the context, however well it is tokenized.
        self.max_chars = self.context_length * max((len(token) for token in vocabulary), default=1)
        self.vocabulary_size = max(vocabulary.values(), default=0) + 1
        self.checker = GrammarChecker(tokenizer, self.vocabulary_size)

    def prepare(self, request: dict[str, Any]) -> tuple[Any, list[int], str]:
        """The prompt's ids, as OpenVINO's tensor of shape [1, tokens] and as a list; and the end of its text.

        Raises RequestError for messages that the template refuses and for token ids that are none, ContextLengthError
        if no token of answer would fit.
        """
        prompt = request.get("prompt")
        if isinstance(prompt, list):
            return self._given(prompt)
        text = self.text(request)
        # A template writes the special tokens itself; before raw text the tokenizer puts those that its model wants.
        tensor = self.tokenizer.encode(text, add_special_tokens=prompt is not None).input_ids
        ids = tensor.data[0].tolist()
        if not ids:
            raise RequestError("The prompt is empty: it has no tokens.", param="prompt")
        if len(ids) >= self.context_length:
            raise ContextLengthError.of(self.context_length, len(ids), at_least=len(ids) == self._cut)
        return tensor, ids, text[-PROMPT_END:]

    def text(self, request: dict[str, Any]) -> str:
        """The prompt as text. Raises RequestError, and ContextLengthError for one that cannot possibly fit."""
        prompt = request.get("prompt")
        if isinstance(prompt, list):
            return str(self.tokenizer.decode(prompt, skip_special_tokens=False))
        text = self._template(request) if prompt is None else prompt
        if len(text) > self.max_chars:
            at_least = len(text) // (self.max_chars // self.context_length)
            raise ContextLengthError.of(self.context_length, at_least, at_least=True)
        return text

    def ids(self, text: str, *, special: bool) -> list[int]:
        """A text's tokens, `special` ones before it too if its model wants them."""
        found: list[int] = self.tokenizer.encode(text, add_special_tokens=special).input_ids.data[0].tolist()
        return found

    def _template(self, request: dict[str, Any]) -> str:
        try:
            more = {"tools": request.get("tools"), "extra_context": request.get("template")}
            return str(self.tokenizer.apply_chat_template(request["messages"], True, **more))
        except (RuntimeError, TypeError) as error:
            if not self.template:
                raise UnsupportedError(
                    "This model has no chat template.",
                    hint="Use an instruction-tuned model, or /v1/completions, which takes plain text.",
                    param="messages",
                ) from error
            text = f"The model's chat template refuses these messages: {reason(error)}"
            raise RequestError(text, hint="See which roles it knows with `illama show`.", param="messages") from error

    def _given(self, ids: list[int]) -> tuple[Any, list[int], str]:
        """A prompt that came as token ids."""
        unknown = next((i for i in ids if not 0 <= i < self.vocabulary_size), None)
        if unknown is not None:
            text = f"{unknown} is no token of this model, which has {self.vocabulary_size}."
            raise RequestError(text, hint="Use ids of the model's own tokenizer, or text.", param="prompt")
        if len(ids) >= self.context_length:
            raise ContextLengthError.of(self.context_length, len(ids))
        return openvino.Tensor(np.array([ids], dtype=np.int64)), ids, ""

    def decode(self, batches: Sequence[Sequence[int]], *, special: bool = False) -> list[str]:
        """The text of each list of ids, special tokens left out; `special` keeps those that do not end the text."""
        if not batches:
            return []
        if not special:
            return list(self.tokenizer.decode([list(ids) for ids in batches]))
        # Rows of one length at a time: shorter ones would be filled up with a special token, which then is text, too.
        kept = [[i for i in ids if i not in self.ends] for ids in batches]
        texts = [""] * len(kept)
        for length in {len(ids) for ids in kept} - {0}:
            places = [at for at, ids in enumerate(kept) if len(ids) == length]
            found = self.tokenizer.decode([kept[at] for at in places], skip_special_tokens=False)
            for at, text in zip(places, found, strict=True):
                texts[at] = text
        return texts


class Defaults:
    """A model's own generation defaults: those of its generation_config.json, and its end-of-text tokens."""

    def __init__(self, folder: Path, base: Any, guessed: Mapping[str, int] | None = None) -> None:
        self._path = folder / "generation_config.json"
        self.guessing = guessed or {}
        self._base = base
        self.ends = {base.eos_token_id, *base.stop_token_ids}

    def fresh(self) -> Any:
        """A new `GenerationConfig` (GenAI's has no copy constructor)."""
        config = genai.GenerationConfig(str(self._path)) if self._path.exists() else genai.GenerationConfig()
        config.eos_token_id = self._base.eos_token_id
        config.stop_token_ids = self._base.stop_token_ids
        for name, value in self.guessing.items():
            setattr(config, name, value)
        return config


def generation_config(defaults: Defaults, request: dict[str, Any], room: int) -> Any:
    """GenAI's configuration for a request: the model's own defaults, changed by what the request names.

    `room` is the number of tokens that the context has left. Raises RequestError for values that GenAI refuses.
    """
    config = defaults.fresh()
    sampling = dict(request["sampling"])
    config.max_new_tokens = min(sampling.pop("max_tokens", room), room)
    config.logprobs = 1 if sampling.pop("logprobs", False) else 0
    temperature = sampling.pop("temperature", None)
    if temperature == 0:
        config.do_sample = False
    elif temperature is not None:
        config.do_sample, config.temperature = True, temperature
    if "seed" in sampling:
        config.rng_seed = sampling.pop("seed")
    for name, value in sampling.items():
        setattr(config, name, value)
    if not config.do_sample:
        # GenAI refuses these beside greedy decoding, where they have no meaning.
        config.temperature, config.top_p, config.top_k = 1.0, 1.0, sys.maxsize
    if request.get("structured"):
        config.structured_output_config = structured_output(request["structured"])
    try:
        config.validate()
    except RuntimeError as error:
        raise RequestError(f"These sampling parameters cannot be: {reason(error)}") from error
    return config


class PagedBackend:
    """Continuous batching: many requests share each step."""

    def __init__(self, folder: Path, device: str, message: dict[str, Any], options: dict[str, Any]) -> None:
        scheduler, context, kv_bytes = scheduler_config(folder, device, message)
        self.reads = batched_tokens(message)
        draft = message.get("draft")
        if draft:
            drafting = genai.draft_model(draft, device, scheduler_config=scheduler, **chosen(message))
            options = {**options, "draft_model": drafting}
        elif guessing.looks_up(message):
            options = {**options, "prompt_lookup": True}
        self._pipe = genai.ContinuousBatchingPipeline(str(folder), scheduler, device, options)
        self._defaults = Defaults(folder, self._pipe.get_config(), guessing.parameters(message))
        self._prompts = Prompts(self._pipe.get_tokenizer(), context, self._defaults.ends)
        if draft:
            guessing.same_tokens(self._prompts.tokenizer, draft)
        self._prefix = PrefixCache(block_tokens(device), 0 if draft else scheduler.num_kv_blocks or 0)
        self._handles: dict[int, Any] = {}
        self._ids: dict[int, list[int]] = {}
        self._cancelled: list[int] = []
        self.facts: Facts = {
            "task": "text-generation",
            "pipeline": "paged",
            "device": device,
            "context_length": self._prompts.context_length,
            "slots": SLOTS,
            "max_prompt_chars": self._prompts.max_chars,
            "kv_bytes": kv_bytes,
            "chat_template": self._prompts.template,
            "tools": renders_tools(self._prompts.template),
            "dimensions": 0,
            "settings": {**chosen(message), "max_num_batched_tokens": self.reads},
            "versions": versions(),
        }
        if device != "CPU":
            self._first_steps()  # a GPU compiles its kernels in them, and may find that it has no room

    def warm_up(self) -> None:
        if self.facts["device"] == "CPU":
            try:
                self._first_steps()
            except RuntimeError as error:
                raise DeviceError(reason(error)) from error

    def _first_steps(self) -> None:
        # The first request of a pipeline pays for what is compiled late, and ignores its seed: it must be nobody's.
        config = genai.GenerationConfig(max_new_tokens=2, do_sample=True, ignore_eos=True, **self._defaults.guessing)
        prompt = self._prompts.tokenizer.encode("The quick brown fox jumps over", add_special_tokens=False).input_ids
        handle = self._pipe.add_request(0, prompt, config)
        while self._pipe.has_non_finished_requests():
            self._pipe.step()
        del handle  # not before: a request whose handle is gone is dropped

    @property
    def busy(self) -> bool:
        return bool(self._cancelled) or self._pipe.has_non_finished_requests()

    def prepare(self, request: dict[str, Any]) -> Prompt:
        tensor, ids, end = self._prompts.prepare(request)
        return Prompt(len(ids), self._prefix.match(ids), end, (tensor, ids))

    def check(self, structured: dict[str, str]) -> None:
        self._prompts.checker.check(structured)

    def start(self, id: int, prompt: Prompt, request: dict[str, Any]) -> None:
        config = generation_config(self._defaults, request, self._prompts.context_length - prompt.tokens)
        tensor, ids = prompt.payload
        try:
            self._handles[id] = self._pipe.add_request(id, tensor, config)
        except RuntimeError as error:
            raise RequestError(f"OpenVINO refuses this request: {reason(error)}") from error
        self._ids[id] = ids

    def cancel(self, id: int) -> None:
        handle = self._handles.pop(id, None)
        if handle is not None:
            handle.cancel()
            self._cancelled.append(id)

    def step(self) -> list[Output]:
        if self._pipe.has_non_finished_requests():
            try:
                self._pipe.step()
            except RuntimeError as error:
                raise DeviceError(reason(error)) from error
        outputs = [Output(id, finish="cancelled") for id in self._cancelled]
        for id in self._cancelled:
            self._prefix.add(self._ids.pop(id))
        self._cancelled.clear()
        for id, handle in list(self._handles.items()):
            output = self._read(id, handle)
            if output.ids or output.finish or output.error:
                outputs.append(output)
            if output.finish or output.error:
                del self._handles[id]
                self._prefix.add(self._ids.pop(id))
        return outputs

    def _read(self, id: int, handle: Any) -> Output:
        output = Output(id)
        while handle.can_read():
            for part in handle.read().values():
                output.ids.extend(part.generated_ids)
                output.logprobs.extend(part.generated_log_probs)
                if part.finish_reason != genai.GenerationFinishReason.NONE:
                    output.finish = "length" if part.finish_reason == genai.GenerationFinishReason.LENGTH else "stop"
        self._ids[id].extend(output.ids)
        if not output.ids and handle.get_status() == genai.GenerationStatus.IGNORED:
            output.error = "The device's KV cache has no room for this request beside those that are running."
        return output

    def decode(self, batches: Sequence[Sequence[int]], *, special: bool = False) -> list[str]:
        return self._prompts.decode(batches, special=special)
