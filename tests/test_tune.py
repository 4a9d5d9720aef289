"""What a tuning tries, when a value is kept, and what the model's entry gets of it."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from support_host import fake_model, running_host

from illama.bench import facts
from illama.bench.figures import Figure
from illama.cli import main
from illama.config import Settings
from illama.errors import ConfigError, EngineError, HostBusyError, UnsupportedError
from illama.host.devices import Device
from illama.notebook import commands, grammar
from illama.notebook.tuning import Tuned
from illama.registry import Registry
from illama.tune import choose, result, trials
from illama.tune.candidates import Cores, candidates
from illama.tune.options import SETTINGS, Options, add_arguments
from illama.tune.run import reset, run

BASE = {"decode_rate": 50.0, "total_rate": 200.0, "prefill_rate": 1000.0, "longest_step": 300.0, "memory_peak": 1e9}


def outcome(*rounds: Mapping[str, float], **all_rounds: float) -> choose.Outcome:
    """What an engine did: `BASE`, but for what is given of each round or of all of them."""
    rounds = rounds or ({}, {}, {})
    return {
        what: Figure(what, "x", None, tuple({**BASE, **all_rounds, **each}[what] for each in rounds)) for what in BASE
    }


def verdict(option: str, candidate: choose.Outcome, base: choose.Outcome | None = None, limit: float = 500) -> bool:
    return choose.judge(option, candidate, base or outcome(), limit).good


def test_what_is_better_in_every_round_and_worse_in_nothing_is_kept() -> None:
    assert verdict("threads", outcome(decode_rate=55))
    assert verdict("threads", outcome({"decode_rate": 52}, {"decode_rate": 53}, {"decode_rate": 60}))


@pytest.mark.parametrize(
    "candidate",
    [
        outcome(),
        outcome({"decode_rate": 60}, {"decode_rate": 60}, {"decode_rate": 49}),  # not in every round
        outcome(decode_rate=51),  # too little
        outcome(decode_rate=60, prefill_rate=900),  # something else is worse
        outcome(decode_rate=60, longest_step=330),
        outcome(decode_rate=60, memory_peak=1.1e9),
        outcome(memory_peak=0.8e9),  # that is not what it is for
    ],
)
def test_what_is_not_clearly_better_or_costs_something_is_not_kept(candidate: choose.Outcome) -> None:
    assert not verdict("threads", candidate)


def test_what_the_machine_did_to_a_round_falls_out() -> None:
    slow = {"decode_rate": 20.0}
    base = outcome({}, slow, {})
    assert verdict("threads", outcome({"decode_rate": 55}, {"decode_rate": 22}, {"decode_rate": 55}), base)
    assert not verdict("threads", outcome({"decode_rate": 55}, {"decode_rate": 19}, {"decode_rate": 55}), base)


def test_one_round_says_nothing() -> None:
    assert choose.clear(Figure("decode_rate", "x", 1, (99.0,)), Figure("decode_rate", "x", 1, (50.0,))) == 0


def test_a_larger_step_is_kept_only_within_the_limit() -> None:
    larger = outcome(prefill_rate=1200, longest_step=480)
    assert verdict("max_batched_tokens", larger)
    assert not verdict("max_batched_tokens", larger, limit=400)
    assert not verdict("max_batched_tokens", outcome(prefill_rate=1200, longest_step=480, decode_rate=40))


def test_a_smaller_step_is_kept_where_the_limit_is_passed_and_prompts_lose_nothing() -> None:
    smaller = outcome(longest_step=150)
    assert not verdict("max_batched_tokens", smaller)
    assert verdict("max_batched_tokens", smaller, limit=250)
    assert not verdict("max_batched_tokens", outcome(longest_step=150, prefill_rate=800), limit=250)


def test_the_best_of_those_that_may_be_kept_is_chosen() -> None:
    judged = [
        (name, choose.judge("threads", outcome(decode_rate=rate), outcome(), 500))
        for name, rate in (("a", 55), ("b", 60), ("c", 40))
    ]
    assert choose.best(judged) == "b"
    assert choose.best(judged[2:]) is None


FOUR, MIXED = Cores(4, 4, mixed=False), Cores(14, 20, mixed=True)


def test_a_cpu_is_tried_with_its_cores_and_a_gpu_without() -> None:
    assert candidates("CPU", FOUR, SETTINGS, {}) == {
        "threads": [2, 3],
        "pinning": [False],
        "kv_precision": ["f16", "bf16"],
        "max_batched_tokens": [128, 512, 1024, 2048],
    }
    mixed = candidates("CPU", MIXED, SETTINGS, {})
    assert (mixed["cores"], mixed["hyper_threading"], mixed["threads"]) == (["performance"], [True, False], [7, 13, 14])
    assert list(candidates("GPU.1", MIXED, SETTINGS, {})) == ["kv_precision", "max_batched_tokens"]
    assert candidates("NPU", MIXED, SETTINGS, {}) == {}
    assert "threads" not in candidates("CPU", Cores(1, 1, mixed=False), SETTINGS, {})


def test_what_somebody_set_is_not_tried() -> None:
    tried = candidates("CPU", FOUR, SETTINGS, {"threads": 2, "kv_precision": "u8"})
    assert list(tried) == ["pinning", "max_batched_tokens"]
    assert list(candidates("CPU", FOUR, ("pinning",), {})) == ["pinning"]


def test_texts_are_compared_token_by_token() -> None:
    assert trials.compare_texts([[1, 2], [3]], [[1, 2], [3]]) == "the same greedy text in 2 of 2 answers"
    assert "1 of 2 answers (the first difference after 1 tokens)" in trials.compare_texts([[1, 2], [3]], [[1, 5], [3]])


@pytest.mark.parametrize("wrong", [["--rounds", "2"], ["--only", "speed"], ["--prompt", "0"], ["--longest-step", "-1"]])
def test_arguments_that_make_no_sense_are_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["m", *wrong])
    assert vars(parser.parse_args(["m"])).keys() == {each.name for each in dataclasses.fields(Options)}


class Engine(trials.Trial):
    """An engine whose figures are made up: `speeds` has what each setting makes of a token's time."""

    speeds: Mapping[str, float] = {}
    broken: Sequence[str] = ()
    dying: Sequence[str] = ()
    at_start: Any = None
    alive: set[str] = set()  # noqa: RUF012 - one for all, on purpose

    def start(self) -> float:
        self.options = dict(self._message["options"])
        names = [result.named(*pair) for pair in self.options.items()]
        if any(name in self.broken for name in names):
            raise EngineError("there is no such thing")
        if self.at_start:
            type(self).at_start(self)
        self.pace = 0.01
        for name in names:
            self.pace *= self.speeds.get(name, 1)
        self.running, self.facts = True, {"context_length": 2048, "kv_bytes": 1}
        self.alive.add(self.name)
        return 0.0

    def run(self, requests: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        if not self.running:
            self.start()
        if self.name in self.dying:
            raise EngineError(f"{self.name} has ended")
        answers = []
        for request in requests:
            words, tokens = len(request["messages"][0]["content"].split()), request["max_tokens"]
            answers.append(
                {
                    "ttft": words * self.pace / 10,
                    "span": tokens * self.pace,
                    "worst": self.pace,
                    "completion_tokens": tokens,
                    "prompt_tokens": words + 30,
                    "ids": [1, 2, 3],
                    "error": None,
                }
            )
        longest = max(answer["span"] for answer in answers)
        return {"answers": answers, "seconds": longest, "longest_step": 0.1}

    def processes(self) -> dict[str, list[int]]:
        return {self.name: [trials.OWN_PID]}

    def close(self) -> None:
        self.running = False
        self.alive.discard(self.name)


@pytest.fixture
def settings(home: Path) -> Settings:
    fake_model(home, "Big")
    return Settings.load({"ILLAMA_HOME": str(home), "ILLAMA_ENGINE": "fake"})


def tuned(settings: Settings) -> Mapping[str, Any]:
    return Registry(settings.registry_dir).get("Big").tuned


def made(**attributes: Any) -> type[Engine]:
    return type("Made", (Engine,), {"alive": set(), **attributes})


QUICK = Options("Big", quick=True, only=("pinning", "kv_precision"))


def test_what_is_faster_is_kept_with_what_it_holds_for(settings: Settings) -> None:
    make = made(speeds={"pinning=0": 0.8, "kv_precision=f16": 0.95, "kv_precision=bf16": 0.9})
    found = run(QUICK, settings, lambda _: None, make)
    assert found.kept == {"pinning": False, "kv_precision": "bf16"}
    entry = tuned(settings)
    assert entry["options"] == found.kept
    assert (entry["device"], entry["full_name"]) == ("CPU", "a fake device")
    before, after = next((f["before"], f["after"]) for f in entry["figures"] if f["what"] == "decode_rate")
    assert after == pytest.approx(before / (0.8 * 0.9), rel=0.01)
    assert make.alive == set()
    shown = result.lines(found)
    assert "Kept for Big" in shown
    assert "pinning=0, kv_precision=bf16" in shown


def test_on_a_gpu_with_its_own_memory_the_engines_take_turns(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    arc = Device("GPU", "An Arc", 2**34, "0000:03:00.0", "24.39", openvino="2026.4.1")
    monkeypatch.setattr(facts, "device_of", lambda settings, entry: arc)
    crowds: list[set[str]] = []

    def look(engine: Engine) -> None:
        crowds.append(engine.alive - {engine.name})

    make = made(at_start=look, speeds={"kv_precision=f16": 0.8, "max_batched_tokens=512": 0.9})
    found = run(Options("Big", quick=True), settings, lambda _: None, make)
    assert found.kept == {"kv_precision": "f16", "max_batched_tokens": 512}
    assert len(crowds) > 20
    assert not any(crowds)
    assert (tuned(settings)["device"], tuned(settings)["driver"]) == ("GPU", "24.39")


def test_a_step_that_the_prompt_does_not_fill_is_not_tried(settings: Settings) -> None:
    steps = dataclasses.replace(QUICK, only=("max_batched_tokens",), dry_run=True)
    tried = [row.value for row in run(steps, settings, lambda _: None, made()).rows]
    assert tried == [128, 512]
    assert not run(dataclasses.replace(steps, prompt=100), settings, lambda _: None, made()).rows


def test_where_nothing_is_faster_the_entry_says_so(settings: Settings) -> None:
    found = run(QUICK, settings, lambda _: None, made(speeds={"pinning=0": 1.2}))
    assert found.kept == {}
    assert tuned(settings)["options"] == {}
    assert "The defaults are best here" in result.lines(found)


def test_what_does_not_load_is_told_and_the_rest_goes_on(settings: Settings) -> None:
    make = made(broken=["kv_precision=f16"], speeds={"kv_precision=bf16": 0.5})
    found = run(QUICK, settings, lambda _: None, make)
    assert found.kept == {"kv_precision": "bf16"}
    assert "cannot be loaded: there is no such thing" in result.lines(found)


def test_an_engine_that_dies_under_a_setting_is_told_and_the_rest_goes_on(settings: Settings) -> None:
    make = made(dying=["kv_precision=f16"], speeds={"kv_precision=bf16": 0.5})
    found = run(QUICK, settings, lambda _: None, make)
    assert found.kept == {"kv_precision": "bf16"}
    assert "gives no answer: kv_precision=f16 has ended" in result.lines(found)


def test_without_the_defaults_there_is_nothing_to_hold_against(settings: Settings) -> None:
    with pytest.raises(EngineError, match="the defaults has ended"):
        run(QUICK, settings, lambda _: None, made(dying=[result.START]))


def test_what_is_not_tried_again_stays_as_it_was_tuned(settings: Settings) -> None:
    speeds = {"pinning=0": 0.8, "kv_precision=bf16": 0.9}
    run(QUICK, settings, lambda _: None, made(speeds=speeds))
    only = dataclasses.replace(QUICK, only=("kv_precision",))
    found = run(only, settings, lambda _: None, made(speeds={**speeds, "kv_precision=bf16": 1.1}))
    assert (found.kept, tuned(settings)["options"]) == ({}, {"pinning": False})
    assert "It began with what was tuned before: pinning=0." in found.notes
    assert "What was tuned before is taken back: kv_precision=bf16." in found.notes


def test_a_gain_that_does_not_come_again_is_not_kept(settings: Settings) -> None:
    class Moody(Engine):
        speeds = {"pinning=0": 0.5}  # noqa: RUF012 - read only
        alive: set[str] = set()  # noqa: RUF012 - its own

        def start(self) -> float:
            super().start()
            if self.name == result.TOGETHER:
                self.pace = 0.01
            return 0.0

    found = run(QUICK, settings, lambda _: None, Moody)
    assert (found.kept, tuned(settings)["options"]) == ({}, {})
    assert any("not clearly better" in note for note in found.notes)


def test_a_dry_run_keeps_nothing(settings: Settings, tmp_path: Path) -> None:
    options = dataclasses.replace(QUICK, dry_run=True)
    found = run(options, settings, lambda _: None, made(speeds={"pinning=0": 0.8}))
    assert (found.kept, found.stored, tuned(settings)) == ({"pinning": False}, False, {})
    found.write(tmp_path / "tune.json")
    told = json.loads((tmp_path / "tune.json").read_text())
    assert (told["schema"], told["complete"], told["stored"]) == ("illama-tune", True, False)
    assert [row["kept"] for row in told["tried"]] == [True, False, False]


def test_a_notebook_shows_the_table_and_the_outcome(settings: Settings) -> None:
    command = grammar.parse_line("tune big --quick --only pinning,kv_precision")
    assert isinstance(command, commands.Tune)
    shown = Tuned(run(command, settings, lambda _: None, made(speeds={"pinning=0": 0.8}, broken=["kv_precision=f16"])))
    page = shown._repr_html_()
    assert "<td" in page
    assert "pinning=0" in page
    assert "Kept for Big" in page
    assert "Kept for Big" in repr(shown)


def test_a_notebooks_table_becomes_a_dataframe(settings: Settings) -> None:
    pytest.importorskip("pandas")
    frame = Tuned(run(QUICK, settings, lambda _: None, made(speeds={"pinning=0": 0.8}))).to_dataframe()
    assert set(frame["setting"]) == {"pinning=0", "kv_precision=f16", "kv_precision=bf16", "all together"}
    (row,) = frame[(frame["setting"] == "pinning=0") & (frame["what"] == "decode_rate")].to_dict("records")
    assert (row["kept"], row["median"]) == (True, pytest.approx(row["base"] / 0.8))


def test_an_interrupt_ends_every_engine_and_leaves_the_entry_as_it_was(settings: Settings) -> None:
    def interrupt(engine: Engine) -> None:
        if engine.name == "kv_precision=f16":
            raise KeyboardInterrupt

    before = {"options": {"pinning": False}, "full_name": "a fake device"}
    registry = Registry(settings.registry_dir)
    registry.update("Big", lambda entry: dataclasses.replace(entry, tuned=before))
    make = made(at_start=interrupt, speeds={"pinning=0": 0.8})
    found = run(QUICK, settings, lambda _: None, make)
    assert found.interrupted
    assert make.alive == set()
    assert tuned(settings) == before
    assert "Big is as it was" in result.lines(found)
    assert [row.name for row in found.rows] == ["pinning=0"]


def test_what_was_tuned_is_taken_back(settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    run(QUICK, settings, lambda _: None, made(speeds={"pinning=0": 0.8}))
    assert tuned(settings)
    reset(Options("big"), settings)
    assert tuned(settings) == {}
    monkeypatch.setenv("ILLAMA_HOME", str(settings.home))
    assert main(["tune", "big", "--reset"]) == 0
    assert "Big is loaded as without tuning" in capsys.readouterr().out


def test_what_cannot_be_tuned_is_refused(home: Path, settings: Settings) -> None:
    fake_model(home, "Embed", task="embedding")
    with pytest.raises(UnsupportedError, match="Embed cannot be tuned"):
        run(Options("Embed"), settings, lambda _: None, made())
    with pytest.raises(UnsupportedError, match="fake engine"):
        run(QUICK, settings, lambda _: None)
    elsewhere = dataclasses.replace(settings, base_url="http://there:1")
    with pytest.raises(ConfigError, match="on the machine that has it"):
        run(QUICK, elsewhere, lambda _: None, made())


def test_the_hosts_models_make_room_and_come_back_and_others_are_not_disturbed(home: Path, settings: Settings) -> None:
    with running_host(home) as host:
        host.chat("Big", "hi")
        said: list[str] = []
        run(QUICK, settings, said.append, made())
        assert "unloading Big" in said
        assert said[-1] == "loading Big again, as it was"
        assert [model["name"] for model in host.http.get("/api/ps").json()["models"]] == ["Big"]
        with host.stream("Big", '/fake {"tokens": 100000, "step_sec": 0.01}') as answer:
            next(answer.iter_lines())
            with pytest.raises(HostBusyError, match=r"Others use .*\(Big\)"):
                run(QUICK, settings, said.append, made())
