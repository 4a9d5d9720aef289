"""Who may use a device, and when: the rules, without clocks, processes or sockets.

Knows: tickets, one slot's state, and what must happen next. Does not know: how a model is loaded, what a request asks.

`Slot` is told what happened, by its methods, with the time; it answers with effects, which the dispatcher carries out.
It is the only writer of its state, so every rule can be tested by telling it a story.

    empty ── load ──> loading ── loaded ──> ready ── rivals overdue, stop ──> draining
      ^                  │ failed, nobody waits     │ idle, rivals wait           │ nothing runs
      └──── ended ─── unloading <───────────────────┴─────────────────────────────┘
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from illama.errors import CancelledError, HostBusyError, IllamaError

# Why a model leaves: nobody used it, another one was asked for (alone, or for want of room), somebody said so, or it
# never came to work, or stopped by itself.
Why = Literal["idle", "switch", "lru", "stop", "broken"]


class State(str, enum.Enum):
    """What a slot is doing."""

    EMPTY = "empty"
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    UNLOADING = "unloading"


@dataclass(frozen=True)
class Rules:
    """The scheduler's settings; times in seconds. `idle_ttl` of -1: never."""

    idle_ttl: float = 600.0
    max_wait: float = 60.0
    min_residency: float = 10.0
    max_queue: int = 512


@dataclass
class Ticket:
    """One request's place: it waits, then runs, then is done."""

    id: int
    model: str
    since: float
    keep_alive: float | None = None


@dataclass(frozen=True)
class Load:
    """Start an engine with this model; tell `loaded` or `load_failed`."""

    model: str


@dataclass(frozen=True)
class End:
    """End the engine; tell `ended` when it is gone. What still runs in it fails with `reason`."""

    model: str
    reason: IllamaError | None = None
    why: Why = field(default="stop", compare=False)


@dataclass(frozen=True)
class Grant:
    """This request may run."""

    id: int


@dataclass(frozen=True)
class Fail:
    """This request ends with an error."""

    id: int
    error: IllamaError


Effect = Load | End | Grant | Fail


