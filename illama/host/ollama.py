"""Ollama's dialect, for managing models: version, tags, ps, show, copy, delete.

Knows: the field names of Ollama's native API, and the fields of ours beside them. Does not know: scheduling, engines.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from typing import Any, ClassVar

import msgspec

import illama
from illama import space
from illama.errors import IllamaError, ModelNotFoundError, RequestError
from illama.host import answers_ollama as answers
from illama.host import cards, schema, state
from illama.host.base import Handler
from illama.host.devices import Device
from illama.host.memory import Room
from illama.host.operations import Operation
from illama.pull import catalog
from illama.registry import Entry, Registry, tuned
from illama.registry.names import shown

# When a model that never idles out is said to expire.
_NEVER = "9999-12-31T23:59:59Z"
# Seconds that are as good as for ever: dates do not go on without end.
_AGES = 1e10


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


class CopyRequest(msgspec.Struct):
    """The body of `POST /api/copy`."""

    source: str | None = None
    destination: str | None = None


class DeleteRequest(ModelRequest):
    """The body of `DELETE /api/delete`."""

    force: bool | None = None


class Version(Handler):
    """`GET /api/version`."""

    needs = "inference"
    operations: ClassVar = {"get": Operation(answers.Version)}

    async def get(self) -> None:
        """Name the version of illama and of the host's protocol, and the inference key that asks."""
        self.send(200, answers.Version(illama.__version__, state.PROTOCOL, self.key_name or msgspec.UNSET))


class Tags(Handler):
    """`GET /api/tags`: what is installed, answered from memory."""

    needs = "inference"
    operations: ClassVar = {"get": Operation(answers.Tags, query={"catalogue": "1: with what can be pulled by name"})}

    async def get(self) -> None:
        """List the registry, and the catalogue if that is asked for."""
        found = answers.Tags([_tag(entry) for entry in self.host.registry.entries()])
        if self.get_query_argument("catalogue", "") in {"1", "true"}:
            found.catalogue = [answers.Offer(**item) for item in catalog.listing()]
        self.send(200, found)


class Ps(Handler):
    """`GET /api/ps`: what is loaded, and what it is doing; beside it the pulls (`jobs`) and the devices."""

    operations: ClassVar = {"get": Operation(answers.Ps)}

    async def get(self) -> None:
        """List the loaded models, the pulls that run or ended lately, and the devices as far as they are known."""
        models = [_loaded(model) for model in self.host.dispatcher.loaded()]
        devices = [_device(device, room) for device, room in self.host.devices.known() if room]
        usual = self.host.settings.idle_ttl_sec
        spare, registry = self.host.dispatcher.spare.describe(), self.host.registry.token()
        self.send(200, answers.Ps(models, self.host.jobs.describe(), devices, registry, usual, spare))


class Show(Handler):
    """`POST /api/show`: all that is recorded about a model."""

    needs = "inference"
    operations: ClassVar = {"post": Operation(answers.Shown, ModelRequest)}

    async def post(self) -> None:
        """Describe one model."""
        request = schema.parse(self.body(), ModelRequest)
        entry = find(self.host.registry, request.named())
        # It reads files, which may lie on a slow disk.
        loop = asyncio.get_running_loop()
        card = await loop.run_in_executor(None, cards.card, entry, self.host.registry.folder(entry))
        body = answers.Shown(
            license=entry.licence or "",
            modelfile=card.modelfile,
            parameters=card.parameters,
            template=card.template,
            details=cards.details(entry),
            model_info=card.model_info,
            capabilities=card.capabilities,
            modified_at=entry.created,
            entry=await self._told(entry),
        )
        self.send(200, body)

    async def _told(self, entry: Entry) -> dict[str, Any]:
        """What the registry has, and what became of a finding of `illama tune` on the device where it would run."""
        known = entry.to_json()
        if entry.tuned:
            with suppress(IllamaError):  # without the device nobody can tell
                device = await self.host.dispatcher.device_of(entry)
                known["tuned"] = tuned.told(entry, device)
        return known


class Copy(Handler):
    """`POST /api/copy`: gives a model a second name. Unlike Ollama's, it never overwrites a model of that name."""

    operations: ClassVar = {"post": Operation(str, CopyRequest, plain=True)}

    async def post(self) -> None:
        """Answer, without a body, when the copy is there."""
        request = schema.parse(self.body(), CopyRequest)
        if not request.source or not request.destination:
            missing = "destination" if request.source else "source"
            raise RequestError(f"{missing} is missing.", hint="Name source and destination.", param=missing)
        source = find(self.host.registry, request.source).name
        await asyncio.to_thread(self.host.registry.copy, source, request.destination)
        self.set_header("Content-Type", "text/plain; charset=utf-8")


class Delete(Handler):
    """`DELETE /api/delete`: unloads a model, and removes its files and what only it used of the cache."""

    operations: ClassVar = {"delete": Operation(answers.Deleted, DeleteRequest)}

    async def delete(self) -> None:
        """Answer with the number of bytes that came free."""
        request = schema.parse(self.body(), DeleteRequest)
        entry = find(self.host.registry, request.named())
        await self.host.dispatcher.unload(entry.name, force=bool(request.force))
        # Not in the loop's thread: many gigabytes take a while, and the others' answers go on.
        cache = self.host.settings.cache_dir
        _, freed = await asyncio.to_thread(space.remove, self.host.registry, cache, entry.name)
        self.send(200, answers.Deleted(freed=freed))


def find(registry: Registry, name: str) -> Entry:
    """The model of that name, or without the `:latest` that Ollama's clients put behind names.

    Raises ModelNotFoundError in Ollama's own words, by which programs know that they have to pull.
    """
    try:
        return registry.get(name)
    except ModelNotFoundError as error:
        bare = name.removesuffix(":latest")
        if bare != name:
            return find(registry, bare)
        raise ModelNotFoundError(f"model {shown(name)} not found, try pulling it first.", hint=error.hint) from None


def _tag(entry: Entry) -> answers.Tag:
    return answers.Tag(
        name=entry.name,
        model=entry.name,
        modified_at=entry.created,
        size=entry.size,
        digest=entry.digest,
        details=cards.details(entry),
        task=entry.task,
        context_length=entry.context_length,
        weight_format=entry.weight_format,
        aliases=list(entry.aliases),
    )


def _loaded(model: dict[str, Any]) -> answers.Loaded:
    entry: Entry | None = model.pop("entry")
    until = model["until_seconds"]
    # Measured where it can be, else what the files say.
    measured = sum(count for count in model["memory"].values() if count)
    return answers.Loaded(
        **model,
        model=model["name"],
        size=measured or (entry.size if entry else 0),
        size_vram=model["memory"].get("device") or 0,
        digest=entry.digest if entry else "",
        details=cards.details(entry) if entry else answers.Details(),
        expires_at=_expiry(until),
    )


def _device(device: Device, room: Room) -> answers.DeviceRoom:
    return answers.DeviceRoom(
        name=device.name,
        full_name=device.full_name,
        own=device.memory is not None,
        total=room.total,
        free=room.free,
        exact=room.exact,
    )


def _expiry(until: float | None) -> str:
    """When a model expires that has so many seconds left."""
    if until is None or until > _AGES:
        return _NEVER
    return (datetime.now(timezone.utc) + timedelta(seconds=until)).isoformat()
