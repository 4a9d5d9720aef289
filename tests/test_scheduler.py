"""The scheduler's rules, each told as a story with the time in it."""

from __future__ import annotations

from illama.errors import CancelledError, HostBusyError, IllamaError, LoadError
from illama.host.scheduler import Effect, End, Fail, Grant, Load, Rules, Slot, State, Ticket

RULES = Rules(idle_ttl=600, max_wait=60, min_residency=10, max_queue=3)


def ready(model: str = "A", now: float = 0.0, rules: Rules = RULES, batch: int = 4) -> Slot:
    """A slot that holds a model which served one request and is idle since `now`."""
    slot = Slot(rules)
    assert slot.request(Ticket(-1, model, now)) == [Load(model)]
    assert slot.loaded(batch, now) == [Grant(-1)]
    assert slot.release(-1, now) == []
    return slot


def granted(effects: list[Effect]) -> list[int]:
    return [effect.id for effect in effects if isinstance(effect, Grant)]


def failed(effects: list[Effect]) -> dict[int, IllamaError]:
    return {effect.id: effect.error for effect in effects if isinstance(effect, Fail)}


def test_the_first_request_loads_its_model_and_runs_when_it_is_loaded() -> None:
    slot = Slot(RULES)
    assert slot.request(Ticket(1, "A", 0)) == [Load("A")]
    assert slot.state is State.LOADING
    assert slot.loaded(4, 2) == [Grant(1)]


def test_requests_for_a_loading_model_join_its_load() -> None:
    slot = Slot(RULES)
    slot.request(Ticket(1, "A", 0))
    assert slot.request(Ticket(2, "A", 1)) == []
    assert granted(slot.loaded(4, 2)) == [1, 2]


def test_a_failed_load_tells_all_who_waited_for_it_and_frees_the_slot() -> None:
    slot = Slot(RULES)
    slot.request(Ticket(1, "A", 0))
    slot.request(Ticket(2, "A", 0))
    slot.request(Ticket(3, "B", 0))
    error = LoadError("no memory")
    effects = slot.load_failed(error, 1)
    assert failed(effects) == {1: error, 2: error}
    assert End("A") in effects
    assert slot.ended(2) == [Load("B")]


def test_requests_beyond_the_batch_wait_for_a_place_in_it() -> None:
    slot = ready(batch=2)
    assert granted(slot.request(Ticket(1, "A", 1))) == [1]
    assert granted(slot.request(Ticket(2, "A", 1))) == [2]
    assert slot.request(Ticket(3, "A", 1)) == []
    assert granted(slot.release(1, 2)) == [3]


def test_a_switch_waits_until_what_runs_has_finished() -> None:
    slot = ready()
    slot.request(Ticket(1, "A", 1))
    assert slot.request(Ticket(2, "B", 2)) == []
    assert slot.release(1, 3) == [End("A")]
    assert slot.ended(4) == [Load("B")]


def test_newcomers_for_the_loaded_model_go_first_until_a_rival_has_waited_too_long() -> None:
    slot = ready()
    slot.request(Ticket(1, "A", 20))
    slot.request(Ticket(2, "B", 20))
    assert granted(slot.request(Ticket(3, "A", 79))) == [3]
    assert slot.request(Ticket(4, "A", 80)) == []
    assert slot.state is State.DRAINING
    slot.release(1, 81)
    assert slot.release(3, 82) == [End("A")]
    assert slot.ended(83) == [Load("B")]


def test_the_clock_alone_starts_the_draining() -> None:
    slot = ready()
    slot.request(Ticket(1, "A", 20))
    slot.request(Ticket(2, "B", 20))
    assert slot.deadline() == 80
    slot.tick(80)
    assert slot.state is State.DRAINING


def test_a_busy_model_stays_for_its_minimum_residency() -> None:
    slot = Slot(Rules(max_wait=0, min_residency=10))
    slot.request(Ticket(1, "A", 0))
    slot.request(Ticket(2, "B", 0))
    slot.loaded(4, 5)
    assert granted(slot.request(Ticket(3, "A", 14))) == [3]
    slot.tick(15)
    assert slot.state is State.DRAINING


def test_an_idle_model_is_switched_away_at_once() -> None:
    slot = ready(now=0)
    assert slot.request(Ticket(1, "B", 1)) == [End("A")]


def test_after_a_switch_it_is_a_rivals_turn_even_if_somebody_older_waits_for_the_model_that_left() -> None:
    slot = ready(rules=Rules(max_wait=5, min_residency=0), batch=1)
    slot.request(Ticket(1, "A", 10))
    slot.request(Ticket(2, "A", 11))
    slot.request(Ticket(3, "B", 12))
    slot.tick(17)
    assert slot.release(1, 18) == [End("A")]
    assert slot.ended(19) == [Load("B")]


def test_draining_ends_when_the_rival_has_gone() -> None:
    slot = ready()
    slot.request(Ticket(1, "A", 20))
    slot.request(Ticket(2, "B", 20))
    slot.request(Ticket(3, "A", 80))
    assert slot.state is State.DRAINING
    assert granted(slot.cancel(2, 81)) == [3]
    assert slot.state is State.READY


