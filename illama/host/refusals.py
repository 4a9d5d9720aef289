"""The paths of Ollama's dialect that have no meaning here: create, push, blobs. They say what to do instead.

Knows: why not. Does not know: how models are made (`pull` does).
"""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

from illama.errors import UnsupportedError
from illama.host.base import Handler
from illama.host.operations import Operation


class Create(Handler):
    """`POST /api/create`: not here; models are not made of Modelfiles and layers."""

    operations: ClassVar = {"post": Operation(dict[str, Any], dict[str, Any])}

    async def post(self) -> None:
        """Say what to do instead."""
        _refuse(
            "illama makes no models of Modelfiles.",
            "Pull a repository or a GGUF file with /api/pull; send the system prompt and options with each request. "
            "A second name for a model is made with /api/copy.",
        )


class Push(Handler):
    """`POST /api/push`: not here; there is no place to push models to."""

    operations: ClassVar = {"post": Operation(dict[str, Any], dict[str, Any])}

    async def post(self) -> None:
        """Say what to do instead."""
        _refuse("illama uploads nothing.", "`illama show MODEL` tells where the model's files are.")


class Blobs(Handler):
    """`POST /api/blobs/{digest}` and `HEAD`: not here; they are parts of models that create would use."""

    operations: ClassVar = {"post": Operation(dict[str, Any]), "head": Operation(dict[str, Any])}

    async def post(self, digest: str) -> None:
        """Say what to do instead."""
        _refuse("illama keeps no blobs.", "Pull a GGUF file or a folder of this machine with /api/pull.")

    async def head(self, digest: str) -> None:
        """There are none."""
        self.set_status(404)


def _refuse(message: str, hint: str) -> NoReturn:
    raise UnsupportedError(message, hint=hint, status=501, code="not_implemented")
