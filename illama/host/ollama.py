"""Ollama's dialect, for managing models: version, tags, ps, show, copy, delete, and loading and unloading.

Knows: the field names of Ollama's native API, and the fields of ours beside them. Does not know: scheduling, engines.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec

import illama
from illama.errors import RequestError, UnsupportedError
from illama.host import schema, state
from illama.host.base import Handler
from illama.registry import Entry

# When a model that never idles out is said to expire.
_NEVER = "9999-12-31T23:59:59Z"


class ModelRequest(msgspec.Struct):
    """A body that names a model; older clients say `name`."""

    model: str | None = None
    name: str | None = None

    def named(self) -> str:
        """The model. Raises RequestError if none is named."""
        found = self.model or self.name
        if not found:
            raise RequestError("model is missing.", hint="Name the model in the request's body.", param="model")
        return found


class DeleteRequest(ModelRequest):
    """The body of `DELETE /api/delete`."""

    force: bool | None = None


class GenerateRequest(ModelRequest):
    """The body of `POST /api/generate`, as far as loading and unloading go."""

    prompt: str | None = None
    keep_alive: float | str | None = None
    device: str | None = None
    force: bool | None = None


class Version(Handler):
    """`GET /api/version`."""

    needs = "inference"

    async def get(self) -> None:
        """Name the version of illama and of the host's protocol, and the inference key that asks."""
        who = {"inference_key": self.key_name} if self.key_name else {}
        self.send(200, {"version": illama.__version__, "protocol": state.PROTOCOL, **who})


class Tags(Handler):
    """`GET /api/tags`: what is installed, answered from memory."""

    needs = "inference"

    async def get(self) -> None:
        """List the registry."""
        self.send(200, {"models": [_tag(entry) for entry in self.host.registry.entries()]})


class Ps(Handler):
    """`GET /api/ps`: what is loaded, and what it is doing; beside it, as `jobs`, the pulls."""

    async def get(self) -> None:
        """List the loaded models, and the pulls that run or ended lately."""
        models = [_loaded(model) for model in self.host.dispatcher.loaded()]
        self.send(200, {"models": models, "jobs": self.host.jobs.describe()})


class Show(Handler):
    """`POST /api/show`: all that is recorded about a model."""

    needs = "inference"

    async def post(self) -> None:
        """Describe one model."""
        request = schema.parse(self.body(), ModelRequest)
        entry = self.host.registry.get(request.named())
        info: dict[str, Any] = {"general.architecture": entry.architecture, "general.license": entry.licence}
        if entry.architecture and entry.context_length:
            info[f"{entry.architecture}.context_length"] = entry.context_length
        body = {
            "license": entry.licence or "",
            "modelfile": "",
            "parameters": "",
            "template": "",
            "details": _details(entry),
            "model_info": {key: value for key, value in info.items() if value is not None},
            "capabilities": ["completion"] if entry.task == "text-generation" else [],
            "modified_at": entry.created,
            "entry": entry.to_json(),
        }
        self.send(200, body)


class Generate(Handler):
    """`POST /api/generate` without a prompt: loads a model, or unloads it (`keep_alive` 0)."""

    needs = "inference"

    async def post(self) -> None:
        """Answer when the model is loaded, or gone."""
        request = schema.parse(self.body(), GenerateRequest)
        keep_alive = schema.keep_alive(request.keep_alive)
        if request.prompt:
            raise UnsupportedError(
                "This build generates text by OpenAI's dialect only.", hint="Use /v1/chat/completions.", status=501
            )
        self.require_owner()  # loading and unloading meddle with others' work
        entry = self.host.registry.get(request.named())
        if keep_alive == 0:
            await self.while_here(self.host.dispatcher.unload(entry.name, force=bool(request.force)))
        else:
            await self.while_here(self._load(entry, keep_alive, schema.device(request.device)))
        reason = "unload" if keep_alive == 0 else "load"
        answer = {"model": entry.name, "created_at": _now(), "response": "", "done": True, "done_reason": reason}
        self.send(200, answer)

    async def _load(self, entry: Entry, keep_alive: float | None, device: str | None) -> None:
        place = await self.host.dispatcher.enter(entry, keep_alive, device)
        (await place.granted()).release()


class Delete(Handler):
    """`DELETE /api/delete`: unloads a model and removes its files."""

    async def delete(self) -> None:
        """Answer with the number of bytes that came free."""
        request = schema.parse(self.body(), DeleteRequest)
        entry = self.host.registry.get(request.named())
        await self.host.dispatcher.unload(entry.name, force=bool(request.force))
        _, freed = self.host.registry.remove(entry.name)
        self.send(200, {"freed": freed})


def _details(entry: Entry) -> dict[str, Any]:
    family = entry.architecture or ""
    return {
        "parent_model": "",
        "format": entry.format,
        "family": family,
        "families": [family] if family else [],
        "parameter_size": "",
        "quantization_level": entry.weight_format or "",
    }


def _tag(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "model": entry.name,
        "modified_at": entry.created,
        "size": entry.size,
        "digest": entry.digest,
        "details": _details(entry),
        "task": entry.task,
        "context_length": entry.context_length,
        "weight_format": entry.weight_format,
        "aliases": list(entry.aliases),
    }


def _loaded(model: dict[str, Any]) -> dict[str, Any]:
    entry: Entry | None = model.pop("entry")
    until = model["until_seconds"]
    expires = _NEVER if until is None else (datetime.now(timezone.utc) + timedelta(seconds=until)).isoformat()
    known = {"digest": entry.digest, "details": _details(entry)} if entry else {}
    # Measured where it can be, else what the files say.
    measured = sum(count for count in model["memory"].values() if count)
    size = measured or (entry.size if entry else 0)
    own = model["memory"].get("device") or 0
    return {**model, "model": model["name"], "size": size, "size_vram": own, **known, "expires_at": expires}


def _now() -> str:
    return datetime.now(timezone.utc).isoformat()
