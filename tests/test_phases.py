from __future__ import annotations

import re

import pytest

from illama.notebook.phases import Phases, finished


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def load(phases: Phases, clock: Clock, *amounts: int, total: int = 100_000_000, phase: str = "download") -> None:
    """Events a second apart."""
    for amount in amounts:
        phases.add({"status": f"{phase}ing x", "phase": phase, "completed": amount, "total": total})
        clock.now += 1


def test_a_phase_says_how_far_it_is_how_fast_and_how_long_it_may_take(clock: Clock):
    phases = Phases(clock)
    load(phases, clock, 0, 10_000_000, 20_000_000)
    assert phases.rate == 10_000_000
    assert phases.seconds_left == 8
    assert phases.plain() == "downloading x  20.0 MB of 100 MB · 20 % · 10.0 MB/s · 8 seconds left"


def test_the_rate_is_that_of_the_last_seconds(clock: Clock):
    phases = Phases(clock)
    load(phases, clock, *range(0, 80_000_000, 10_000_000), *range(71_000_000, 79_000_000, 1_000_000))
    assert phases.rate == 1_000_000


def test_a_resumed_download_does_not_count_what_was_there(clock: Clock):
    phases = Phases(clock)
    load(phases, clock, 90_000_000)
    assert phases.rate is None
    load(phases, clock, 91_000_000)
    assert phases.rate == 1_000_000


def test_a_download_that_begins_again_has_a_rate_of_its_own(clock: Clock):
    phases = Phases(clock)
    load(phases, clock, 0, 50_000_000, 0, 1_000_000)
    assert phases.rate == 1_000_000


def test_each_phase_has_a_bar_and_only_the_last_one_is_under_way(clock: Clock):
    phases = Phases(clock)
    load(phases, clock, 0, 100_000_000)
    phases.add({"status": "converting x", "phase": "convert"})
    assert phases.current == "convert"
    bars = re.findall(r"<progress[^>]*>", phases.html())
    assert bars == [
        '<progress aria-label="downloading x" value="1" max="1">',
        '<progress aria-label="converting x">',
    ]
    assert phases.plain() == "downloading x  100 MB, done\nconverting x"


def test_a_remark_belongs_to_the_phase_under_way(clock: Clock):
    phases = Phases(clock)
    load(phases, clock, 5)
    phases.add({"status": "waiting for the network"})
    assert phases.html().count("<progress") == 1
    assert "waiting for the network" in phases.html()


def test_at_a_good_end_all_is_done_and_at_a_bad_one_the_last_phase_stays_where_it_was(clock: Clock):
    well, badly = Phases(clock), Phases(clock)
    for phases in (well, badly):
        load(phases, clock, 0, 50_000_000)
    well.end(finished({"name": "x"}), well=True)
    badly.end("failed", well=False)
    assert well.plain() == "downloading x  100 MB, done\nx is ready."
    assert badly.plain() == "downloading x  50.0 MB of 100 MB · 50 %\nfailed"
    assert 'value="50000000" max="100000000"' in badly.html()


def test_what_a_source_is_called_is_no_html():
    phases = Phases()
    phases.add({"status": '<img src=x onerror="x()">', "phase": "resolve"})
    assert "<img" not in phases.html()
    assert 'onerror="' not in phases.html()
