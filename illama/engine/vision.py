"""Vision-language models: continuous batching as for text, with images in the prompts.

Knows: GenAI's image tags, what differs from text in its pipeline. Does not know: files' formats, the pipe.

The vision encoder runs when a request is taken in, and holds up the others' next step as long as it takes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import openvino_genai as genai

from illama.engine.backend import PROMPT_END, Output, Prompt, reason
from illama.engine.genai import PagedBackend, generation_config
from illama.engine.images import decode
from illama.errors import ContextLengthError, RequestError

_TAG = re.compile(r"<ov_genai_image_(\d+)>")


class VisionBackend(PagedBackend):
    """A model that takes text and images.

    How many tokens an image is only the pipeline knows, and tells at the end: until then a prompt's tokens are its
    text's, and so is the limit of the context. What is in the prefix cache is not counted.
    """

    def __init__(self, folder: Path, device: str, message: dict[str, Any], options: dict[str, Any]) -> None:
        super().__init__(folder, device, message, options)
        self.facts["task"] = "image-text-to-text"
        self.reads = 0

    def _first_steps(self) -> None:
        config = genai.GenerationConfig(max_new_tokens=2, do_sample=True, ignore_eos=True, apply_chat_template=False)
        handle = self._pipe.add_request(0, "The quick brown fox jumps over", [], config)
        while self._pipe.has_non_finished_requests():
            self._pipe.step()
        del handle

    def prepare(self, request: dict[str, Any]) -> Prompt:
        given = request.get("images") or []
        text = self._prompts.text(request)
        # A tag that somebody wrote into a message would put an image where it was not sent.
        if [int(number) for number in _TAG.findall(text)] != list(range(len(given))):
            raise RequestError(
                "The text of the messages holds an image's tag, or the template leaves images out.", param="messages"
            )
        ids = self._prompts.ids(_TAG.sub("", text), special=request.get("prompt") is not None)
        if len(ids) >= self._prompts.context_length:
            raise ContextLengthError.of(self._prompts.context_length, len(ids))
        images = [decode(data, number) for number, data in enumerate(given)]
        return Prompt(max(len(ids), 1), 0, text[-PROMPT_END:], (text, images))

    def start(self, id: int, prompt: Prompt, request: dict[str, Any]) -> None:
        config = generation_config(self._defaults, request, self._prompts.context_length - prompt.tokens)
        config.apply_chat_template = False
        text, images = prompt.payload
        try:
            self._handles[id] = self._pipe.add_request(id, text, images, config)
        except RuntimeError as error:
            raise RequestError(f"OpenVINO refuses this request: {reason(error)}") from error
        self._ids[id] = []

    def _read(self, id: int, handle: Any) -> Output:
        output = super()._read(id, handle)
        if output.finish:
            output.prompt_tokens = handle.get_perf_metrics().get_num_input_tokens()
        return output
