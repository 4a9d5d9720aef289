"""Embedding and rerank models on OpenVINO: batches of token ids in, vectors or scores out.

Knows: the models' inputs, pooling, what a score is. Does not know: the pipe, requests, which texts go together.

GenAI's tokenizer is used, and not its TextEmbeddingPipeline and TextRerankPipeline: these take text alone, tokenize it
again, do not tell the number of tokens, feed a text beyond the context to the model, and rerank for one query at a
time, so that requests could not be merged.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import openvino_genai as genai
from openvino import opset13 as ops

from illama.engine.backend import DeviceError, reason
from illama.engine.encode import Tokens
from illama.engine.genai import explain, versions
from illama.engine.lanes import Lanes
from illama.engine.protocol import Facts
from illama.engine.settings import chosen, context_of
from illama.errors import LoadError, RequestError

# Texts and tokens (with padding) of a batch. Measured on a CPU of two cores with a model of 22 million weights, in ms
# of CPU a text (medians): texts of 10 tokens 8.9 alone, 4.5 by 4, 4.1 from 16 to 64; of 24 tokens 14.5 alone, 8.4 by 8,
# 9.1 by 32; of 83 tokens 33.6 alone, 28.7 by 4, 32.5 by 16, which was 1.4 times slower by the clock than by 4: a
# batch of more than some hundred tokens no longer fits the CPU's caches. A GPU has more to fill (not measured).
MAX_TEXTS = 64
MAX_TOKENS = {"CPU": 512, "GPU": 8192}
# Tokens. A CPU sums attention's exponentials in vectors of so many numbers, and what is left over one by one: a text
# that is padded beyond such a bound gets other last bits than alone. So texts are padded within it only.
BLOCK = {"CPU": 16}
# Rows of a batch, padding too: a CPU multiplies fewer than this by other kernels, which round differently.
_LEAST_ROWS = 8
# Tokens of a text and texts of a batch with which a precision is tried: few rows, many, and attention's second block.
_PROBES = ((4, 2), (14, 12), (29, 3))
# Bytes of weights up to which a model is compiled once more for batches side by side: a second copy costs memory, and
# what it saves is a smaller part of what a larger model computes.
_SHARED_WEIGHTS = 128 * 2**20
# Requests that may be in the engine at once: they cost little until it is their turn, and only those can be merged.
SLOTS = 1024
_DEFAULT_CONTEXT = 512
# Texts that are tokenized in one call: padded to the longest of them, which takes memory.
_TOKENIZED = 256
# Characters that are tokenized at most, if the context could not hold more anyway: tokenizers skip runs of spaces.
_MIN_CHARS = 2**17
# These count positions from the padding token's id on, which takes this many from the number that they state.
_OFFSETS = {"roberta": 2, "xlm-roberta": 2, "camembert": 2, "mpnet": 2}
_POOLING = ("mean", "cls", "last")
# What Qwen3-Reranker was trained on, as its model card has it.
_QWEN3_BEFORE = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
    "<Instruct>: {instruction}\n<Query>: {query}\n<Document>: "
)
_QWEN3_AFTER = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
_QWEN3_INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"


def load(message: dict[str, Any]) -> OpenvinoEncoder:
    """Load a model as a `load` message says. Raises LoadError."""
    folder = Path(message["folder"])
    try:
        return OpenvinoEncoder(folder, message["device"], message)
    except RuntimeError as error:
        raise explain(error, folder) from error


class OpenvinoEncoder:
    """A compiled model and its tokenizer."""

    def __init__(self, folder: Path, device: str, message: dict[str, Any]) -> None:
        kind = device.partition(".")[0]
        if kind == "NPU":
            raise LoadError(
                "Embedding and rerank models do not run on the NPU here: their texts differ in length.",
                hint="Run it on CPU or GPU.",
            )
        self._reranks = message["task"] == "rerank"
        self._options: dict[str, Any] = dict(message.get("options") or {})
        self._pooling = self._options.get("pooling") or "mean"
        if self._pooling not in _POOLING:
            raise LoadError(
                f"The pooling {self._pooling!r} is not known.", hint=f"It can be {', '.join(_POOLING)}: `illama set`."
            )
        self.max_texts, self.max_tokens = MAX_TEXTS, MAX_TOKENS.get(kind, MAX_TOKENS["CPU"])
        self.block = BLOCK.get(kind, 0)
        config = _json(folder / "config.json")
        # One thread: what more of them save a batch of short texts is less than they spend on waiting for each other.
        threads = {"INFERENCE_NUM_THREADS": 1}
        self._tokenizer = genai.Tokenizer(str(folder), **threads)
        vocabulary = self._tokenizer.get_vocab()
        self._size = max(vocabulary.values(), default=0) + 1
        asks = self._reranks and _asks(config)
        self._pairs = None
        if self._reranks and not asks:
            self._pairs = genai.Tokenizer(str(folder), add_second_input=True, **threads)
        core = openvino.Core()
        model = core.read_model(folder / "openvino_model.xml")
        if asks:
            _keep_yes_and_no(model, vocabulary)
        self._inputs = {name for each in model.inputs for name in each.names}
        self._output, self._pooled = _output(model)
        context = _context(folder, config, self._options) or message.get("context_length") or _DEFAULT_CONTEXT
        longest = max((len(token) for token in vocabulary), default=1)
        self.facts: Facts = {
            "task": message["task"],
            "pipeline": "batched",
            "device": device,
            "context_length": context,
            "slots": SLOTS,
            "max_prompt_chars": max(context * longest, _MIN_CHARS),
            "kv_bytes": 0,
            "chat_template": "",
            "tools": False,
            "dimensions": 0,
            "settings": chosen(message),
            "versions": versions(),
        }
        for properties in self._choices(core, kind, message):
            self._requests = Lanes(core, model, device, properties)
            exact = properties.get("INFERENCE_PRECISION_HINT") != "bf16"
            if exact or self._is_steady():
                break
        if (folder / "openvino_model.bin").stat().st_size <= _SHARED_WEIGHTS:
            self._requests.share()
            if not exact and not self._is_steady(alone=False):
                self._requests.unshare()
        self.lanes = self._requests.count
        # What is compiled late is paid for now, and the vectors' size becomes known.
        if self._reranks:
            self.start(self.pair("a", ["b"]))()
        else:
            self.facts["dimensions"] = len(self.start(self.tokenize([("a", "document")]))()[0]) // 4

    def _choices(self, core: openvino.Core, kind: str, message: dict[str, Any]) -> list[dict[str, Any]]:
        """How the model may be compiled, the best first; the last one does everywhere.

        Where a CPU multiplies in bfloat16, that takes half of the time, and the vectors are off by what rounding to it
        costs (measured: cosine 0.99998). What must not be is that a text's vector depends on its company in the batch:
        bfloat16 makes of a difference in the last bit one of 1e-3. So it is used only where there is none at all, for
        which `_is_steady` looks; scores of rerankers are left alone. Beside 8-bit weights OpenVINO would also round
        what it computes to 8 bits: faster still, but off by more (cosine 0.9997).
        """
        if kind != "CPU":
            return [{"CACHE_DIR": message["cache_dir"]} if message.get("cache_dir") else {}]
        # Threads that are bound to cores wait, spinning, for the one whose core another program has. Measured on a busy
        # machine, CPU ms a text in batches of 36: 2.5 bound, 2.1 free; a text alone: 13.2 and 9.5.
        free = {"ENABLE_CPU_PINNING": False}
        shared = {"DYNAMIC_QUANTIZATION_GROUP_SIZE": "0", "PERFORMANCE_HINT": "LATENCY", **free, **chosen(message)}
        native = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        precisions = ["bf16", "f32"] if native and not self._reranks else ["f32"]
        return [{**shared, "INFERENCE_PRECISION_HINT": each} for each in precisions]

    def _is_steady(self, *, alone: bool = True) -> bool:
        """Whether texts get the same vectors, to the last bit, alone and in batches as `BatchQueue` makes them."""
        for length, company in _PROBES:
            # Of slightly different lengths, and none like another.
            texts = [
                Tokens([(7919 * at + 104729 * place) % self._size for place in range(length - at % 3)])
                for at in range(company)
            ]
            together = self.start(texts, alone=alone)()
            if any(self.start([texts[at]])()[0] != together[at] for at in (0, company - 1)):
                return False
        return True

    def tokenize(self, texts: Sequence[tuple[str | list[int], str]]) -> list[Tokens]:
        """The tokens of texts, each behind the model's instruction for its kind."""
        plain = [self._instruction(kind) + text for text, kind in texts if not isinstance(text, list)]
        encoded = iter(self._encode(plain))
        return [Tokens(self._checked(text) if isinstance(text, list) else next(encoded)) for text, _ in texts]

    def _instruction(self, kind: str) -> str:
        return self._options.get("query_instruction" if kind == "query" else "embed_instruction") or ""

    def _checked(self, ids: list[int]) -> list[int]:
        wrong = next((id for id in ids if not 0 <= id < self._size), None)
        if wrong is not None:
            raise RequestError(
                f"Token {wrong} is none of this model's {self._size} tokens: the ids are another tokenizer's.",
                hint="Send text (in LangChain: check_embedding_ctx_length=False).",
                param="input",
            )
        return ids or [max(self._tokenizer.get_pad_token_id(), 0)]

    def _encode(self, texts: Sequence[str], *, special: bool = True) -> list[list[int]]:
        found = []
        for at in range(0, len(texts), _TOKENIZED):
            chunk = list(texts[at : at + _TOKENIZED])
            found += self._rows(self._tokenizer.encode(chunk, add_special_tokens=special))
        return found

    def _rows(self, encoded: Any) -> list[list[int]]:
        """The ids of each text without the padding, on whichever side it is. A text of no token gets one."""
        pad = max(self._tokenizer.get_pad_token_id(), 0)
        rows = zip(encoded.input_ids.data, encoded.attention_mask.data, strict=True)
        return [ids[mask != 0].tolist() or [pad] for ids, mask in rows]

    def pair(self, query: str, texts: Sequence[str]) -> list[Tokens]:
        """The tokens of a query with each of the texts, as the model was trained on them."""
        if self._pairs is None:
            instruction = self._options.get("query_instruction") or _QWEN3_INSTRUCTION
            before = _QWEN3_BEFORE.format(instruction=instruction, query=query)
            prompts = [before + text + _QWEN3_AFTER for text in texts]
            return [Tokens(ids) for ids in self._encode(prompts, special=False)]
        # The query with its own special tokens is of the first kind; the rest is of the second.
        first = len(self._encode([query])[0])
        rows: list[list[int]] = []
        for at in range(0, len(texts), _TOKENIZED):
            rows += self._rows(self._pairs.encode([query], list(texts[at : at + _TOKENIZED])))
        return [Tokens(ids, [int(place >= first) for place in range(len(ids))]) for ids in rows]

    def shorten(self, tokens: Tokens) -> Tokens:
        """Cut before the end that the model's task demands: the last special token, or the question's end."""
        limit = self.facts["context_length"]
        end = 1
        if self._reranks and self._pairs is None:
            end = len(self._encode([_QWEN3_AFTER], special=False)[0])
        end = min(end, limit)
        kept = [*tokens.ids[: limit - end], *tokens.ids[-end:]]
        return Tokens(kept, None if tokens.types is None else tokens.types[:limit])

    def start(self, batch: Sequence[Tokens], *, alone: bool = True) -> Callable[[], Sequence[Any]]:
        """Begin a batch; what is returned waits for its vectors (little-endian float32) or scores."""
        inputs, mask = self._inputs_of(batch)
        request = self._requests.take(alone=alone)
        try:
            request.start_async(inputs)
        except RuntimeError as error:
            raise DeviceError(reason(error)) from error
        return partial(self._results, request, mask)

    def _results(self, request: Any, mask: Any) -> Sequence[Any]:
        try:
            request.wait()
            output = np.asarray(request.get_tensor(self._output).data, np.float32)
            results = self._scores(output) if self._reranks else self._vectors(output, mask)
            if "beam_idx" in self._inputs:
                request.reset_state()
        except RuntimeError as error:
            raise DeviceError(reason(error)) from error
        self._requests.give_back(request)
        return results

    def _vectors(self, output: Any, mask: Any) -> list[bytes]:
        if not self._pooled:
            output = _pool(output, mask, self._pooling)
        if self._options.get("normalize", True):
            output = output / np.maximum(np.linalg.norm(output, axis=1, keepdims=True), 1e-12)
        return [row.tobytes() for row in output.astype("<f4", copy=False)]

    def _scores(self, logits: Any) -> list[float]:
        """The relevance of each pair: the probability that the model gives to "relevant"."""
        if logits.shape[1] == 1:
            return [_sigmoid(float(value)) for value in logits[:, 0]]
        # Two classes: the second is "relevant".
        return [_sigmoid(float(second - first)) for first, second in logits[:, :2]]

    def _inputs_of(self, batch: Sequence[Tokens]) -> tuple[dict[str, Any], Any]:
        """What the model takes, and the mask of the tokens that are not padding."""
        longest = max(len(tokens.ids) for tokens in batch)
        shape = (len(batch), max(longest, math.ceil(_LEAST_ROWS / len(batch))))
        ids = np.full(shape, max(self._tokenizer.get_pad_token_id(), 0), np.int64)
        mask, types = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for row, tokens in enumerate(batch):
            # A model whose last token matters finds it in the last column.
            at = slice(shape[1] - len(tokens.ids), None) if self._asks else slice(0, len(tokens.ids))
            ids[row, at], mask[row, at] = tokens.ids, 1
            if tokens.types is not None:
                types[row, at] = tokens.types
        inputs = {
            "input_ids": ids,
            "attention_mask": mask,
            "token_type_ids": types,
            "position_ids": np.maximum(mask.cumsum(axis=1) - 1, 0),
            "beam_idx": np.arange(len(batch), dtype=np.int32),
        }
        return {name: value for name, value in inputs.items() if name in self._inputs}, mask

    @property
    def _asks(self) -> bool:
        return self._reranks and self._pairs is None