@dataclass
class Slot:
    """One device's slot, which holds one model at a time."""

    rules: Rules
    state: State = State.EMPTY
    model: str | None = None
    batch: int = 1
    waiting: dict[int, Ticket] = field(default_factory=dict)
    running: dict[int, Ticket] = field(default_factory=dict)
    loaded_at: float = 0.0
    last_end: float = 0.0
    ttl: float = 0.0
    stopping: bool = False  # the loaded model is to go once what runs has finished
    closed: bool = False  # the host is ending
    _stop_why: Why = "stop"
    _effects: list[Effect] = field(default_factory=list)

    # What happens, told from outside. Each returns the effects that follow.

    def request(self, ticket: Ticket) -> list[Effect]:
        """A request has come."""
        now = ticket.since
        if self.closed:
            error = HostBusyError("The model host is stopping.", hint="Send the request again in a moment.")
            return [Fail(ticket.id, error)]
        self.waiting[ticket.id] = ticket
        effects = self._settle(now)
        began = any(isinstance(effect, Load) for effect in effects)  # whom a load begins for waits in no queue
        if ticket.id in self.waiting and len(self.waiting) > self.rules.max_queue and not began:
            del self.waiting[ticket.id]
            full = HostBusyError(
                f"The queue is full: {self.rules.max_queue} requests are waiting.",
                hint="Send it again later, or raise ILLAMA_MAX_QUEUE.",
            )
            effects = [*effects, Fail(ticket.id, full), *self._settle(now)]
        return effects

    def cancel(self, id: int, now: float) -> list[Effect]:
        """A waiting request's client has gone. Nothing happens for one that does not wait."""
        self.waiting.pop(id, None)
        return self._settle(now)

    def release(self, id: int, now: float) -> list[Effect]:
        """A running request has ended in the engine. Nothing happens for one that does not run."""
        if self.running.pop(id, None):
            self.last_end = now
        return self._settle(now)

    def loaded(self, batch: int, now: float) -> list[Effect]:
        """The model is loaded; so many requests may run at once."""
        if self.state is State.LOADING:
            self.state, self.batch = State.READY, max(batch, 1)
            self.loaded_at = self.last_end = now
            self.ttl = self.rules.idle_ttl
        return self._settle(now)

    def load_failed(self, error: IllamaError, now: float) -> list[Effect]:
        """The model could not be loaded: all who wait for it get the reason; its process is still to end."""
        if self.state is State.LOADING:
            self._fail_waiters(self.model, error)
            self._leave("broken")
        return self._settle(now)

    def died(self, error: IllamaError, now: float) -> list[Effect]:
        """The engine ended by itself. Its requests fail; who waits is served by the next one."""
        if self.state in (State.READY, State.DRAINING):
            self._effects += [Fail(id, error) for id in self.running]
            self.running.clear()
            self._leave("broken")
        return self._settle(now)

    def ended(self, now: float) -> list[Effect]:
        """The engine's process is gone, and its memory is back."""
        if self.state is State.UNLOADING:
            left, self.state, self.model, self.stopping = self.model, State.EMPTY, None, False
            return self._settle(now, left)
        return self._settle(now)

    def unload(self, model: str, now: float, *, force: bool = False, why: Why = "stop") -> list[Effect]:
        """An operator wants this model gone: after what runs, or by force at once."""
        if self.model == model:
            stopped = CancelledError(f"{model} was stopped.", hint="Send the request again to load it anew.")
            if self.state is State.LOADING:
                self._fail_waiters(model, stopped)
            elif self.state in (State.READY, State.DRAINING):
                self.stopping, self._stop_why = True, why
                if force:
                    self._effects += [Fail(id, stopped) for id in self.running]
                    self.running.clear()
                    self._leave(why, stopped)
        return self._settle(now)

    def tick(self, now: float) -> list[Effect]:
        """Time has passed."""
        return self._settle(now)

    def close(self, now: float) -> list[Effect]:
        """The host is ending: who waits is refused, who runs may finish."""
        self.closed = self.stopping = True
        busy = HostBusyError("The model host is stopping.", hint="Send the request again in a moment.")
        self._effects += [Fail(id, busy) for id in self.waiting]
        self.waiting.clear()
        return self._settle(now)

    # What can be asked.

    def deadline(self) -> float | None:
        """When `tick` is due, if nothing else happens before; None if never."""
        if self.state is not State.READY:
            return None
        times = [max(t.since + self.rules.max_wait, self.loaded_at + self.rules.min_residency) for t in self._rivals()]
        expiry = self.expires_at()
        if expiry is not None:
            times.append(expiry)
        return min(times, default=None)

    def expires_at(self) -> float | None:
        """When the loaded model will be unloaded if nobody asks for it; None while it works, or if never."""
        if self.state is not State.READY or self.running or self.ttl < 0:
            return None
        return self.last_end + self.ttl

    # The rules.

    def _settle(self, now: float, left: str | None = None) -> list[Effect]:
        if self.state in (State.READY, State.DRAINING):
            self._serve(now)
        if self.state is State.LOADING and not self._own():
            self._leave("stop")  # nobody waits for this load any more
        if self.state is State.EMPTY and self.waiting:
            # After a switch it is a rival's turn, even if somebody still waits for the model that left.
            first = next((t for t in self.waiting.values() if t.model != left), next(iter(self.waiting.values())))
            self.state, self.model = State.LOADING, first.model
            self._effects.append(Load(first.model))
        effects, self._effects = self._effects, []
        return effects

    def _serve(self, now: float) -> None:
        rested = now >= self.loaded_at + self.rules.min_residency
        overdue = rested and any(now >= ticket.since + self.rules.max_wait for ticket in self._rivals())
        self.state = State.DRAINING if overdue or self.stopping else State.READY
        if self.state is State.READY:
            for ticket in self._own():
                if len(self.running) >= self.batch:
                    break
                del self.waiting[ticket.id]
                self.running[ticket.id] = ticket
                if ticket.keep_alive is not None:
                    self.ttl = ticket.keep_alive  # it stays in force until a request says otherwise, as Ollama has it
                self._effects.append(Grant(ticket.id))
        if self.running:
            return
        expiry = self.expires_at()
        expired = expiry is not None and now >= expiry
        # Nothing runs and the batch has room, so nobody who waits here waits for the loaded model, unless it drains.
        if self.stopping:
            self._leave(self._stop_why)
        elif any(True for _ in self._rivals()):
            self._leave("switch")
        elif expired:
            self._leave("idle")

    def _leave(self, why: Why, reason: IllamaError | None = None) -> None:
        assert self.model is not None, "a slot that is left held a model"
        self.state = State.UNLOADING
        self._effects.append(End(self.model, reason, why))

    def _own(self) -> list[Ticket]:
        return [ticket for ticket in self.waiting.values() if ticket.model == self.model]

    def _rivals(self) -> Iterator[Ticket]:
        return (ticket for ticket in self.waiting.values() if ticket.model != self.model)

    def _fail_waiters(self, model: str | None, error: IllamaError) -> None:
        for ticket in [t for t in self.waiting.values() if t.model == model]:
            del self.waiting[ticket.id]
            self._effects.append(Fail(ticket.id, error))
