"""Which requests a model can serve by its task.

Knows: the registry's tasks, and where a request of each kind belongs. Does not know: what is asked.
"""

from __future__ import annotations

from illama.errors import RequestError
from illama.registry import Entry

GENERATES = ("text-generation", "image-text-to-text")
_HOMES = {
    "embedding": ("an embedding model", "/v1/embeddings or /api/embed"),
    "rerank": ("a rerank model", "/v1/rerank"),
    "text-generation": ("a language model", "/v1/chat/completions or /api/chat"),
    "image-text-to-text": ("a vision-language model", "/v1/chat/completions or /api/chat"),
}


def demand(entry: Entry, *tasks: str) -> None:
    """Return if the model's task is one of these. Raises RequestError that says what the model is for."""
    if entry.task in tasks:
        return
    kind, home = _HOMES.get(entry.task, (f"a model for {entry.task}", None))
    needed = _HOMES[tasks[0]][0]
    raise RequestError(
        f"{entry.name} is {kind}, and this request needs {needed}.",
        hint=(f"Ask it at {home}, or n" if home else "N") + f"ame {needed}; `illama list` shows what there is.",
        param="model",
        code="model_not_supported",
    )
