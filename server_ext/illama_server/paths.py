"""Which paths and queries go through the gate, and which of them change what is installed.

Knows: percent-encoding and the few words that matter. Does not know: the host's endpoints, which answer for themselves.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote, urlencode

from illama.errors import NotFoundError

# What RFC 3986 lets stand in a path; all else has to be encoded.
_PATH = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})+")
# Parts of the query that are Jupyter's, not the host's.
_JUPYTERS = frozenset({"token", "_xsrf", "no_track_activity"})
# Endpoints of Ollama's API, those that the host does not have (yet) among them, that change what is installed.
_MANAGING = frozenset({"pull", "delete", "create", "copy", "push", "blobs"})


def checked(tree: str, path: str) -> str:
    """The host's path for what came behind `illama/`: `/v1/...` or `/api/...`, encoded as it came.

    Raises NotFoundError for what could lead anywhere else, however often it is encoded.
    """
    if not _PATH.fullmatch(path):
        raise nothing()
    for text in _decodings(path):
        plain = text.replace("\\", "/")
        if any(part in {"", ".", ".."} for part in plain.split("/")) or any(ord(c) < 32 or c == "\x7f" for c in plain):
            raise nothing()
    return f"/{tree}/{path}"


def query(raw: str) -> str:
    """The query without what is meant for Jupyter, with its `?`; empty if nothing is left."""
    # latin-1 takes every byte as it is, so that nothing is lost on the way.
    pairs = parse_qsl(raw, keep_blank_values=True, encoding="latin-1")
    kept = [(name, value) for name, value in pairs if name not in _JUPYTERS]
    return "?" + urlencode(kept, encoding="latin-1") if kept else ""


def manages(tree: str, path: str) -> bool:
    """Whether the request would change what is installed."""
    return tree == "api" and any(text.split("/")[0].lower() in _MANAGING for text in _decodings(path))


def nothing() -> NotFoundError:
    """The error for every path that is not there."""
    return NotFoundError(
        "There is nothing at this path.",
        hint="The endpoints are under illama/v1/ (OpenAI's) and illama/api/ (Ollama's).",
    )


def _decodings(path: str) -> list[str]:
    """The path, and what it becomes each time that somebody decodes it."""
    found = [path]
    while (further := unquote(found[-1])) != found[-1]:
        found.append(further)
    return found
