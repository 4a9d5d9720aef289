"""Sees whether a grammar can be compiled, before the pipeline that everybody shares meets it.

Knows: GenAI's structured output. Does not know: requests, the pipe.

A schema that xgrammar cannot compile raises in the middle of `ContinuousBatchingPipeline.step()`, after which no step
of that pipeline succeeds any more. So each grammar is first given to a toy model with the real tokenizer, in a pipeline
of its own that is thrown away. The compiled grammar stays in the tokenizer, so the work is not done twice.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import openvino
import openvino_genai as genai
from openvino import opset13 as ops

from illama.engine.backend import reason
from illama.errors import RequestError


def structured_output(structured: dict[str, str]) -> Any:
    """GenAI's configuration of what guides an answer: one of json_schema, regex, grammar, tags.

    `param` is who said so. `tags`, a JSON list, guides only what comes between a tag's `begin` and `end`.
    """
    config = genai.StructuredOutputConfig
    if "tags" in structured:
        tags = json.loads(structured["tags"])
        made = [config.Tag(tag["begin"], _inside(tag), tag["end"]) for tag in tags]
        triggers = list(dict.fromkeys(tag["trigger"] for tag in tags))
        return config(compound_grammar=config.TriggeredTags(triggers=triggers, tags=made))
    given = {name: text for name, text in structured.items() if name != "param"}
    return config(**given)


def _inside(tag: dict[str, str]) -> Any:
    config = genai.StructuredOutputConfig
    return config.EBNF(tag["grammar"]) if "grammar" in tag else config.JSONSchema(tag["json_schema"])


class GrammarChecker:
    """Checks grammars against one tokenizer. Safe to call from any thread; does not hold the GIL while it compiles."""

    def __init__(self, tokenizer: Any, vocabulary_size: int) -> None:
        self._tokenizer = tokenizer
        self._size = vocabulary_size
        self._lock = threading.Lock()
        self._toy: tuple[str, Any] | None = None

    def check(self, structured: dict[str, str]) -> None:
        """Compile what guides an answer. Raises RequestError with the compiler's reason."""
        with self._lock:
            if self._toy is None:
                self._toy = _toy_model(self._size)
            xml, weights = self._toy
            pipe = genai.LLMPipeline(xml, weights, self._tokenizer, "CPU", ATTENTION_BACKEND="SDPA")
            config = genai.GenerationConfig(max_new_tokens=1, apply_chat_template=False)
            config.structured_output_config = structured_output(structured)
            try:
                pipe.generate(openvino.Tensor(np.zeros((1, 1), np.int64)), config)
            except RuntimeError as error:
                raise RequestError(
                    f"This cannot be used to guide the answer: {reason(error)}",
                    hint="Correct it, or leave out what is named there.",
                    param=structured.get("param", "response_format"),
                ) from error


def _toy_model(vocabulary_size: int) -> tuple[str, Any]:
    """A language model that knows nothing: the logits of every token are zero. Returns its XML and its weights."""
    inputs = []
    for name, shape, kind in (
        ("input_ids", [-1, -1], np.int64),
        ("attention_mask", [-1, -1], np.int64),
        ("position_ids", [-1, -1], np.int64),
        ("beam_idx", [-1], np.int32),
    ):
        parameter = ops.parameter(shape, kind, name=name)
        parameter.output(0).get_tensor().set_names({name})
        inputs.append(parameter)
    column = ops.unsqueeze(ops.convert(inputs[0], "f32"), ops.constant(np.array([2], np.int64)))
    logits = ops.multiply(column, ops.constant(np.zeros((1, 1, vocabulary_size), np.float32)))
    logits.output(0).get_tensor().set_names({"logits"})
    with TemporaryDirectory() as folder:
        path = Path(folder) / "toy.xml"
        openvino.save_model(openvino.Model([logits], inputs, "toy"), path, compress_to_fp16=False)
        weights = np.frombuffer(path.with_suffix(".bin").read_bytes(), np.uint8)
        return path.read_text(encoding="utf-8"), openvino.Tensor(weights.copy())
