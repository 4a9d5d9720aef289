"""Carries out what the scheduler decides: engines started and ended, requests let in, clocks kept.

Knows: one slot for each device, its engine, who waits for it. Does not know: the rules (`scheduler`), HTTP.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from illama.config import Settings
from illama.engine.process import Engine
from illama.errors import CancelledError, EngineDiedError, IllamaError, LoadError, ModelNotFoundError
from illama.host import fitting, loading, placing
from illama.host.devices import Device, Devices, need
from illama.host.memory import Room
from illama.host.metrics import Metrics
from illama.host.scheduler import Effect, End, Fail, Grant, Load, Rules, Slot, State, Ticket
from illama.host.spare import Spare
from illama.registry import Entry, Registry

log = logging.getLogger(__name__)

# An engine that died so often within so many seconds while it loaded a model is not started for that model until the
# first of these deaths is so long ago: a crash costs minutes of a device, and every retrying client would ask for one.
_DEATHS, _DEATHS_WITHIN = 3, 120.0
# Seconds between two looks at an engine's memory: each costs milliseconds, and `ps` may be asked all the time.
_MEASURE_EVERY = 2.0


@dataclass
class Seat:
    """A device: a slot of it, for a kind of model (`placing.lane`), and the engine in it."""

    device: str
    slot: Slot
    lane: str
    engine: Engine | None = None
    entry: Entry | None = None
    load_began: float = 0.0
    load_ended: float = 0.0
    timer: asyncio.TimerHandle | None = None
    held: dict[str, int | None] = field(default_factory=dict)  # measured bytes, by kind
    measured_at: float = 0.0
    replaced: bool = False  # the model before had to go for the next one
    changed: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class Lease:
    """The right to use a loaded model's engine, until `release`."""

    engine: Engine
    entry: Entry
    device: str
    queue_ms: float
    load_ms: float
    release: Callable[[], None]


class Place:
    """A request's place before it runs. `granted()` waits for the lease; `describe()` says what for."""

    def __init__(self, dispatcher: Dispatcher, seat: Seat, ticket: Ticket) -> None:
        self._dispatcher = dispatcher
        self._seat = seat
        self._ticket = ticket
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def granted(self) -> Lease:
        """Wait for the lease. Raises what the request fails with; when cancelled, gives the place back."""
        seat, ticket = self._seat, self._ticket
        try:
            await self.future
        except asyncio.CancelledError:
            self._dispatcher.leave(seat, ticket.id)
            raise
        now = time.monotonic()
        if seat.engine is None or seat.entry is None:
            # It was granted and lost in the same moment.
            raise EngineDiedError("The engine ended before it could take the request.", hint="Send it again.")
        # Of the time that was waited, what a load took is the load's.
        load = max(0.0, min(seat.load_ended, now) - max(seat.load_began, ticket.since))
        self._dispatcher.metrics.waited(seat.device, now - ticket.since - load)
        return Lease(
            engine=seat.engine,
            entry=seat.entry,
            device=seat.device,
            queue_ms=(now - ticket.since - load) * 1000,
            load_ms=load * 1000,
            release=lambda: self._dispatcher.leave(seat, ticket.id),
        )

    def describe(self) -> str:
        """What the request waits for, for the one who waits."""
        slot, model = self._seat.slot, self._ticket.model
        if slot.state is State.LOADING and slot.model == model:
            return f"loading {model} on {self._seat.device} ({time.monotonic() - self._seat.load_began:.0f} s)"
        ahead = sum(1 for ticket in slot.waiting.values() if ticket.id < self._ticket.id)
        return f"queued ({ahead} before)" if ahead else "queued"


