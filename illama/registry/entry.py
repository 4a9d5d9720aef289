"""One model as the registry knows it.

Knows: an entry's fields, its JSON, and what makes that JSON unusable. Does not know: where anything lies on disk.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from illama.errors import InvalidNameError
from illama.registry.names import validate

_TEXT = ("name", "task", "format", "created", "digest")
_TEXT_OR_NONE = ("architecture", "weight_format", "licence", "device")
_OBJECTS = ("source", "recipe", "options", "files", "tuned")


# An empty part (so `/x`, `x//y`, `x/` and nothing at all), `.`, `..`, a backslash, a drive or a stream, a control.
_ELSEWHERE = re.compile(r"(?:^|/)\.{0,2}(?:/|$)|[\\:\x00-\x1f]")


@dataclass(frozen=True)
class Entry:
    """A model: what it is, where it came from, and how it was made.

    `source` has a "kind" ("wheel", "hub", "gguf", "ir") and what identifies it, such as "sha256". `recipe` says how the
    model was made, with the versions of openvino and openvino_genai. `size` is in bytes, `context_length` in tokens,
    `created` is ISO 8601 with a zone, `device` is set if the model is pinned to one. `files` maps each file's path,
    relative to the model's folder and with `/`, to its size in bytes. `digest` is the sha256 of the weights in hex.
    `options` are for the engine, such as {"pipeline": "stateful"}; `tuned` is what `illama tune` found (`tuned.py`).
    """

    name: str
    source: Mapping[str, Any]
    digest: str
    created: str
    task: str = "text-generation"
    architecture: str | None = None
    format: str = "openvino"
    weight_format: str | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    size: int = 0
    context_length: int | None = None
    chat_template: bool = False
    licence: str | None = None
    device: str | None = None
    aliases: tuple[str, ...] = ()
    files: Mapping[str, int] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    tuned: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The entry as JSON's own types; `from_json` is the way back."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {**values, **{key: dict(values[key]) for key in _OBJECTS}, "aliases": list(self.aliases)}

    def origin(self) -> dict[str, Any]:
        """What it takes to have the same model again: for anybody's eyes, so a local file goes by its name alone."""
        source = dict(self.source)
        if source.get("file"):
            source["file"] = str(source["file"]).replace("\\", "/").rpartition("/")[2]
        recipe = {name: value for name, value in self.recipe.items() if value is not None}
        found = {"source": source, "recipe": recipe, "weight_format": self.weight_format, "digest": self.digest}
        return {name: value for name, value in found.items() if value}

    @classmethod
    def from_json(cls, data: object) -> Entry:
        """Make the entry that `to_json` wrote. Keys that this version does not know are left out.

        Raises ValueError for what is not an entry, and for a name or a file's path that could lead elsewhere.
        """
        if not isinstance(data, dict):
            raise ValueError("not an object")  # noqa: TRY004 - one kind of error for the caller
        values = {each.name: data[each.name] for each in fields(cls) if each.name in data}
        try:
            entry = cls(**{**values, "aliases": tuple(values.get("aliases", ()))})
        except TypeError as problem:
            raise ValueError(str(problem)) from None
        entry._check()
        return entry

    def _check(self) -> None:
        wrong = [key for key in _TEXT if not isinstance(getattr(self, key), str)]
        wrong += [key for key in _TEXT_OR_NONE if not isinstance(getattr(self, key), str | None)]
        wrong += [key for key in _OBJECTS if not isinstance(getattr(self, key), dict)]
        wrong += [] if all(isinstance(alias, str) for alias in self.aliases) else ["aliases"]
        wrong += [] if _is_count(self.size) else ["size"]
        wrong += [] if self.context_length is None or _is_count(self.context_length) else ["context_length"]
        wrong += [] if isinstance(self.chat_template, bool) else ["chat_template"]
        if wrong:
            raise ValueError(f"wrong type: {', '.join(wrong)}")
        for path, size in self.files.items():
            if not is_inside(path) or not _is_count(size):
                raise ValueError(f"not a file of the model: {path!r}")
        try:
            validate(self.name)
        except InvalidNameError as problem:
            raise ValueError(problem.message) from None


@functools.lru_cache(maxsize=4096)  # thousands of models have the same few names of files
def is_inside(path: str) -> bool:
    """Whether a relative path with `/` stays below the folder that it is joined to, on every system."""
    return _ELSEWHERE.search(path) is None


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
