"""What a model may be called, and which folder a name stands for.

Knows: the grammar of names, the folder of a name, which names are the same. Does not know: the disk, or which names
are taken.

A name is a base, as in `Phi-4`, and perhaps a variant behind a colon, as in `Phi-4:int8`. Both are letters, digits and
`. _ -`, so a name is always one component of a path and can never leave the registry's folder. The folder of
`Phi-4:int8` is `Phi-4--int8`; that is why `--` itself is refused, and why a base does not end in `-`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from illama.errors import InvalidNameError

MAX_LENGTH = 128
_PART = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?")
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}
_RULE = "A name is letters, digits and . _ - (such as Phi-4), with a variant behind a colon if need be (Phi-4:int8)."
_INDEX = "index.json"  # the registry's own files lie beside the models' folders
_LATEST = ":latest"


def shown(name: str) -> str:
    """`name` quoted for a message: no control characters, no endless line."""
    return repr(name if len(name) <= 80 else name[:77] + "...")


def validate(name: str) -> str:
    """Return `name` if a model may be called so.

    Raises InvalidNameError for everything else: paths, control characters, names that Windows reserves, leading dots.
    """
    problem = _problem(name)
    if problem:
        raise InvalidNameError(f"{shown(name)} cannot be a model's name: it {problem}.", hint=_RULE)
    return name


@functools.lru_cache(maxsize=16384)  # each name of a registry is looked at more than once
def _problem(name: str) -> str | None:
    base, colon, variant = name.partition(":")
    problem = None
    if not name:
        problem = "is empty"
    elif len(name) > MAX_LENGTH:
        problem = f"has {len(name)} characters; {MAX_LENGTH} are allowed"
    elif not _PART.fullmatch(base) or (colon and not _PART.fullmatch(variant)):
        problem = "has a character or a place for one that is not allowed"
    elif "--" in name:
        problem = "contains '--'"
    elif base.lower().partition(".")[0] in _DEVICES:
        problem = "is a device's name on Windows"
    elif base.lower().startswith(_INDEX):
        problem = "is the name of a file of the registry"
    elif variant.lower() == _LATEST[1:]:
        problem = "ends in ':latest', which always means the name without it"
    return problem


def folder_name(name: str) -> str:
    """The folder of a valid name: `Phi-4:int8` lies in `Phi-4--int8`. Raises InvalidNameError."""
    return validate(name).replace(":", "--")


def from_folder(folder: str) -> str | None:
    """The name whose folder this is, or None if no name has such a folder."""
    name = folder.replace("--", ":", 1)
    try:
        return name if folder_name(name) == folder else None
    except InvalidNameError:
        return None


def fold(name: str) -> str:
    """What two names have in common that are the same but for the case of their letters, or for Ollama's `:latest`."""
    folded = name.strip().casefold()
    return folded.removesuffix(_LATEST)


def suggest(text: str) -> str:
    """A valid name that is as near as can be to `text`, for instance to a file's stem. `model` if nothing is left."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text)
    name = re.sub(r"-{2,}", "-", name)[: MAX_LENGTH // 2].strip("._-")
    try:
        return validate(name)
    except InvalidNameError:
        return validate(f"model-{name}" if name else "model")


def candidates(base: str, weight_format: str | None, organisation: str | None) -> Iterator[tuple[str, bool]]:
    """The names that a new model tries in turn, each with whether it carries the organisation.

    >>> [name for name, _ in candidates("Phi-4", "int8", "unsloth")]
    ['Phi-4', 'Phi-4:int8', 'unsloth-Phi-4', 'unsloth-Phi-4:int8']
    """
    bare = base.partition(":")[0]
    heads = [(base, False)] + ([(suggest(f"{organisation}-{bare}"), True)] if organisation else [])
    for head, marked in heads:
        yield head, marked
        if weight_format and ":" not in head:
            yield f"{head}:{suggest(weight_format.lower())}", marked
