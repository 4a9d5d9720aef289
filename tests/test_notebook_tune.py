"""`%illama tune`: the line, and what a kernel makes of its outcome."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support_notebook import Host, make_shell

import illama.tune.run
from illama.errors import ConfigError, EngineError
from illama.notebook import completion
from illama.notebook.commands import Tune
from illama.notebook.grammar import parse_line
from illama.notebook.stopping import Stopped
from illama.tune.choose import Verdict
from illama.tune.options import Options
from illama.tune.result import Result, Row

ABOUT: dict[str, Any] = {"model": {"name": "SmolLM2"}, "device": {"name": "CPU", "full_name": "a <b>CPU</b>"}}


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    yield from make_shell(Host(), tmp_path, monkeypatch)


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Result:
    """What the next run finds."""
    result = Result(ABOUT, [Row("threads", 2, Verdict(False, "no clear gain"), kept=False)], notes=["a <note>"])

    def run(options: Options, settings: Any, say: Any) -> Result:
        say("threads: round 1 of 5")
        return result

    monkeypatch.setattr(illama.tune.run, "run", run)
    return result


def test_the_line_has_the_commands_own_arguments() -> None:
    asked = parse_line("tune smollm2 --quick --only threads,pinning --longest-step 200 --dry-run")
    assert asked == Tune("smollm2", quick=True, only=("threads", "pinning"), longest_step=200, dry_run=True)


def test_tab_offers_models_and_options() -> None:
    sources = {"models": lambda: ["SmolLM2"], "variables": list, "threads": list}
    assert completion.candidates("%illama tune sm", sources) == ["SmolLM2"]
    assert "--longest-step" in completion.candidates("%illama tune smollm2 --lo", sources)


def test_the_outcome_is_shown_and_no_name_becomes_html(shell: Any, found: Result) -> None:
    shown = shell.run_line_magic("illama", "tune smollm2")
    assert shown.result is found
    page = shown._repr_html_()
    assert "The defaults are best here" in page
    assert "<b>CPU</b>" not in page
    assert "<note>" not in page


def test_an_interrupted_one_fails_the_cell_and_says_that_nothing_changed(shell: Any, found: Result) -> None:
    found.interrupted = True
    with pytest.raises(Stopped, match="the model is as it was"):
        shell.run_line_magic("illama", "tune smollm2")


def test_one_that_broke_off_fails_the_cell_with_the_reason(shell: Any, found: Result) -> None:
    found.problem = "The engine has ended."
    with pytest.raises(EngineError) as caught:
        shell.run_line_magic("illama", "tune smollm2")
    assert caught.value.hint == "The engine has ended."


def test_a_host_elsewhere_is_not_tuned_from_here(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ILLAMA_BASE_URL", "http://there:1")
    for line in ("tune smollm2", "tune smollm2 --reset"):
        with pytest.raises(ConfigError, match="on the machine that has it"):
            shell.run_line_magic("illama", line)