def _output(model: Any) -> tuple[Any, bool]:
    """The output to read, and whether it is pooled already."""
    for each in model.outputs:
        if "sentence_embedding" in each.names:
            return each, True
    return model.outputs[0], model.outputs[0].partial_shape.rank.get_length() == 2


def _pool(hidden: Any, mask: Any, pooling: str) -> Any:
    """Make one vector of a text's hidden states, of shape [texts, tokens, size], padded on the right."""
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "last":
        return hidden[np.arange(len(hidden)), mask.sum(axis=1) - 1]
    weights = mask[:, :, None].astype(np.float32)
    return (hidden * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1)


def _asks(config: dict[str, Any]) -> bool:
    """Whether a rerank model is a language model that is asked for "yes" or "no"."""
    return config.get("model_type") == "qwen3" and "num_labels" not in config and "id2label" not in config


def _keep_yes_and_no(model: Any, vocabulary: dict[str, int]) -> None:
    """Make a language model's output, logits of [texts, tokens, vocabulary], those of "no" and "yes" at the end."""
    result = model.outputs[0].get_node()
    logits = result.input_value(0)
    if logits.get_partial_shape().rank.get_length() != 3:
        return
    chosen = ops.constant(np.array([vocabulary["no"], vocabulary["yes"]], np.int64))
    last = ops.gather(logits, ops.constant(np.int64(-1)), ops.constant(np.int64(1)))
    result.input(0).replace_source_output(ops.gather(last, chosen, ops.constant(np.int64(1))).output(0))
    model.validate_nodes_and_infer_types()


def _context(folder: Path, config: dict[str, Any], options: dict[str, Any]) -> int | None:
    """The tokens that a text may have: the least of what the model, its tokenizer and its makers say."""
    said = [options.get("max_length"), _json(folder / "tokenizer_config.json").get("model_max_length")]
    positions = context_of(folder)
    if positions is not None:
        said.append(positions - _OFFSETS.get(str(config.get("model_type")), 0))
    # Tokenizers without a limit state one beyond all bounds.
    counts = [int(count) for count in said if isinstance(count, int | float) and 0 < count < 2**31]
    return min(counts, default=None)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))
