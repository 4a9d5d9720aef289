"""Pulls under way: one process each, watched by any number of clients.

Knows: which pulls run, who watches, when nobody does any more. Does not know: how a model is pulled.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
from collections.abc import AsyncGenerator
from typing import Any

from illama.config import Settings
from illama.engine import launch
from illama.errors import HostBusyError
from illama.host import logs
from illama.pull.sources import canonical

log = logging.getLogger(__name__)

# Seconds that a cancelled pull gets to clean up before it is killed.
_PATIENCE = 6.0
_MAX_LINE = 2**20
# Pulls at the same time: each may hold a whole model in memory while it converts it.
_MAX_JOBS = 4


class Job:
    """One pull. It lives in a process of its own and is cancelled when the last watcher leaves."""

    def __init__(self, settings: Settings, request: dict[str, Any], token: str | None) -> None:
        self._settings = settings
        self._request = request
        self._token = token
        self._lines: list[dict[str, Any]] = []
        self._news = asyncio.Event()
        self._watchers = 0
        self._process: asyncio.subprocess.Process | None = None
        self.task = asyncio.create_task(self._run())

    @property
    def over(self) -> bool:
        """Whether nothing is to be expected any more, though its process may still be on its way out."""
        return self.task.done() or self._told_its_end

    @property
    def _told_its_end(self) -> bool:
        last = self._lines[-1] if self._lines else {}
        return "error" in last or last.get("status") == "success"

    async def watch(self) -> AsyncGenerator[dict[str, Any], None]:
        """Each line of progress from now on (a late one begins with the latest), up to the last, which ends it.

        Who reads slowly misses lines in between, never the last.
        """
        self._watchers += 1
        seen: dict[str, Any] | None = None
        try:
            while True:
                latest = self._lines[-1] if self._lines else None
                if latest is not None and latest is not seen:
                    seen = latest
                    yield latest
                elif self.task.done():
                    return
                else:
                    self._news.clear()
                    await self._news.wait()
        finally:
            self._watchers -= 1
            if self._watchers == 0 and not self.task.done() and not self._told_its_end:
                log.info("pull of %s cancelled: nobody watches any more", self._request["source"])
                await self.cancel()

    async def cancel(self) -> None:
        """End the process, which cleans up after itself, and wait for it."""
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
        process.stdin.write(json.dumps({**self._request, "hf_token": self._token}).encode() + b"\n")
        self._token = None
        while line := await process.stdout.readline():
            with contextlib.suppress(ValueError):
                self._tell(json.loads(line))
        code = await process.wait()
        if not self._told_its_end:
            message = f"The pull's process ended unexpectedly (exit code {code})."
            hint = "Pull again: it goes on from what is there. The reason may be in pull.log."
            self._tell({"error": f"{message} {hint}", "code": "pull_failed", "hint": hint})
        last = self._lines[-1]
        log.info("pull of %s: %s", self._request["source"], last.get("error") or last.get("status"))
        self._news.set()

    def _tell(self, line: dict[str, Any]) -> None:
        self._lines[:] = [line]
        self._news.set()


class Jobs:
    """All pulls of this host. Asking for one that runs joins it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._jobs: dict[tuple[Any, ...], Job] = {}

    def join(self, source: str, name: str | None, device: str | None, token: str | None = None) -> Job:
        """The job for this request, started if there is none. Raises HostBusyError when too many run.

        `token` is the hub's: the process that is started gets it on its stdin, and nobody keeps it.
        """
        key = (canonical(source), name, device)
        job = self._jobs.get(key)
        if job is None or job.over:
            if len(self._jobs) >= _MAX_JOBS:
                raise HostBusyError(f"{_MAX_JOBS} pulls are under way.", hint="Wait until one of them has finished.")
            job = self._jobs[key] = Job(self._settings, {"source": source, "name": name, "device": device}, token)
            job.task.add_done_callback(lambda _: self._forget(key, job))
        return job

    def _forget(self, key: tuple[Any, ...], job: Job) -> None:
        if self._jobs.get(key) is job:
            del self._jobs[key]

    @property
    def busy(self) -> bool:
        """Whether any pull is under way."""
        return bool(self._jobs)

    async def close(self) -> None:
        """Cancel all: what was fetched so far stays for the next pull."""
        await asyncio.gather(*(job.cancel() for job in list(self._jobs.values())), return_exceptions=True)
