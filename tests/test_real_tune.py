"""`illama tune` on the real small model, with next to no time: what it keeps is kept, and the engine obeys it."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from support_models import real_model_cache

from illama.bench import facts
from illama.config import Settings
from illama.engine.process import Engine
from illama.host import loading
from illama.registry import Registry, tuned
from illama.tune.options import Options
from illama.tune.run import run

pytestmark = pytest.mark.slow

MODEL = "SmolLM2-135M-Instruct"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    home = tmp_path / "home"
    source = real_model_cache() / "registry" / MODEL
    target = home / "registry" / MODEL
    # The record of the model is written to: it must be a file of its own.
    shutil.copytree(source, target, copy_function=os.link)
    (target / "illama.json").unlink()
    shutil.copy(source / "illama.json", target)
    return Settings.load({"ILLAMA_HOME": str(home), "ILLAMA_DEVICE": "CPU"})


def test_a_tuning_measures_keeps_and_leaves_nothing_behind(settings: Settings) -> None:
    options = Options("smollm2", quick=True, only=("kv_precision",), tokens=4, prompt=128)
    found = run(options, settings, lambda _: None)
    assert found.problem == ""
    assert {row.name for row in found.rows} == {"kv_precision=f16", "kv_precision=bf16"}
    for row in found.rows:
        if row.outcome:
            assert row.outcome["decode_rate"].low > 0
            assert row.outcome["memory_peak"].low > 10_000_000
    kept = Registry(settings.registry_dir).get(MODEL).tuned
    assert kept["options"] == found.kept
    assert kept["openvino"].startswith(found.about["versions"]["openvino"])
    names = [" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)]
    assert not any("illama.bench.raw" in name for name in names)


@pytest.mark.skipif(os.name != "posix", reason="another system's Ctrl-C is no signal that can be sent to one process")
def test_ctrl_c_ends_every_engine_and_leaves_the_entry_as_it_was(settings: Settings) -> None:
    before = Registry(settings.registry_dir).get(MODEL)
    command = [sys.executable, "-m", "illama.cli", "tune", "smollm2", "--only", "pinning"]
    environ = {**os.environ, "ILLAMA_HOME": str(settings.home), "ILLAMA_DEVICE": "CPU"}
    root = Path(__file__).parent.parent
    with subprocess.Popen(
        command, env=environ, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        next(line for line in process.stderr if "round 1 of 5" in line)
        engines = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "It was interrupted: SmolLM2-135M-Instruct is as it was." in said
    assert len(engines) == 2
    assert psutil.wait_procs(engines, timeout=10)[1] == []
    assert Registry(settings.registry_dir).get(MODEL) == before


@pytest.mark.anyio
async def test_the_engine_obeys_what_is_kept_and_only_there(settings: Settings) -> None:
    registry = Registry(settings.registry_dir)
    device = facts.device_of(settings, registry.get(MODEL))
    chosen = {"threads": 1, "pinning": False, "kv_precision": "f16", "max_batched_tokens": 64}
    kept = {"options": chosen, **tuned.found_at(device)}
    entry = registry.update(MODEL, lambda found: dataclasses.replace(found, tuned=kept))

    async def settings_of(place: object) -> dict[str, object]:
        engine = Engine(settings, lambda _: None)
        try:
            message = loading.message(settings, registry, entry, place, 2**28)  # type: ignore[arg-type]
            loaded = await asyncio.wait_for(engine.start(message), 120)
        finally:
            await engine.end(None)
        return dict(loaded["settings"])

    assert await settings_of(device) == {
        "INFERENCE_NUM_THREADS": 1,
        "ENABLE_CPU_PINNING": False,
        "KV_CACHE_PRECISION": "f16",
        "max_num_batched_tokens": 64,
    }
    elsewhere = dataclasses.replace(device, cores=(device.cores or 0) + 1)
    assert await settings_of(elsewhere) == {"max_num_batched_tokens": 256}
