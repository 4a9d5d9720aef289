"""`/api/pull`: fetch a model and follow how far it is, and stop that.

Knows: the requests' fields, lines of JSON, who may name what. Does not know: how jobs are kept, or what a pull does.
"""

from __future__ import annotations

import ipaddress
from typing import Any, ClassVar, Literal

import msgspec

from illama.errors import ForbiddenError, RequestError
from illama.host import answers_ollama as answers
from illama.host import schema
from illama.host.base import Handler
from illama.host.jobs import Watch
from illama.host.operations import LINES, Operation
from illama.pull import localize


class PullRequest(msgspec.Struct):
    """The body of `POST /api/pull`. `model` is the source; `name` is what the model is to be called here.

    `weight_format` is what a checkpoint's weights become; `trust_remote_code` lets the code run that a repository
    brings; `make_environment` agrees to the converter's environment being made, if it is needed.
    `hf_token` is the user's token for the hub; it is never logged or kept. `watcher` is a word of the client's own
    choice, by which `DELETE /api/pull` knows whose connection this is.
    """

    model: str | None = None
    name: str | None = None
    device: str | None = None
    weight_format: Literal["int4", "int8", "fp16", "auto"] | None = None
    trust_remote_code: bool | None = None
    make_environment: bool | None = None
    stream: bool | None = None
    hf_token: str | None = None
    watcher: str | None = None


class StopRequest(msgspec.Struct):
    """The body of `DELETE /api/pull`: which pull, by its `job` or by its source (`model`), and who asks (`watcher`).

    `force`: for all who watch it.
    """

    job: str | None = None
    model: str | None = None
    name: str | None = None
    watcher: str | None = None
    force: bool | None = None


class Pull(Handler):
    """`POST /api/pull`: gets a model, and tells how far it is, a JSON object a line. `DELETE` stops it."""

    operations: ClassVar = {
        "post": Operation(answers.Progress, PullRequest, answers.Progress, LINES),
        "delete": Operation(answers.Stopped, StopRequest),
    }

    async def post(self) -> None:
        """Join the pull that is under way, or start one. It goes on when the client leaves."""
        request = schema.parse(self.body(), PullRequest)
        source = request.model or request.name
        if not source:
            raise RequestError("model is missing.", hint="Say what to pull, such as smollm2.", param="model")
        # What Ollama's older clients call `name` is the source; beside `model` it is the new name.
        name = request.name if request.model else None
        self._check_source(source)
        if request.hf_token and not self._is_local():
            raise ForbiddenError("A hub's token is taken from this machine alone.", hint="Leave hf_token out.")
        if request.trust_remote_code and not self._is_local():
            raise ForbiddenError("Code of a repository is run for this machine alone.", hint="Pull it from there.")
        token = request.hf_token or self.host.settings.hf_token
        wanted = {
            "source": source,
            "name": name,
            "device": request.device,
            "weight_format": request.weight_format,
            "trust_remote_code": bool(request.trust_remote_code),
            "make_environment": bool(request.make_environment),
        }
        watch = self.host.jobs.join(wanted, token, request.watcher)
        try:
            await (self._whole(watch) if request.stream is False else self._lines(watch))
        finally:
            watch.close()

    async def _lines(self, watch: Watch) -> None:
        self.set_header("Content-Type", "application/x-ndjson")
        while line := await self.while_here(watch.next()):
            if not await self.push(msgspec.json.encode(line) + b"\n"):
                return

    async def _whole(self, watch: Watch) -> None:
        last: dict[str, Any] = {}
        while line := await self.while_here(watch.next()):
            last = line
        if not self.gone.is_set():
            self.send(int(last.get("status_code", 500)) if "error" in last else 200, last)

    async def delete(self) -> None:
        """Stop a pull: for all, or, if others watch it and `force` is not set, only for the one who asks.

        The answer comes when it has ended, or at once; its `state` says which: "cancelled", or "running". One that had
        ended already, named by its `job`, is forgotten: `ps` tells of it no more.
        """
        request = schema.parse(self.body(), StopRequest)
        if not (request.job or request.model):
            raise RequestError("model is missing.", hint="Say which pull, by model or job.", param="model")
        if request.job and (over := self.host.jobs.forget(request.job)):
            self.send(200, answers.Stopped(over.id, over.state, 0))
            return
        job = self.host.jobs.find(request.job, request.model, request.name)
        await self.host.jobs.stop(job, request.watcher, force=bool(request.force))
        self.send(200, answers.Stopped(job.id, job.state, len(job.watches)))

    def _check_source(self, source: str) -> None:
        # A path names files of this machine: only who sits at it may have them read.
        if localize(source) == source and not source.startswith(("/", ".", "~")):
            return
        if not self._is_local():
            raise ForbiddenError("Local paths can be pulled from this machine alone.", hint="Run `illama pull` there.")

    def _is_local(self) -> bool:
        try:
            return ipaddress.ip_address(self.request.remote_ip or "").is_loopback
        except ValueError:
            return False
