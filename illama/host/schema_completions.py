"""What a request to `/v1/completions` may hold, and what the engine is told of it.

Knows: the fields of OpenAI's older dialect, and which of them this build can serve. Does not know: HTTP, engines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from illama.engine.protocol import Facts
from illama.errors import RequestError, UnsupportedError
from illama.host import schema
from illama.host.schema_sampling import Sampled

# OpenAI's own default, which its clients rely on: raw text ends by itself only by luck.
DEFAULT_MAX_TOKENS = 16
# Answers to one request: prompts times n.
MAX_ANSWERS = 128


class CompletionRequest(Sampled, kw_only=True):
    """The body of `POST /v1/completions`. `prompt` is text or token ids, or a list of several of one kind."""

    prompt: str | list[str | int | list[int]]
    best_of: int | None = None
    echo: bool | None = None
    suffix: str | None = None
    logprobs: int | None = None


def check(request: CompletionRequest) -> list[str | list[int]]:
    """The prompts, after all values were seen to be in range and possible.

    Raises RequestError or UnsupportedError naming the field.
    """
    schema.check_ranges(request)
    schema.check_ranges(request, (("best_of", 1, 128, True), ("logprobs", 0, 5, True)))
    found = prompts(request.prompt)
    if len(found) * (request.n or 1) > MAX_ANSWERS:
        raise RequestError(
            f"This asks for {len(found) * (request.n or 1)} answers; one request may ask for {MAX_ANSWERS}.",
            hint="Send several requests: they share the device.",
            param="prompt" if len(found) > 1 else "n",
        )
    for field, wrong, what in (
        ("suffix", bool(request.suffix), "text that is filled in before a suffix"),
        ("best_of", (request.best_of or 1) > (request.n or 1), "more answers than it returns"),
        ("logprobs", (request.logprobs or 0) > 1, "log probabilities of other tokens than the chosen one"),
        ("logit_bias", bool(request.logit_bias), "a bias on tokens"),
        ("echo", bool(request.echo) and request.logprobs is not None, "log probabilities of an echoed prompt"),
        ("echo", bool(request.echo) and not isinstance(found[0], str), "an echo of token ids"),
    ):
        if wrong:
            text = f"{field}: this build cannot serve {what}."
            raise UnsupportedError(text, hint=f"Leave out {field}.", param=field)
    return found


def prompts(given: str | Sequence[str | int | list[int]]) -> list[str | list[int]]:
    """The prompts one by one: of text, or of token ids. Raises RequestError for none, empty ones and a mixture."""
    found: list[str | list[int]]
    if isinstance(given, str):
        found = [given]
    elif all(isinstance(each, int) for each in given):
        found = [[each for each in given if isinstance(each, int)]]
    else:
        found = [each for each in given if not isinstance(each, int)]
        if len(found) < len(given) or len({type(each) for each in found}) > 1:
            raise RequestError("prompt mixes texts and token ids.", hint="Send them apart.", param="prompt")
    if not found or not all(found):
        raise RequestError("prompt is empty.", hint="Send text, or token ids.", param="prompt")
    return found


def message(request: CompletionRequest, prompt: str | list[int], which: int, facts: Facts) -> dict[str, Any]:
    """The engine's `generate` message for one prompt; `which` tells several answers to it apart."""
    sampling = schema.sampling(request, DEFAULT_MAX_TOKENS)
    if which and "seed" in sampling:
        sampling["seed"] = (sampling["seed"] + which) % 2**32  # answers to one prompt are to differ
    sampling["logprobs"] = request.logprobs is not None
    return {"prompt": prompt, "sampling": sampling, "stop": schema.stops(request), "structured": None}