class Dispatcher:
    """All devices' slots. Must be used from the event loop's thread alone."""

    def __init__(self, settings: Settings, registry: Registry, devices: Devices, metrics: Metrics) -> None:
        self.metrics = metrics
        self._settings = settings
        self._registry = registry
        self._devices = devices
        self._seats: list[Seat] = []
        self._places: dict[int, Place] = {}
        self._ids = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self.spare = Spare(settings, registry)
        self._deaths: dict[str, list[float]] = {}  # when engines died while they loaded a model
        self._closed = False

    async def enter(self, entry: Entry, keep_alive: float | None = None, device: str | None = None) -> Place:
        """Queue up for a model, on a device or on its own. Raises ConfigError if that device is not there."""
        name = (await self.device_of(entry, device)).name
        # Looked at only where it may decide: it takes a thread, and hundreds may come at once.
        alone = self._settings.one_model and not self._has_neighbours(entry, name)
        room = None if alone else await self._devices.room(name)
        seat = self._seat_for(entry, name, room)
        ticket = Ticket(next(self._ids), entry.name, time.monotonic(), keep_alive)
        place = self._places[ticket.id] = Place(self, seat, ticket)
        self._apply(seat, seat.slot.request(ticket))
        if place.future.done():
            del self._places[ticket.id]
        else:
            place.future.add_done_callback(lambda _: self._places.pop(ticket.id, None))
        return place

    async def device_of(self, entry: Entry, device: str | None = None) -> Device:
        """The device that a model would run on, or the one asked for. Raises ConfigError if that is not there."""
        asked = device or entry.device or placing.default_device(entry.task)
        return await self._devices.device(await self._devices.resolve(asked))

    def leave(self, seat: Seat, id: int) -> None:
        """A request is over, whether it waits or runs."""
        over = seat.slot.release if id in seat.slot.running else seat.slot.cancel
        self._apply(seat, over(id, time.monotonic()))

    async def unload(self, name: str, *, force: bool = False) -> bool:
        """Unload a model, on whatever devices, and wait until it is gone; False if it was not loaded."""
        seats = [seat for seat in self._seats if seat.slot.model == name]
        for seat in seats:
            self._apply(seat, seat.slot.unload(name, time.monotonic(), force=force))
        for seat in seats:
            await self._gone(seat, name, seat.engine)
        return bool(seats)

    @staticmethod
    async def _gone(seat: Seat, name: str, engine: Engine | None) -> None:
        while seat.slot.model == name and seat.engine is engine:
            seat.changed.clear()
            await seat.changed.wait()

    async def _measure(self, seat: Seat, engine: Engine) -> None:
        if engine.pid:
            held = await self._devices.held(seat.device, engine.pid)
            if seat.engine is engine:
                seat.held = held

    async def close(self, patience: float) -> None:
        """Refuse who waits, let what runs finish for `patience` seconds, end all engines."""
        self._closed = True
        for seat in self._seats:
            self._apply(seat, seat.slot.close(time.monotonic()))
        try:
            await asyncio.wait_for(self._emptied(), patience)
        except asyncio.TimeoutError:
            for seat in self._seats:
                if seat.slot.model:
                    self._apply(seat, seat.slot.unload(seat.slot.model, time.monotonic(), force=True))
            await self._emptied()
        await self.spare.close()

    async def _emptied(self) -> None:
        for seat in self._seats:
            while seat.slot.state is not State.EMPTY:
                seat.changed.clear()
                await seat.changed.wait()

    def loaded(self) -> list[dict[str, Any]]:
        """What each slot holds, in the fields of `ps`. Memory is that of the latest look; a new one is begun."""
        now = time.monotonic()
        for seat in self._seats:
            if seat.engine and seat.engine.facts and now - seat.measured_at > _MEASURE_EVERY:
                seat.measured_at = now
                self._spawn(self._measure(seat, seat.engine))
        return [self._describe(seat, now) for seat in self._seats if seat.slot.model]

    def _describe(self, seat: Seat, now: float) -> dict[str, Any]:
        slot, engine = seat.slot, seat.engine
        expires = slot.expires_at()
        facts = engine.facts if engine and engine.facts else None
        return {
            "name": slot.model,
            "entry": seat.entry,
            "task": seat.entry.task if seat.entry else None,
            "device": seat.device,
            "state": slot.state.value,
            "running": len(slot.running),
            "queued": len(slot.waiting),
            "pid": engine.pid if engine else None,
            "pipeline": facts["pipeline"] if facts else None,
            "context_length": facts["context_length"] if facts else None,
            "tokens_per_second": round(engine.tokens_per_second, 1) if engine else 0.0,
            "memory": dict(seat.held),
            "load_seconds": round(min(seat.load_ended, now) - seat.load_began, 1),
            "keep_alive": slot.ttl,
            "until_seconds": None if expires is None else round(max(expires - now, 0.0), 1),
        }

    @property
    def busy(self) -> bool:
        """Whether any request waits or runs, or an engine is loaded."""
        return any(seat.slot.model or seat.slot.waiting for seat in self._seats)

    def _has_neighbours(self, entry: Entry, device: str) -> bool:
        """Whether a model is to be loaded beside those of another kind."""
        seats = [seat for seat in self._seats if seat.device == device and not placing.is_open(seat.slot)]
        lane = placing.lane(entry.task)
        return bool(seats) and not any(seat.lane == lane for seat in seats)

    def _seat_for(self, entry: Entry, device: str, room: Room | None) -> Seat:
        """The slot in which a request for a model queues up; `room` is None if memory need not be looked at."""
        seats = [seat for seat in self._seats if seat.device == device]
        lane = placing.lane(entry.task)
        # A model that is still being loaded has not taken its memory yet.
        coming = sum(need(seat.entry).total for seat in seats if seat.entry and seat.slot.state is State.LOADING)
        fits = room is None or room.free is None or need(entry).total + coming <= room.free
        slots = [seat.slot for seat in seats]
        if self._settings.one_model:
            own = next((seat.slot for seat in seats if seat.lane == lane), None)
            slot = placing.choose_lane(slots, own, entry.name, fits=fits)
        else:
            slot = placing.choose(slots, entry.name, fits=fits)
        found = next((seat for seat in seats if seat.slot is slot), None)
        if found is None:
            s = self._settings
            rules = Rules(s.idle_ttl_sec, s.max_wait_sec, s.min_residency_sec, s.max_queue)
            found = Seat(device, Slot(rules, closed=self._closed), lane)
            self._seats.append(found)
        return found

    async def _make_room(self, seat: Seat, entry: Entry) -> None:
        """Evict what nobody uses, longest unused first, until a model fits. Raises LoadError if it does not."""
        while True:
            try:
                fitting.fits(entry.name, need(entry), await self._devices.room(seat.device))
            except LoadError:
                others = [s for s in self._seats if s.device == seat.device and s is not seat]
                slot = placing.evictable([s.slot for s in others])
                victim = next((s for s in others if s.slot is slot), None)
                if victim is None or slot is None or slot.model is None:
                    raise
                log.info("evicting %s from %s to make room for %s", slot.model, seat.device, entry.name)
                name, engine = slot.model, victim.engine
                self._apply(victim, slot.unload(name, time.monotonic(), why="lru"))
                await self._gone(victim, name, engine)
            else:
                return

    def _apply(self, seat: Seat, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Load):
                self._spawn(self._load(seat, effect.model))
            elif isinstance(effect, End):
                seat.replaced = effect.why == "switch"
                if effect.why != "broken":
                    self.metrics.evicted(effect.why)
                self._spawn(self._end(seat, effect.reason))
            else:
                place = self._places.get(effect.id)
                if place is None or place.future.done():
                    # Its client left in this very moment, or it runs: the engine's end fails it.
                    if isinstance(effect, Grant):
                        self._apply(seat, seat.slot.release(effect.id, time.monotonic()))
                elif isinstance(effect, Fail):
                    place.future.set_exception(effect.error)
                else:
                    place.future.set_result(None)
        seat.changed.set()
        self._set_timer(seat)
        self.spare.mind(each.slot for each in self._seats)

    def _set_timer(self, seat: Seat) -> None:
        if seat.timer:
            seat.timer.cancel()
            seat.timer = None
        due = seat.slot.deadline()
        if due is not None:
            seat.timer = asyncio.get_running_loop().call_later(max(due - time.monotonic(), 0.0), self._tick, seat)

    def _tick(self, seat: Seat) -> None:
        self._apply(seat, seat.slot.tick(time.monotonic()))

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)  # the loop itself holds tasks only weakly
        task.add_done_callback(self._tasks.discard)

    async def _load(self, seat: Seat, model: str) -> None:
        seat.load_began = seat.load_ended = time.monotonic()
        seat.load_ended = float("inf")
        died = partial(self._died, seat)
        engine = seat.engine = self.spare.take(died) or Engine(self._settings, died)
        try:
            self._refuse_if_it_keeps_dying(model)
            entry = seat.entry = self._registry.get(model)
            self._registry.check(entry)  # before room is made for it
            draft = self._draft(entry)
            together = replace(entry, size=entry.size + (draft.size if draft else 0))
            await self._make_room(seat, together)
            device = await self._devices.device(seat.device)
            budget = await self._devices.kv_budget(seat.device, together.size)
            facts = await engine.start(loading.message(self._settings, self._registry, entry, device, budget, draft))
        except Exception as problem:  # noqa: BLE001 - whatever it was, those who wait must hear of it
            error = self._explain(problem, model, engine)
            self.metrics.load_failed(model, error)
            seat.load_ended = time.monotonic()
            if not isinstance(problem, CancelledError):
                log.warning("loading %s on %s failed: %s", model, seat.device, error.message)
            self._apply(seat, seat.slot.load_failed(error, time.monotonic()))
        else:
            self._deaths.pop(model, None)
            seat.load_ended = seat.measured_at = time.monotonic()
            seconds = seat.load_ended - seat.load_began
            self.metrics.loaded(model, seat.device, seconds, replaced=seat.replaced)
            self._spawn(self._measure(seat, engine))
            log.info("loaded %s on %s in %.1f s (pid %s)", model, seat.device, seconds, engine.pid)
            self._apply(seat, seat.slot.loaded(facts["slots"], time.monotonic()))

    def _draft(self, entry: Entry) -> Entry | None:
        """The model that drafts for this one. Raises LoadError if it is not installed any more."""
        name = entry.options.get("draft")
        if not name:
            return None
        try:
            return self._registry.get(name)
        except ModelNotFoundError as error:
            raise LoadError(
                f"{name}, which drafts for {entry.name}, is not installed.",
                hint=f"Pull it, or do without: `illama set {entry.name} draft=`.",
            ) from error

    def _died(self, seat: Seat, error: IllamaError) -> None:
        self.metrics.engine_died()
        self._apply(seat, seat.slot.died(error, time.monotonic()))

    def _refuse_if_it_keeps_dying(self, model: str) -> None:
        recent = [at for at in self._deaths.get(model, ()) if at > time.monotonic() - _DEATHS_WITHIN]
        self._deaths[model] = recent
        if len(recent) >= _DEATHS:
            wait = recent[0] + _DEATHS_WITHIN - time.monotonic()
            raise LoadError(
                f"The engine died {len(recent)} times while it loaded {model}: none is started for {wait:.0f} s.",
                hint="Its log, engine.log, has the reason. Pull the model anew, or use a smaller one.",
            )

    def _explain(self, problem: Exception, model: str, engine: Engine) -> IllamaError:
        if isinstance(problem, EngineDiedError):
            deaths = self._deaths.setdefault(model, [])
            deaths.append(time.monotonic())
            tail = engine.log_tail()
            how_often = "" if len(deaths) < 2 else f" That was time {len(deaths)}."
            return LoadError(
                f"{problem.message} It was loading {model}.{how_often}" + (f" Its log ends: {tail}" if tail else ""),
                hint="Free some memory, or pull the model anew; engine.log has all of the log.",
            )
        if isinstance(problem, IllamaError):
            return problem
        return LoadError(f"{model} could not be loaded: {problem!r}")

    async def _end(self, seat: Seat, reason: IllamaError | None) -> None:
        engine, model = seat.engine, seat.slot.model
        if engine:
            wait = await self._devices.parting(seat.device, engine.pid) if engine.pid else None
            await engine.end(reason)
            if wait:
                await wait()
        seat.engine = seat.entry = None
        seat.held = {}
        log.info("unloaded %s from %s", model, seat.device)
        self._apply(seat, seat.slot.ended(time.monotonic()))
