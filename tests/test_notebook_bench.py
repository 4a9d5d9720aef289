"""`%illama bench`: its line, and what its result shows, draws and becomes."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from support_notebook import Host, make_shell

import illama.bench.run
from illama.bench.figures import Figure
from illama.bench.options import Options, Peer
from illama.bench.result import Result
from illama.notebook import completion
from illama.notebook.benching import Benchmark
from illama.notebook.commands import Bench
from illama.notebook.grammar import parse_line
from illama.notebook.stopping import Stopped

ABOUT: dict[str, Any] = {
    "date": "2026-01-02T03:04:05+00:00",
    "model": {"name": "SmolLM2"},
    "device": {"name": "CPU", "full_name": "a <b>CPU</b>"},
    "options": {"rounds": 2},
}
FIGURES = [
    Figure("total_rate", "host", 1, (60.0, 66.0)),
    Figure("total_rate", "host", 16, (190.0, 200.0)),
    Figure("total_rate", "raw", 1, (62.0, 68.0)),
    Figure("total_rate", "raw", 16, (200.0, 210.0)),
    Figure("ttft_cold", "host", 128, (150.0, 160.0)),
    Figure("memory_before", "host", None, (3e7,)),
]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    yield from make_shell(Host(), tmp_path, monkeypatch)


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Iterator[Result]:
    """What the next run finds."""
    result = Result(ABOUT, list(FIGURES), ["a <note>"])

    def run(options: Options, client: Any, say: Any) -> Result:
        say("round 1 of 2")
        return result

    monkeypatch.setattr(illama.bench.run, "run", run)
    mpl.use("agg")
    yield result
    from matplotlib import pyplot

    pyplot.close("all")


def test_the_line_has_the_commands_own_arguments() -> None:
    asked = parse_line("bench smollm2 --quick --raw --switch other --against x=http://a:1#KEY --rounds 3")
    against = [Peer("x", "http://a:1", "KEY")]
    assert asked == Bench("smollm2", rounds=3, quick=True, raw=True, switch="other", against=against, against_model=[])


def test_tab_offers_models_and_options() -> None:
    sources = {"models": lambda: ["SmolLM2", "other"]}
    assert completion.candidates("%illama ben", sources) == ["bench"]
    assert completion.candidates("%illama bench Sm", sources) == ["SmolLM2"]
    assert completion.candidates("%illama bench SmolLM2 --switch ot", sources) == ["other"]
    assert "--against-model" in completion.candidates("%illama bench SmolLM2 --ag", sources)


def test_a_run_returns_its_result_and_says_meanwhile_what_goes_on(shell: Any, found: Result) -> None:
    shown = shell.run_line_magic("illama", "bench SmolLM2")
    assert isinstance(shown, Benchmark)
    assert shown.result is found
    assert shell.display_pub.outputs[0]["data"]["text/plain"] == "round 1 of 2"


def test_an_interrupted_run_shows_what_it_has_and_fails_the_cell(shell: Any, found: Result, capsys: Any) -> None:
    found.interrupted = True
    with pytest.raises(Stopped, match="measured so far"):
        shell.run_line_magic("illama", "bench SmolLM2")
    told = str([output["data"] for output in shell.display_pub.outputs]) + capsys.readouterr().out
    assert "It was interrupted" in told


def test_a_file_is_written_and_compared_with(shell: Any, found: Result, tmp_path: Path) -> None:
    shell.run_line_magic("illama", f"bench SmolLM2 --json {tmp_path / 'r.json'}")
    again = shell.run_line_magic("illama", f"bench SmolLM2 --compare {tmp_path / 'r.json'}")
    assert "Compared with 2026-01-02" in repr(again)
    assert "within the spread" in again._repr_html_()
    assert again.changes[0].ratio == 1.0


def test_the_page_has_a_picture_and_nothing_of_it_is_run(found: Result) -> None:
    page = Benchmark(found)._repr_html_()
    assert re.search(r'<img alt="[^"]+" src="data:image/png;base64,iVBOR', page)
    assert "a &lt;b&gt;CPU&lt;/b&gt;" in page
    assert "<note>" not in page


def test_without_matplotlib_there_are_tables_alone(found: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    page = Benchmark(found)._repr_html_()
    assert "<img" not in page
    assert "<table>" in page


def test_the_picture_leaves_pyplot_alone() -> None:
    code = (
        "import sys; from illama.bench.figures import Figure; from illama.bench.result import Result\n"
        "from illama.notebook.benching import Benchmark\n"
        "page = Benchmark(Result({}, [Figure('total_rate', 'host', 1, (1.0,))]))._repr_html_()\n"
        "assert '<img' in page; assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_plot_has_a_line_for_each_target_with_its_medians(found: Result) -> None:
    ax = Benchmark(found).plot()
    handles, labels = ax.get_legend_handles_labels()
    assert labels == ["host", "raw"]
    assert list(handles[0].lines[0].get_xdata()) == [1, 16]
    assert list(handles[0].lines[0].get_ydata()) == [63.0, 195.0]
    assert ax.get_xlabel() == "streams at once"


def test_a_plot_may_be_of_prompts_and_into_axes_of_ones_own(found: Result) -> None:
    from matplotlib import pyplot

    ax = pyplot.subplots()[1]
    assert Benchmark(found).plot("prompts", ax) is ax
    with pytest.raises(ValueError, match="there is: streams, prompts"):
        Benchmark(found).plot("memory")


def test_a_dataframe_has_a_row_for_each_figure_and_ratio(found: Result) -> None:
    frame = Benchmark(found).to_dataframe()
    rates = frame[(frame.what == "total_rate") & (frame["size"] == 16)]
    assert sorted(rates[rates.how.isna()].target) == ["host", "raw"]
    assert rates[rates.how == "ratio"]["median"].item() == pytest.approx(0.95, abs=0.01)
