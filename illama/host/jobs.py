"""Pulls under way: one process each, that belongs to the host, watched by any number of clients or by none.

Knows: which pulls run and how the latest ended, who watches, who may stop one. Does not know: how a model is pulled.

A watcher whose connection ends has only stopped watching. To stop a pull is a request of its own, which counts for all
if nobody else watches, and else only for the one who asks.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from illama.config import Settings
from illama.engine import launch
from illama.errors import CancelledError, HostBusyError, NotFoundError, PullError, RequestError
from illama.host import logs
from illama.pull.sources import canonical

log = logging.getLogger(__name__)

# Seconds that a cancelled pull gets to clean up before it is killed.
_PATIENCE = 6.0
_MAX_LINE = 2**20
# Pulls at the same time: each may hold a whole model in memory while it converts it.
_MAX_JOBS = 4
# Seconds for which a pull that is over is still told of: a failure waits for who comes back the next morning.
_TOLD_FOR = {"failed": 86400.0, "cancelled": 600.0, "success": 600.0}
_MAX_TOLD = 20
# Fields of a request that don't make it another pull.
_BESIDE_THE_POINT = {"source", "make_environment"}
# Fields of a request that are told, so that the same pull can be asked for again.
_TELLING = ("device", "weight_format", "trust_remote_code")


class Watch:
    """One who watches a job: its lines from now on, where a late one begins with the latest."""

    def __init__(self, job: Job, token: str | None) -> None:
        self.job = job
        self.token = token
        self.news = asyncio.Event()
        self._seen: dict[str, Any] | None = None
        self._open = True

    async def next(self) -> dict[str, Any]:
        """The next line; an empty one when there is no more. Who reads slowly misses lines in between, not the last."""
        while self._open:
            latest = self.job.latest
            if latest is not self._seen:
                self._seen = latest
                return {**latest, "job": self.job.id}
            if self.job.task.done():
                break
            self.news.clear()
            await self.news.wait()
        return {}

    def close(self) -> None:
        """Stop watching. The job goes on."""
        self._open = False
        self.job.watches.discard(self)
        self.news.set()


class Job:
    """One pull, in a process of its own."""

    def __init__(self, settings: Settings, request: dict[str, Any], token: str | None) -> None:
        self.id = secrets.token_hex(4)
        self.request = request
        self.watches: set[Watch] = set()
        self.latest: dict[str, Any] = {"status": f"looking for {request['source']}", "phase": "resolve"}
        self.started_at = _now()
        self.ended_at: str | None = None
        self.ended = 0.0
        self.forgotten = False  # nobody is to be told of it any more; its process may still be on its way out
        self._settings = settings
        self._token = token
        self._cancelled = False
        self._process: asyncio.subprocess.Process | None = None
        self.task = asyncio.create_task(self._run())

    @property
    def over(self) -> bool:
        """Whether nothing is to be expected any more, though its process may still be on its way out."""
        return self.task.done() or self._cancelled or self._told_its_end

    @property
    def _told_its_end(self) -> bool:
        return "error" in self.latest or self.latest.get("status") == "success"

    @property
    def state(self) -> str:
        """`running`, `success`, `failed` or `cancelled`."""
        if "error" in self.latest:
            return "cancelled" if self.latest.get("code") == CancelledError.code else "failed"
        return "success" if self.latest.get("status") == "success" else "running"

    def describe(self) -> dict[str, Any]:
        """The job in the fields of `ps`."""
        line, state = self.latest, self.state
        told = {key: line.get(key) for key in ("status", "phase", "completed", "total")}
        ended = {"ended_at": self.ended_at, **{key: line.get(key) for key in ("error", "hint", "code")}}
        return {
            "id": self.id,
            "source": self.request["source"],
            "name": line.get("name") or self.request.get("name"),
            "state": state,
            **told,
            "status": told["status"] or state,
            "watchers": len(self.watches),
            "started_at": self.started_at,
            **{key: self.request[key] for key in _TELLING if self.request.get(key)},
            **({} if state == "running" else {key: value for key, value in ended.items() if value}),
        }

    def watch(self, token: str | None = None) -> Watch:
        """Watch from now on, until the watch is closed. `token` is by what the watcher will say that it is the one."""
        watch = Watch(self, token)
        self.watches.add(watch)
        return watch

    async def cancel(self) -> None:
        """End the process, which cleans up after itself, and wait for it."""
        self._cancelled = True
        if self._process and self._process.stdin:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(asyncio.shield(self.task), _PATIENCE)
        except asyncio.TimeoutError:
            if self._process:
                with contextlib.suppress(ProcessLookupError):
                    self._process.kill()
            await self.task

    async def _run(self) -> None:
        try:
            code = await self._talk()
            if not self._told_its_end:
                self._tell(_unexpected(code, cancelled=self._cancelled))
        except OSError as problem:
            reason = problem.strerror or problem
            self._tell(_line(PullError(f"The pull's process cannot be started: {reason}.", hint="Try again later.")))
        finally:
            log.info("pull of %s: %s", self.request["source"], self.latest.get("error") or self.latest.get("status"))
            # A watcher looks again when this task is done, and not before.
            asyncio.get_running_loop().call_soon(self._wake)

    async def _talk(self) -> int:
        with logs.child_log(self._settings, "pull") as stderr:
            process = self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "illama.pull"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                limit=_MAX_LINE,
                env=launch.environment(os.environ),
                start_new_session=True,
            )
        assert process.stdin is not None, "its input is a pipe"
        assert process.stdout is not None, "its output is a pipe"
        process.stdin.write(json.dumps({**self.request, "hf_token": self._token}).encode() + b"\n")
        self._token = None
        if self._cancelled:
            process.stdin.close()
        while line := await process.stdout.readline():
            with contextlib.suppress(ValueError):
                self._tell(json.loads(line))
        return await process.wait()

    def _tell(self, line: dict[str, Any]) -> None:
        self.latest = line
        if self._told_its_end:
            self.ended, self.ended_at = time.monotonic(), _now()
        self._wake()

    def _wake(self) -> None:
        for watch in self.watches:
            watch.news.set()


class Jobs:
    """All pulls of this host. Asking for one that runs joins it. `used` is called when one has ended."""

    def __init__(self, settings: Settings, used: Callable[[], None] = lambda: None) -> None:
        self._settings = settings
        self._used = used
        self._running: dict[tuple[Any, ...], Job] = {}
        self._leaving: set[Job] = set()  # cancelled, and another one was asked for before they were gone
        self._ended: list[Job] = []

    def join(self, request: dict[str, Any], token: str | None = None, watcher: str | None = None) -> Watch:
        """Watch the job for this request, started if there is none. Raises HostBusyError when too many run.

        `request` has a "source", and what else a pull takes; `token` is the hub's: the process that is started gets it
        on its stdin, and nobody keeps it.
        """
        key = _key(request)
        job = self._running.get(key)
        if job is None or job.over:
            if sum(not each.over for each in self._running.values()) >= _MAX_JOBS:
                raise HostBusyError(
                    f"{_MAX_JOBS} pulls are under way.",
                    hint="Wait until one has ended; `illama ps` shows them, `illama pull --cancel` ends one.",
                )
            if job is not None and not job.task.done():
                self._leaving.add(job)
            self._ended = [each for each in self._ended if _key(each.request) != key]
            job = self._running[key] = Job(self._settings, request, token)
            job.task.add_done_callback(lambda _: self._over(key, job))
        return job.watch(watcher)

    def find(self, id: str | None, source: str | None, name: str | None = None) -> Job:
        """The pull under way that is meant, by its id, or by its source in any spelling.

        Raises NotFoundError if there is none, RequestError if there are several.
        """
        running = [job for job in self._running.values() if not job.over]
        if id or source:
            wanted = {id or source, *([canonical(source)] if source else [])}
            running = [job for job in running if wanted & {job.id, canonical(job.request["source"])}]
        running = [job for job in running if name in {None, job.request.get("name")}]
        if not running:
            what = f"pull of {source}" if source else "such pull"
            raise NotFoundError(f"There is no {what} under way.", hint="`illama ps` shows those that are.")
        if len(running) > 1:
            ids = ", ".join(job.id for job in running)
            raise RequestError(f"{len(running)} pulls are meant: {ids}.", hint="Name one by its id.", param="job")
        return running[0]

    async def stop(self, job: Job, watcher: str | None, *, force: bool) -> None:
        """Stop a job for the one who asks: it is cancelled unless others watch it. `force`: for all of them."""
        for watch in [each for each in job.watches if watcher is not None and each.token == watcher]:
            watch.close()
        if force or not job.watches:
            log.info("pull of %s is cancelled", job.request["source"])
            await job.cancel()

    def forget(self, id: str) -> Job | None:
        """Tell of an ended pull no more. None if no ended one has this id."""
        told = (job for job in (*self._running.values(), *self._ended) if job.over and not job.forgotten)
        job = next((job for job in told if job.id == id), None)
        if job is not None:
            job.forgotten = True
        return job

    def describe(self) -> list[dict[str, Any]]:
        """The pulls that run, then those that ended lately, in the fields of `ps`."""
        now = time.monotonic()
        ended = [job for job in self._ended if now - job.ended < _TOLD_FOR[job.state] and not job.forgotten]
        self._ended = ended[-_MAX_TOLD:]
        running = [job for job in self._running.values() if not job.forgotten]
        return [job.describe() for job in (*running, *reversed(self._ended))]

    @property
    def busy(self) -> bool:
        """Whether any pull is under way."""
        return bool(self._running)

    async def close(self) -> None:
        """Cancel all: what was fetched so far stays for the next pull."""
        jobs = (*self._running.values(), *self._leaving)
        await asyncio.gather(*(job.cancel() for job in jobs), return_exceptions=True)

    def _over(self, key: tuple[Any, ...], job: Job) -> None:
        self._leaving.discard(job)
        if self._running.get(key) is job:
            del self._running[key]
            self._ended.append(job)
        self._used()


def _key(request: dict[str, Any]) -> tuple[Any, ...]:
    rest = sorted((key, value) for key, value in request.items() if value and key not in _BESIDE_THE_POINT)
    return (canonical(request["source"]), *rest)


def _line(error: PullError | CancelledError) -> dict[str, Any]:
    return {**error.to_ollama(), "status_code": error.status}


def _unexpected(code: int, *, cancelled: bool) -> dict[str, Any]:
    if cancelled:
        return _line(CancelledError("The pull was stopped.", hint="Pull again: it goes on from what is there."))
    return _line(
        PullError(
            f"The pull's process ended unexpectedly (exit code {code}).",
            hint="Pull again: it goes on from what is there. `illama logs pull` may say why.",
        )
    )


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
