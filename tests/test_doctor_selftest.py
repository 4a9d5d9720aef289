"""The self-test: the same run on every device, never in others' way, and with the real model once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support_models import real_model_cache

from illama.doctor.facts import Device
from illama.doctor.finding import FAILURE, OK, WARNING
from illama.doctor.selftest import SelfTest, Sizes, judge
from illama.errors import HostBusyError, LoadError, ModelNotFoundError

ROOT = Path(__file__).resolve().parent.parent
MIB = 2**20
CPU = Device("CPU", "a processor")
ARC = Device("GPU", "Intel(R) Arc(TM) A770 Graphics (dGPU)", 16 * 1024 * MIB, "0000:03:00.0", "24.39.31294")
NPU = Device("NPU", "Intel(R) AI Boost")


class Played:
    """A host with one model in each device's slot, as its clients see it. `asked` is all that it was asked to do."""

    def __init__(self, *models: str, loaded: dict[str, str] | None = None, broken: str = "", leak: int = 0) -> None:
        self.models, self.loaded, self.broken, self.leak = models, dict(loaded or {}), broken, leak
        self.asked: list[tuple[str, ...]] = []
        self.busy_looks = 0
        self.leaked = 0
        self.answers_on: str | None = None

    def list(self) -> list[dict[str, Any]]:
        encoder = {"name": "embedder", "task": "embedding", "size": 1}
        return [encoder, *({"name": m, "task": "text-generation", "size": len(m) * 100} for m in self.models)]

    def ps(self) -> list[dict[str, Any]]:
        self.busy_looks -= 1
        running = int(self.busy_looks >= 0)
        return [{"name": m, "device": d, "state": "ready", "running": running} for d, m in self.loaded.items()]

    def chat(self, prompt: str, *, model: str, device: str, **options: Any) -> SimpleNamespace:
        self.asked.append(("chat", model, device))
        if device == self.broken:
            raise LoadError(f"{model} cannot be loaded on {device}.", hint="Look to the driver.")
        load = 0 if self.loaded.get(device) == model else 1500
        self.loaded[device] = model
        timings = {"load_ms": load, "ttft_ms": 20, "predicted_per_second": 50, "device": self.answers_on or device}
        return SimpleNamespace(text="Paris.", timings=timings)

    def load(self, model: str) -> None:
        self.asked.append(("load", model))
        self.loaded["CPU"] = model

    def unload(self, model: str) -> None:
        self.asked.append(("unload", model))
        self.loaded = {device: each for device, each in self.loaded.items() if each != model}
        self.leaked += self.leak

    def measure(self, device: Device) -> Sizes:
        taken = 400 * MIB * (device.name in self.loaded) + self.leaked
        return Sizes(30 * MIB + taken, None if device.memory is None else taken)


def selftest(host: Played, *devices: Device, sleeps: list[float] | None = None) -> SelfTest:
    sleep = (sleeps if sleeps is not None else []).append
    return SelfTest(host, devices, host.measure, lambda _: None, patience=5, sleep=sleep)


def test_every_device_gets_the_same_steps():
    cpu, arc, npu = selftest(Played("tiny"), CPU, ARC, NPU).run()
    steps = ["load and answer", "answer again", "unload", "load again and answer", "unload"]
    assert [step.what for step in cpu.steps] == steps
    assert [step.what for step in arc.steps] == steps
    assert [step.what for step in npu.steps] == steps
    assert (arc.before.device, arc.loaded.device, arc.after.device) == (0, 400 * MIB, 0)
    assert cpu.before.device is None


def test_two_models_are_switched_from_the_one_to_the_other_and_back():
    host = Played("tiny", "larger one", "the largest of all")
    (run,) = selftest(host, ARC).run()
    assert [model for verb, model, *_ in host.asked if verb == "chat"] == ["tiny", "tiny", "larger one", "tiny"]
    assert run.error == ""
    assert host.loaded == {}


def test_a_good_run_is_one_line_with_its_figures():
    (found,) = judge(selftest(Played("tiny"), ARC).run())
    assert found.level == OK
    assert found.check == "run on GPU"
    for part in ('"Paris."', "loaded in 1.5 s", "50 tokens/s", "451 MB", "GPU's own: 0 B, 419 MB, 0 B"):
        assert part in found.says


