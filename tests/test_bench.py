"""What a benchmark makes of what was measured: figures, turns, files, comparisons."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from illama.bench import options, prompts, report, result
from illama.bench.figures import Figure, relate
from illama.bench.measures import Measure, planned
from illama.bench.options import Options, Peer
from illama.bench.prompts import Sizes
from illama.bench.result import Result
from illama.bench.rounds import Rounds
from illama.errors import ConfigError, EngineError

ABOUT: dict[str, Any] = {
    "date": "2026-01-02T03:04:05+00:00",
    "model": {"name": "m", "digest": "1", "weight_format": "int4"},
    "device": {"name": "CPU", "full_name": "a CPU", "driver": None},
    "versions": {"illama": "0.1.0", "openvino": "1"},
    "machine": {"cpu": "c", "cores": 2},
    "options": {"rounds": 3, "tokens": 64},
    "conditions": {"load_average": [0.1, 0.1, 0.1]},
}


def answer(ttft: float = 0.1, span: float = 0.63, tokens: int = 64, error: str | None = None) -> dict[str, Any]:
    counts = {"pieces": tokens, "prompt_tokens": 100, "completion_tokens": tokens, "cached_tokens": 0}
    return {"ttft": ttft, "span": span, "worst": 0.02, "error": error, **counts}


class Told:
    """A target that answers as it is told, and keeps what it was asked."""

    def __init__(self, name: str, log: list[str], engine: str = "", problem: Exception | None = None) -> None:
        self.name, self.engine = name, engine or name
        self._log, self._problem = log, problem

    def run(self, requests: Sequence[Any]) -> dict[str, Any]:
        self._log.append(self.name)
        if self._problem:
            raise self._problem
        return {"answers": [answer() for _ in requests], "seconds": 1.0}

    def processes(self) -> dict[str, list[int]]:
        return {}

    def describe(self) -> dict[str, Any]:
        return {"name": self.name}

    def close(self) -> None:
        """Nothing to end."""


def quiet(_: str) -> None:
    """Nobody listens."""


def rounds_of(*targets: Told, measures: Sequence[Measure] = (Measure("streams", 1, 8),), **more: Any) -> Rounds:
    return Rounds(targets, measures, Sizes(), quiet, **more)


def test_a_figure_is_the_median_with_its_spread_and_leaves_failed_rounds_out() -> None:
    figure = Figure("ttft", "host", 1, (30.0, None, 10.0, 20.0))
    assert (figure.median, figure.low, figure.high) == (20.0, 10.0, 30.0)
    assert figure.to_json()["values"] == [30.0, None, 10.0, 20.0]


def test_a_figure_without_any_value_is_null_in_the_file() -> None:
    figure = Figure("ttft", "host", 1, (None, None))
    assert math.isnan(figure.median)
    assert figure.to_json()["median"] is None


def test_a_ratio_is_made_round_by_round_so_that_a_bad_round_hits_both() -> None:
    ours = Figure("total_rate", "host", 1, (50.0, 5.0, None))
    theirs = Figure("total_rate", "raw", 1, (100.0, 10.0, 100.0))
    assert relate(ours, theirs).values == (0.5, 0.5, None)
    assert relate(ours, theirs, "difference").values == (-50.0, -5.0, None)


def test_every_target_is_first_as_often_as_the_others() -> None:
    log: list[str] = []
    rounds_of(*(Told(name, log) for name in "abc")).run(3)
    assert log == ["a", "b", "c", "b", "c", "a", "c", "a", "b"]


def test_measures_turn_too() -> None:
    log: list[str] = []
    said: list[str] = []
    rounds = Rounds([Told("a", log)], [Measure("streams", 1, 8), Measure("streams", 2, 8)], Sizes(), said.append)
    rounds.run(2)
    assert [line.partition(", ")[2] for line in said] == ["1 stream", "2 streams", "2 streams", "1 stream"]


def test_engines_without_room_side_by_side_take_turns_by_the_round() -> None:
    log: list[str] = []
    targets = [Told("raw", log), Told("host", log, "host"), Told("jupyter", log, "host")]
    measures = [Measure("streams", 1, 8), Measure("streams", 2, 8)]
    rounds_of(*targets, measures=measures, awake=lambda _: None).run(1)
    assert log == ["raw", "raw", "host", "jupyter", "host", "jupyter"]


def test_the_warm_up_is_no_round() -> None:
    log: list[str] = []
    rounds = rounds_of(Told("a", log), measures=[Measure("streams", count, 8) for count in (1, 4, 8)])
    rounds.warm_up()
    assert log == ["a", "a"]  # the smallest and the largest
    assert rounds.figures() == []
    assert rounds.asked == {}


def test_what_an_interrupt_cuts_off_is_left_out_and_the_rest_is_kept() -> None:
    log: list[str] = []
    a, b = Told("a", log), Told("b", log)
    rounds = rounds_of(a, b)
    rounds.run(1)
    a._problem = KeyboardInterrupt()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        rounds.run(1)
    assert {(f.what, f.target) for f in rounds.figures()} >= {("total_rate", "a"), ("total_rate", "b")}
    assert all(len(figure.values) == 1 for figure in rounds.figures())


def test_another_servers_trouble_ends_nothing_and_is_counted() -> None:
    log: list[str] = []
    rounds = rounds_of(Told("a", log), Told("b", log, problem=EngineError("it is gone")))
    rounds.run(2)
    assert rounds.errors == {"b": ["it is gone", "it is gone"]}
    assert {figure.target for figure in rounds.figures()} == {"a"}


def test_a_round_in_which_one_of_the_streams_failed_has_no_figure() -> None:
    good = [{"answers": [answer(), answer()], "seconds": 1.0}]
    bad = [{"answers": [answer(), answer(error="refused")], "seconds": 0.5}]
    (rate,) = (f for f in Measure("streams", 2, 64).figures("x", [good, bad]) if f.what == "total_rate")
    assert rate.values == (128.0, None)


def test_the_figures_of_streams_follow_from_tokens_and_times() -> None:
    sample = [
        {
            "answers": [answer(ttft=0.1, span=0.63, tokens=64)],
            "seconds": 0.8,
            "cpu": {"host": 0.04, "engine": 0.6},
            "load_cpu": 0.064,
        }
    ]
    found = {f.what: f.median for f in Measure("streams", 1, 64).figures("x", [sample])}
    assert found == pytest.approx(
        {
            "total_rate": 80.0,
            "decode_rate": 100.0,
            "tpot": 10.0,
            "ttft": 100.0,
            "worst_gap": 20.0,
            "cpu_per_token": 10.0,
            "cpu_engine": 9.375,
            "cpu_host": 0.625,
            "load_generator_cpu": 1.0,
        }
    )


def test_the_next_turn_is_held_against_the_first() -> None:
    sample = [{"answers": [answer(ttft=2.0)], "seconds": 2.0}, {"answers": [answer(ttft=0.1)], "seconds": 0.1}]
    found = {f.what: f.median for f in Measure("prompts", 100).figures("x", [sample])}
    assert found["cached_share"] == pytest.approx(0.05)
    assert found["prefill_rate"] == pytest.approx(50.0)


def test_prompts_that_do_not_fit_the_context_are_left_out() -> None:
    plan = planned(["prompts", "streams", "beside"], [128, 2048, 8192], [1, 16], 64, 4096)
    told = [(each.kind, each.size) for each in plan]
    assert told == [("prompts", 128), ("prompts", 2048), ("streams", 1), ("streams", 16), ("beside", 2048)]


def test_texts_of_a_round_have_the_same_words_behind_a_beginning_that_is_new() -> None:
    one, two = prompts.text("seed", 50), prompts.text("seed", 50)
    assert one != two
    assert one.partition(". ")[2] == two.partition(". ")[2]
    assert len(one.partition(". ")[0]) == len(two.partition(". ")[0])


def test_words_are_counted_by_what_two_texts_took() -> None:
    sizes = Sizes.of((40, 82), (160, 262))
    assert sizes.words(22 + 150) == 100


def test_a_result_survives_its_file(tmp_path: Path) -> None:
    found = Result(ABOUT, [Figure("ttft", "host", 1, (10.0, 12.0))], ["a note"])
    found.write(tmp_path / "r.json")
    body = json.loads((tmp_path / "r.json").read_text())
    assert (body["schema"], body["version"], body["complete"]) == ("illama-bench", 1, True)
    again = result.read(tmp_path / "r.json")
    assert again.figures == found.figures
    assert again.about == ABOUT
    assert again.notes == ["a note"]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": "other", "version": 1, "figures": []}', '{"schema": "illama-bench"}']
)
def test_a_file_that_is_no_result_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(ConfigError, match="no result of a benchmark"):
        result.read(tmp_path / "r.json")


def test_a_file_of_another_version_of_the_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text('{"schema": "illama-bench", "version": 2, "figures": []}')
    with pytest.raises(ConfigError, match="version 2"):
        result.read(tmp_path / "r.json")


def test_a_comparison_says_when_the_spread_makes_it_mean_nothing() -> None:
    before = Result(ABOUT, [Figure("ttft", "host", 1, (10.0, 12.0)), Figure("total_rate", "host", 1, (50.0, 60.0))])
    now = Result(ABOUT, [Figure("ttft", "host", 1, (20.0, 22.0)), Figure("total_rate", "host", 1, (55.0, 70.0))])
    (slower, same), differences = result.compare(before, now)
    assert slower.clear
    assert slower.better is False
    assert slower.ratio == pytest.approx(21 / 11)
    assert not same.clear
    assert differences == []
    text = report.comparison([slower, same], differences, "then")
    assert "worse" in text
    assert "within the spread" in text


def test_a_single_value_has_no_spread_to_judge_by() -> None:
    then, now = (Result(ABOUT, [Figure("ttft", "host", 1, (value,))]) for value in (10.0, 20.0))
    ((change,), _) = result.compare(then, now)
    assert not change.clear


def test_a_comparison_points_out_what_was_another() -> None:
    now = {**ABOUT, "versions": {"illama": "0.2.0", "openvino": "1"}, "device": {**ABOUT["device"], "name": "GPU"}}
    _, differences = result.compare(Result(ABOUT), Result({**now, "model": {**ABOUT["model"], "digest": "2"}}))
    assert differences == [
        "The model digest was 1, and is 2.",
        "The device name was CPU, and is GPU.",
        "The version of illama was 0.1.0, and is 0.2.0.",
    ]


def test_ours_is_held_against_the_bare_engine_and_a_gap_against_one_chunk() -> None:
    figures = [
        Figure("decode_rate", "raw", 1, (100.0,)),
        Figure("longest_step", "raw", 2048, (50.0,)),
        Figure("decode_rate", "host", 1, (97.0,)),
        Figure("gap_beside_prompt", "host", 2048, (75.0,)),
        Figure("decode_rate", "jupyter", 1, (95.0,)),
    ]
    found = {(each.what, each.target, each.base): each.figure.median for each in Result(ABOUT, figures).relations}
    assert found == {
        ("decode_rate", "host", "raw"): 0.97,
        ("decode_rate", "jupyter", "raw"): 0.95,
        ("gap_beside_prompt", "host", "raw"): 1.5,
    }


def test_the_report_has_the_figures_and_the_notes() -> None:
    figures = [Figure("total_rate", "host", 4, (100.0, 110.0, 120.0)), Figure("memory_before", "host", None, (2e6,))]
    text = report.lines(Result(ABOUT, figures, ["mind this"], interrupted=True))
    for part in ("m, int4 on CPU", "110 (100-120)", "2.0 MB", "- mind this", "interrupted"):
        assert part in text


def arguments(*words: str) -> Options:
    parser = argparse.ArgumentParser(exit_on_error=False)
    options.add_arguments(parser)
    return Options(**vars(parser.parse_args(["m", *words])))


def test_quick_means_less_unless_more_is_said() -> None:
    assert arguments("--quick").stream_counts == (1, 16)
    assert arguments("--quick", "--streams", "4,2,4").stream_counts == (2, 4)
    assert arguments().prompt_sizes == (128, 512, 2048, 8192)


def test_another_server_is_named_with_the_variable_that_has_its_key() -> None:
    given = arguments("--against", "llama=http://127.0.0.1:8080/v1#LLAMA_KEY", "--against-model", "llama=smol")
    assert given.against == [Peer("llama", "http://127.0.0.1:8080", "LLAMA_KEY")]
    assert given.against_model == [("llama", "smol")]


@pytest.mark.parametrize(
    "wrong", ["llama", "llama=nowhere", "host=http://a", "x=http://user:secret@a", "x=http://a?key=1"]
)
def test_an_address_that_cannot_be_used_is_refused(wrong: str) -> None:
    with pytest.raises(argparse.ArgumentError):
        arguments("--against", wrong)
