"""The scheduler's invariants, under any order of events: a state machine on a fake clock.

It was seen to find these bugs when they were planted: a switch that does not wait for what runs (`if self.running:
return` taken out of `_serve`), a client that leaves while it waits and is granted later (`cancel` that forgets to take
the ticket out), and an engine's death that leaves its requests counted as running (`running.clear()` left out).
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from illama.errors import EngineDiedError, LoadError
from illama.host.scheduler import Effect, End, Fail, Grant, Load, Rules, Slot, State, Ticket

SIZES = {"A": 1, "B": 2, "C": 4}  # of memory, in any unit
MODELS = st.sampled_from(sorted(SIZES))
RULES = Rules(idle_ttl=30, max_wait=20, min_residency=5, max_queue=6)


class Machine(RuleBasedStateMachine):
    """Plays clients, engines and the clock, and keeps books of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.slot = Slot(RULES)
        self.now = 0.0
        self.next_id = 0
        self.models: dict[int, str] = {}
        self.waiting: set[int] = set()
        self.running: set[int] = set()
        self.over: set[int] = set()
        self.engine: str | None = None  # the model of the engine process, as the device sees it
        self.usable = False  # it has told that it is loaded
        self.ending = False
        self.forced = False
        self.memory = 0  # of the device, held by engines

    def play(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Load):
                assert self.engine is None, "two models in one slot"
                self.engine, self.usable, self.ending = effect.model, False, False
                self.memory += SIZES[effect.model]
            elif isinstance(effect, End):
                assert self.engine == effect.model, "ends what is not there"
                assert not self.ending, "ended twice"
                assert not self.running or self.forced, "a running request is killed"
                self.ending = True
            elif isinstance(effect, Grant):
                assert effect.id in self.waiting, "granted to one who does not wait"
                assert self.usable, "granted before the load"
                assert not self.ending, "granted after the end"
                assert self.models[effect.id] == self.engine, "granted on another's model"
                self.waiting.remove(effect.id)
                self.running.add(effect.id)
            elif isinstance(effect, Fail):
                assert effect.id not in self.over, "ended twice"
                self.waiting.discard(effect.id)
                self.running.discard(effect.id)
                self.over.add(effect.id)

    @rule(model=MODELS, keep_alive=st.sampled_from([None, 0.0, -1.0, 3.0]))
    def request(self, model: str, keep_alive: float | None) -> None:
        self.next_id += 1
        self.models[self.next_id] = model
        self.waiting.add(self.next_id)
        self.play(self.slot.request(Ticket(self.next_id, model, self.now, keep_alive)))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        gone = data.draw(st.sampled_from(sorted(self.waiting)))
        self.waiting.remove(gone)
        self.over.add(gone)
        self.play(self.slot.cancel(gone, self.now))

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        done = data.draw(st.sampled_from(sorted(self.running)))
        self.running.remove(done)
        self.over.add(done)
        self.play(self.slot.release(done, self.now))

    @precondition(lambda self: self.engine and not self.usable and not self.ending)
    @rule(batch=st.integers(1, 3))
    def loads(self, batch: int) -> None:
        self.usable = True
        self.play(self.slot.loaded(batch, self.now))

    @precondition(lambda self: self.engine and not self.usable and not self.ending)
    @rule()
    def fails_to_load(self) -> None:
        self.play(self.slot.load_failed(LoadError("no"), self.now))

    @precondition(lambda self: self.engine and self.usable and not self.ending)
    @rule()
    def dies(self) -> None:
        self.forced = True
        self.play(self.slot.died(EngineDiedError("killed"), self.now))
        self.forced = False
        assert not self.running, "a dead engine's requests still run"

    @precondition(lambda self: self.engine and self.usable and not self.ending)
    @rule(seconds=st.sampled_from([1.0, 120.0]))
    def hangs_and_is_ended(self, seconds: float) -> None:
        self.time_passes(seconds)
        if self.engine and self.usable and not self.ending:
            self.dies()

    @precondition(lambda self: self.ending)
    @rule()
    def is_gone(self) -> None:
        assert self.engine is not None
        self.memory -= SIZES[self.engine]
        self.engine, self.usable, self.ending = None, False, False
        self.play(self.slot.ended(self.now))

    @rule(model=MODELS, force=st.booleans())
    def stop(self, model: str, force: bool) -> None:
        self.forced = force
        self.play(self.slot.unload(model, self.now, force=force))
        self.forced = False

    @rule(seconds=st.sampled_from([0.0, 1.0, 4.0, 19.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        # As the dispatcher does: `tick` at each deadline on the way, and never after it.
        target = self.now + seconds
        for _ in range(100):
            due = self.slot.deadline()
            if due is None or due > target:
                break
            self.now = max(due, self.now)
            self.play(self.slot.tick(self.now))
            assert self.slot.deadline() != due, "the clock would be called for ever"
        self.now = target

    @invariant()
    def the_books_agree(self) -> None:
        assert set(self.slot.waiting) == self.waiting
        assert set(self.slot.running) == self.running
        assert len(self.waiting) <= RULES.max_queue + 1

    @invariant()
    def the_device_holds_one_model_at_most(self) -> None:
        assert self.memory == (SIZES[self.engine] if self.engine else 0)

    @invariant()
    def nobody_is_forgotten(self) -> None:
        if self.waiting:
            assert self.slot.state is not State.EMPTY, "somebody waits, and nothing happens"

    @invariant()
    def an_idle_device_serves_at_once(self) -> None:
        if self.slot.state is State.READY and not self.running:
            assert not self.waiting, "the device is idle while somebody waits"

    @invariant()
    def newcomers_do_not_overtake_for_ever(self) -> None:
        overdue = [
            ticket
            for ticket in self.slot.waiting.values()
            if ticket.model != self.slot.model
            and self.now > max(ticket.since + RULES.max_wait, self.slot.loaded_at + RULES.min_residency)
        ]
        assert not (overdue and self.slot.state is State.READY), "a rival waits longer than the rules allow"

    def teardown(self) -> None:
        """Whatever happened: closing empties the slot, and every request has ended once."""
        self.play(self.slot.close(self.now))
        for done in sorted(self.running):
            self.running.discard(done)
            self.over.add(done)
            self.play(self.slot.release(done, self.now))
        if self.engine and not self.usable and not self.ending:
            self.usable = True
            self.play(self.slot.loaded(1, self.now))
        if self.engine:
            assert self.ending, "an engine is left behind"
            self.memory -= SIZES[self.engine]
            self.engine = None
            self.play(self.slot.ended(self.now))
        assert self.slot.state is State.EMPTY
        assert self.memory == 0
        assert not self.waiting
        assert self.over == set(self.models)


TestScheduler = Machine.TestCase
TestScheduler.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
