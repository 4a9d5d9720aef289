"""`illama bench --quick --raw` on the real small model: the host, the same through Jupyter, and bare GenAI in turns."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest
from support_gate import jupyter_server
from support_host import running_host
from support_kernels import environment
from support_models import real_model_cache

from illama.bench.options import Options
from illama.bench.result import Result
from illama.bench.run import run
from illama.client import Client
from illama.config import Settings

pytestmark = pytest.mark.slow

MODEL = "SmolLM2-135M-Instruct"
NOISE = 10_000_000


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Result]:
    home = tmp_path_factory.mktemp("bench") / "home"
    home.mkdir()
    chosen = {"ILLAMA_ENGINE": "openvino", "ILLAMA_REGISTRY_DIR": str(real_model_cache() / "registry")}
    with (
        running_host(home, **chosen),
        jupyter_server(home, **chosen),
        pytest.MonkeyPatch.context() as patch,
        Client(settings=Settings.load({"ILLAMA_HOME": str(home), **chosen})) as client,
    ):
        patch.setenv("JUPYTER_RUNTIME_DIR", environment(home)["JUPYTER_RUNTIME_DIR"])
        yield run(Options(MODEL, quick=True, raw=True), client, lambda _: None)


def test_bare_genai_the_host_and_jupyter_are_measured_in_turns(found: Result) -> None:
    assert found.problem == ""
    assert [target["name"] for target in found.about["targets"]] == ["raw", "host", "jupyter"]
    assert found.about["requests"]["failed"] == {}
    assert found.about["requests"]["cut_short"] == {}
    ratios = {(each.what, each.target, each.size) for each in found.relations if each.base == "raw"}
    for target in ("host", "jupyter"):
        for size in (1, 16):
            assert {
                ("decode_rate", target, size),
                ("total_rate", target, size),
                ("cpu_per_token", target, size),
            } <= ratios
        assert ("ttft_cold", target, 128) in ratios


def test_all_were_asked_prompts_of_the_same_length(found: Result) -> None:
    for size in (128, 512):
        lengths = {
            value
            for figure in found.figures
            if figure.what == "prompt_tokens" and figure.size == size
            for value in figure.known
        }
        # Two rounds have two texts, and the numbers in front of them may make a token more or less.
        assert max(lengths) - min(lengths) <= 0.1 * size
        assert all(abs(length - size) <= 0.1 * size for length in lengths)


def test_the_next_turn_finds_its_beginning_in_the_cache(found: Result) -> None:
    for target in ("raw", "host", "jupyter"):
        share = found.find("cached_share", target, 512)
        assert share is not None
        assert share.low < 0.6


def test_the_processes_that_work_are_those_that_are_counted(found: Result) -> None:
    for target, parties in (("host", ("cpu_engine", "cpu_host")), ("jupyter", ("cpu_engine", "cpu_host", "cpu_gate"))):
        for party in parties:
            figure = found.find(party, target, 16)
            assert figure is not None, (target, party)
            assert figure.low > 0
        assert found.find("cpu_engine", target, 16).median > found.find("cpu_host", target, 16).median  # type: ignore[union-attr]


def test_loads_and_memory_are_told_and_nothing_is_left(found: Result) -> None:
    before, loaded, after = (found.find(f"memory_{when}") for when in ("before", "loaded", "after"))
    assert before is not None
    assert loaded is not None
    assert after is not None
    assert loaded.median > before.median + 50_000_000
    assert after.median < before.median + 2 * NOISE
    names = [" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)]
    assert not any("illama.bench.raw" in name or "bench/load.py" in name for name in names)
