"""What the host is doing, asked once for all widgets that show it.

Knows: `GET /api/ps` and `/api/tags`, how often to ask, who listens. Does not know: how anything is shown.

A poll starts no host, keeps no model loaded and counts as nobody's use. There is one loop for each host, however many
widgets listen; it ends when the last of them has gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import httpx

from illama.client import AsyncClient, wire
from illama.client.session import ClientBase, Session
from illama.client.wire import Call
from illama.errors import ForbiddenError, HostError, IllamaError
from illama.widgets.worker import Activity

# Seconds between two questions: while something runs, loads or is pulled; while nothing does; while no host answers.
_BUSY, _QUIET, _DOWN = 1.0, 3.0, 5.0

Row = Mapping[str, Any]


@dataclass(frozen=True)
class News:
    """What the host said last. `state` is "up" or "down"; while it is down, the rest is as it was.

    `problem` says why it is down. `loaded` and `jobs` are empty where the key is one that may not see them.
    """

    state: str
    version: str = ""
    models: tuple[Row, ...] = ()
    loaded: tuple[Row, ...] = ()
    jobs: tuple[Row, ...] = ()
    problem: IllamaError | None = None
    registry: Any = field(default=None, compare=False)

    @property
    def busy(self) -> bool:
        """Whether something goes on there."""
        return any(m.get("running") or m.get("queued") or m.get("state") != "ready" for m in self.loaded) or any(
            job.get("state") == "running" for job in self.jobs
        )


class Listener(Protocol):
    """Who is told. `listening` says whether it cares at the moment: if nobody does, nothing is asked."""

    @property
    def listening(self) -> bool:
        """Whether news are wanted."""

    def hear(self, news: News) -> None:
        """Take the news, in the widgets' thread."""


def sharing(client: ClientBase | None, *, start: bool = True) -> AsyncClient:
    """A client of its own of the same host as `client`, or as everybody's without one."""
    made = AsyncClient(start=start)
    if client is not None:
        made.session = client.session.another(start=start)
    return made


_feeds: weakref.WeakValueDictionary[tuple[str, str | None], Feed] = weakref.WeakValueDictionary()
_lock = threading.Lock()


def feed_of(client: ClientBase | None) -> Feed:
    """The feed of a client's host: the same for all clients that go there with the same key."""
    session = sharing(client, start=False).session
    with _lock:
        found = _feeds.get(session.place)
        if found is None:
            found = _feeds[session.place] = Feed(session)
        return found


class Feed:
    """Asks one host, and tells all who listen."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._listeners: set[Listener] = set()
        self._lock = threading.Lock()
        self._activity: Activity[None] | None = None
        self._ask_now: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: list[threading.Event] = []
        self._resting = False
        self.latest: News | None = None

    def join(self, listener: Listener) -> None:
        """Tell this one from now on, of what is known at once."""
        with self._lock:
            self._listeners.add(listener)
            if self._activity is None:
                self._activity = Activity(self._run())
            latest = self.latest
        if latest is not None:
            listener.hear(latest)
        if self._resting:
            self.wake()

    def leave(self, listener: Listener) -> None:
        """Tell this one no more."""
        with self._lock:
            self._listeners.discard(listener)
        if not self._listeners:
            self.wake()

    def wake(self) -> None:
        """Ask now: something has changed."""
        loop, event = self._loop, self._ask_now
        if loop is not None and event is not None:
            with contextlib.suppress(RuntimeError):  # the loop has just ended
                loop.call_soon_threadsafe(event.set)

    def refresh(self, seconds: float) -> None:
        """Ask now, and block until those who listen have heard the answer, but not longer than this."""
        answered = threading.Event()
        with self._lock:
            self._waiting.append(answered)
        self.wake()
        answered.wait(seconds)

    async def _run(self) -> None:
        self._loop, event = asyncio.get_running_loop(), asyncio.Event()
        self._ask_now = event
        client = AsyncClient(start=False)
        client.session = self._session
        try:
            async with client:
                while self._wanted():
                    event.clear()
                    self._resting = not any(listener.listening for listener in list(self._listeners))
                    with self._lock:
                        waiting, self._waiting = self._waiting, []
                    if self.latest is None or waiting or not self._resting:
                        self.latest = await self._ask(client)
                        self._tell(self.latest)
                    for each in waiting:
                        each.set()
                    with contextlib.suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(event.wait(), _pause(self.latest))
        except BaseException:
            with self._lock:
                self._end()
            raise

    def _wanted(self) -> bool:
        """Whether anybody is left; if not, who joins next begins anew."""
        with self._lock:
            if not self._listeners:
                self._end()
            return bool(self._listeners)

    def _end(self) -> None:
        self._activity = self._loop = self._ask_now = self.latest = None
        while self._waiting:
            self._waiting.pop().set()

    def _tell(self, news: News) -> None:
        for listener in list(self._listeners):
            try:
                listener.hear(news)
            except Exception as problem:  # noqa: BLE001 - a user's observer must not silence the others
                report(problem)

    async def _ask(self, client: AsyncClient) -> News:
        before = self.latest or News("down")
        try:
            told = await _told(client)
            models = before.models
            if "registry" not in told or told["registry"] != before.registry or before.state == "down":
                models = tuple(await client.list())
        except IllamaError as problem:
            return replace(before, state="down", loaded=(), problem=problem)
        except OSError as problem:
            cannot = HostError(f"The host cannot be looked for: {problem}.", hint="`illama doctor` may know why.")
            return replace(before, state="down", loaded=(), problem=cannot)
        known = client.session.known()
        version = known.state.version if known is not None and known.state is not None else ""
        loaded, jobs = tuple(told.get("models") or ()), tuple(told.get("jobs") or ())
        return News("up", version, models, loaded, jobs, registry=told.get("registry"))


async def _told(client: AsyncClient) -> dict[str, Any]:
    call: Call[dict[str, Any]] = Call("GET", "/api/ps", dict)
    try:
        response, endpoint = await client.open(call)
    except ForbiddenError:  # an inference key may not see it
        return {}
    try:
        await response.aread()
        return call.result(response)
    except httpx.HTTPError as problem:
        raise wire.failure(problem, endpoint, begun=True) from None
    finally:
        await response.aclose()


def _pause(news: News | None) -> float:
    if news is None or news.state == "down":
        return _DOWN
    return _BUSY if news.busy else _QUIET


def report(problem: BaseException) -> None:
    """Log what an observer of the user's has raised, as the event loop does with what nobody catches."""
    context = {"message": "An observer of a widget has failed.", "exception": problem}
    asyncio.get_running_loop().call_exception_handler(context)
