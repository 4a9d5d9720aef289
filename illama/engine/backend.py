"""What the engine's loop asks of a backend, and the one error that is the device's own.

Knows: prompts as token ids, steps, finish reasons. Does not know: the pipe, text, stop strings.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from illama.engine.protocol import Facts

# Native libraries begin their messages with a time and the path of a file on the machine that built them.
_NATIVE_PREFIX = re.compile(r"^(?:\[[\d:]+\] )?(?:\S*/\S+:\d+:?\s*)?")


def reason(error: BaseException) -> str:
    """What a native library's error says, as one line without the paths of its build."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return _NATIVE_PREFIX.sub("", lines[-1]).strip() if lines else repr(error)


# Characters of a prompt's end that are told: room for the tag that opens the reasoning.
PROMPT_END = 32
_TOOLS = re.compile(r"\btools\b")


def renders_tools(chat_template: str) -> bool:
    """Whether a chat template does something with the tools that it is given."""
    return bool(_TOOLS.search(chat_template))


class DeviceError(Exception):
    """The pipeline failed in a step: nothing that it holds can be trusted, so the process must end."""


@dataclass
class Prompt:
    """A request's prompt: its token ids, and whatever form of them the backend starts from."""

    tokens: int
    cached: int = 0  # tokens whose keys and values were in the prefix cache
    end: str = ""  # the last characters of its text
    payload: Any = None


@dataclass
class Output:
    """What one step brought for one request. `finish` is None while it goes on."""

    id: int
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish: str | None = None
    error: str | None = None  # the pipeline dropped the request, and why
    prompt_tokens: int | None = None  # where they are known at the end only


class Backend(Protocol):
    """A loaded model. All calls come from one thread, but `check`, which may come from another."""

    facts: Facts
    reads: int  # prompt tokens that a step reads; 0: that is not known

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""

    def warm_up(self) -> None:
        """Take the first steps, which are slower than others, on nobody's account. Raises DeviceError.

        Where they may show that the model cannot be had, loading has taken them.
        """

    def prepare(self, request: dict[str, Any]) -> Prompt:
        """Template and tokenize. Raises RequestError, ContextLengthError for a prompt that leaves no room."""

    def check(self, structured: dict[str, str]) -> None:
        """Compile a grammar ahead of its use. Raises RequestError if it is none."""

    def start(self, id: int, prompt: Prompt, request: dict[str, Any]) -> None:
        """Take the request into the batch. Raises RequestError for sampling parameters that cannot be."""

    def cancel(self, id: int) -> None:
        """Drop a request: the next step reports it as finished by "cancelled"."""

    def step(self) -> list[Output]:
        """Run once. Raises DeviceError."""

    def decode(self, batches: Sequence[Sequence[int]], *, special: bool = False) -> list[str]:
        """The text of each list of ids; `special` keeps special tokens, but those that end the text."""