def test_a_load_that_nobody_waits_for_any_more_is_stopped() -> None:
    slot = Slot(RULES)
    slot.request(Ticket(1, "A", 0))
    assert slot.cancel(1, 1) == [End("A")]
    assert slot.ended(2) == []
    assert slot.state is State.EMPTY


def test_a_load_that_ends_after_it_was_stopped_changes_nothing() -> None:
    slot = Slot(RULES)
    slot.request(Ticket(1, "A", 0))
    slot.cancel(1, 1)
    assert slot.loaded(4, 2) == []
    assert slot.state is State.UNLOADING


def test_a_full_queue_refuses_with_a_time_to_come_back() -> None:
    slot = ready()
    slot.request(Ticket(1, "A", 20))
    for number in (2, 3, 4):
        assert slot.request(Ticket(number, "B", 20)) == []
    error = failed(slot.request(Ticket(5, "B", 20)))[5]
    assert isinstance(error, HostBusyError)
    assert error.retry_after
    assert 5 not in slot.waiting


def test_a_full_queue_does_not_stop_a_request_that_need_not_wait() -> None:
    slot = ready()
    slot.request(Ticket(1, "A", 20))
    for number in (2, 3, 4):
        slot.request(Ticket(number, "B", 20))
    assert granted(slot.request(Ticket(5, "A", 21))) == [5]


def test_idle_time_counts_from_the_end_of_the_last_request() -> None:
    slot = ready()
    slot.request(Ticket(1, "A", 100))
    assert slot.expires_at() is None
    slot.release(1, 500)
    assert slot.expires_at() == 1100
    assert slot.tick(1099.9) == []
    assert slot.tick(1100) == [End("A")]


def test_keep_alive_overrides_the_idle_time_for_its_model() -> None:
    slot = ready()
    slot.request(Ticket(1, "A", 0, keep_alive=5))
    slot.release(1, 10)
    assert slot.expires_at() == 15


def test_keep_alive_stays_in_force_until_a_request_says_otherwise() -> None:
    slot = ready()
    for at, (id, keep_alive) in enumerate([(1, -1), (2, None), (3, 5)]):
        slot.request(Ticket(id, "A", at, keep_alive=keep_alive))
        slot.release(id, at)
        assert slot.expires_at() == (None if id < 3 else at + 5)


def test_keep_alive_0_unloads_at_the_end_of_the_request() -> None:
    slot = ready()
    slot.request(Ticket(1, "A", 0, keep_alive=0))
    assert slot.release(1, 10) == [End("A")]


def test_keep_alive_minus_1_keeps_from_idling_out_but_not_from_a_switch() -> None:
    slot = ready()
    slot.request(Ticket(1, "A", 0, keep_alive=-1))
    slot.release(1, 10)
    assert slot.deadline() is None
    assert slot.tick(1e9) == []
    assert slot.request(Ticket(2, "B", 1e9)) == [End("A")]


def test_a_request_in_the_moment_of_the_eviction_is_served_by_a_new_load() -> None:
    slot = ready()
    assert slot.tick(600) == [End("A")]
    assert slot.request(Ticket(1, "A", 600)) == []
    assert slot.ended(601) == [Load("A")]
    assert slot.loaded(4, 602) == [Grant(1)]


def test_an_engine_that_dies_fails_what_ran_in_it_and_serves_who_waits_by_the_next() -> None:
    slot = ready(batch=1)
    slot.request(Ticket(1, "A", 1))
    slot.request(Ticket(2, "A", 1))
    error = LoadError("killed")
    effects = slot.died(error, 2)
    assert failed(effects) == {1: error}
    assert End("A") in effects
    assert slot.ended(3) == [Load("A")]
    assert slot.loaded(1, 4) == [Grant(2)]


def test_unloading_lets_what_runs_finish_and_keeps_newcomers_for_the_next_load() -> None:
    slot = ready()
    slot.request(Ticket(1, "A", 1))
    assert slot.unload("A", 2) == []
    assert slot.request(Ticket(2, "A", 3)) == []
    assert slot.release(1, 4) == [End("A")]
    assert slot.ended(5) == [Load("A")]


def test_unloading_by_force_fails_what_runs() -> None:
    slot = ready()
    slot.request(Ticket(1, "A", 1))
    effects = slot.unload("A", 2, force=True)
    assert isinstance(failed(effects)[1], CancelledError)
    assert any(isinstance(effect, End) for effect in effects)


def test_closing_refuses_who_waits_and_lets_what_runs_finish() -> None:
    slot = ready()
    slot.request(Ticket(1, "A", 1))
    slot.request(Ticket(2, "B", 1))
    assert isinstance(failed(slot.close(2))[2], HostBusyError)
    assert isinstance(failed(slot.request(Ticket(3, "A", 3)))[3], HostBusyError)
    assert slot.release(1, 4) == [End("A")]
    assert slot.ended(5) == []