def test_it_waits_for_others_and_then_runs():
    host, sleeps = Played("tiny", loaded={"CPU": "guest"}), []
    host.busy_looks = 3
    selftest(host, CPU, sleeps=sleeps).run()
    assert len(sleeps) == 3
    assert ("chat", "tiny", "CPU") in host.asked


def test_it_refuses_a_host_that_stays_busy_and_asks_it_nothing():
    host = Played("tiny", loaded={"CPU": "guest"})
    host.busy_looks = 1000
    with pytest.raises(HostBusyError, match="guest"):
        selftest(host, CPU).run()
    assert host.asked == []


def test_what_was_loaded_before_is_loaded_again_afterwards():
    host = Played("tiny", loaded={"CPU": "guest"})
    selftest(host, CPU).run()
    assert host.asked[-1] == ("load", "guest")


def test_a_device_that_fails_is_told_with_the_cure_and_the_others_are_tried():
    host = Played("tiny", broken="GPU")
    found = judge(selftest(host, ARC, CPU).run())
    assert [each.level for each in found] == [FAILURE, OK]
    assert "tiny cannot be loaded on GPU." in found[0].says
    assert found[0].do == "Look to the driver."
    assert host.loaded == {}


def test_an_answer_from_another_device_is_no_success():
    host = Played("tiny")
    host.answers_on = "CPU"
    (found,) = judge(selftest(host, ARC).run())
    assert found.level == FAILURE
    assert "answered on CPU" in found.says
    assert found.do


def test_memory_that_does_not_come_back_is_a_warning():
    (found,) = judge(selftest(Played("tiny", leak=100 * MIB), ARC).run())
    assert found.level == WARNING
    assert "210 MB did not come back" in found.says


def test_without_a_model_it_says_how_to_get_one():
    with pytest.raises(ModelNotFoundError) as caught:
        selftest(Played(), CPU).run()
    assert "illama pull smollm2" in caught.value.hint


def run(home: Path, *arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    chosen = {"ILLAMA_HOME": str(home), "HF_ENDPOINT": "http://127.0.0.1:1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "illama.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env={**os.environ, **chosen, **variables})


def test_the_command_without_a_model_fails_and_still_writes_the_report(home: Path, tmp_path: Path):
    try:
        done = run(home, "doctor", "--selftest", "--json", cwd=tmp_path, ILLAMA_ENGINE="fake")
        said = json.loads(done.stdout)
        assert done.returncode == 1
        assert said["findings"][-1]["do"].startswith("`illama pull smollm2`")
        assert "illama pull smollm2" in Path(said["report"]).read_text()
    finally:
        run(home, "stop", "--host", cwd=tmp_path)


@pytest.mark.slow
def test_the_real_model_runs_and_leaves_a_report_and_no_model_behind(home: Path, tmp_path: Path):
    shutil.copytree(real_model_cache() / "registry", home / "registry")
    try:
        done = run(home, "doctor", "--selftest", cwd=tmp_path, HF_TOKEN="hf_secret", ILLAMA_API_KEY="my-own-key")
        assert done.returncode == 0, done.stdout + done.stderr
        (report,) = tmp_path.glob("illama-report-*.md")
        text = report.read_text()
        assert report.name in done.stdout
        assert "Paris" in text
        assert "hf_secret" not in text
        assert "my-own-key" not in text
        facts = json.loads(text.split("```json\n")[1].split("\n```")[0])
        cpu = next(each for each in facts["selftest"] if each["device"] == "CPU")
        before, loaded, after = (cpu[when]["host"] for when in ("before", "loaded", "after"))
        assert loaded > before + 100 * MIB
        assert after < before + 64 * MIB
        assert [step["what"] for step in cpu["steps"]].count("unload") == 2
        assert run(home, "ps", cwd=tmp_path).stdout.startswith("Nothing is loaded.")
    finally:
        run(home, "stop", "--host", cwd=tmp_path)
