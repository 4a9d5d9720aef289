"""`illama doctor` and `%illama doctor`: what is shown, what is exited with, and what never leaves the machine."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support_doctor import recorded

from illama.cli import main
from illama.doctor import report
from illama.doctor.finding import failed, ok, warning
from illama.doctor.judge import judge
from illama.notebook import arguments, commands, grammar, magics, tables

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {"openvino", "openvino_genai", "torch", "transformers", "huggingface_hub", "gguf", "numpy", "pandas", "tornado"}
TOKEN = "hf_secret_of_nobody"


def run(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ILLAMA_HOME": str(home), "HF_ENDPOINT": "http://127.0.0.1:1", **variables}
    return subprocess.run(
        [sys.executable, "-m", "illama.cli", *arguments], capture_output=True, text=True, cwd=ROOT, env=environment
    )


def test_the_doctor_in_json_tells_the_truth_about_this_machine(home: Path):
    done = run(home, "doctor", "--json", HF_TOKEN=TOKEN, ILLAMA_API_KEY="my-own-key")
    said = json.loads(done.stdout)
    assert done.returncode == (said["level"] == "failure")
    assert "CPU" in [device["name"] for device in said["machine"]["engine"]["devices"]]
    assert said["machine"]["python"]["version"] == "{}.{}.{}".format(*sys.version_info)
    levels = {each["check"]: each["level"] for each in said["findings"]}
    assert levels["OpenVINO"] == levels["device"] == levels["host"] == "ok"
    assert levels["hub"] == "warning"
    assert TOKEN not in done.stdout + done.stderr
    assert "my-own-key" not in done.stdout + done.stderr
    assert list(home.iterdir()) == []


def test_a_device_that_is_not_there_fails_the_command_and_a_typo_warns(home: Path):
    done = run(home, "doctor", ILLAMA_DEVICE="GPU.7", ILLAMA_DEVCE="CPU", ILLAMA_ENGINE="fake")
    assert done.returncode == 1
    assert "FAILURE" in done.stdout
    assert "ILLAMA_DEVICE is GPU.7, which is not there. This machine has: CPU." in " ".join(done.stdout.split())
    assert "Is ILLAMA_DEVICE meant?" in done.stdout
    assert "Traceback" not in done.stderr


def test_nothing_heavy_is_imported_to_look_at_a_machine(home: Path):
    code = "import sys; from illama.cli import main; main(['doctor']); print(sorted(sys.modules), file=sys.stderr)"
    environment = {**os.environ, "ILLAMA_ENGINE": "fake", "HF_ENDPOINT": "http://127.0.0.1:1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment)
    modules = done.stderr.splitlines()[-1]
    assert not [name for name in HEAVY if f"'{name}'" in modules]


@pytest.mark.parametrize(("machine", "code"), [("arc-xe", 0), ("wsl2-no-gpu", 0), ("no-render-group", 1)])
def test_only_a_failure_is_exit_code_1(machine, code, monkeypatch, capsys):
    monkeypatch.setattr("illama.doctor.examine.examine", lambda settings: recorded(machine))
    assert main(["doctor"]) == code
    out = capsys.readouterr().out
    assert ("All is well." in out) == (machine == "arc-xe")


def test_levels_are_words_and_advice_stands_below_behind_an_arrow():
    found = [ok("a", "fine."), warning("bb", "not so.", "Do this."), failed("c", "broken.", "Do that.")]
    shown = report.lines(found, 80)
    assert shown.splitlines() == [
        "ok       a   fine.",
        "warning  bb  not so.",
        "             -> Do this.",
        "FAILURE  c   broken.",
        "             -> Do that.",
    ]


def test_the_sum_of_it_counts():
    assert report.summary([ok("a", "b")]) == "All is well."
    assert report.summary([warning("a", "b", "c")]) == "1 warning: models run all the same."
    assert report.summary([failed("a", "b", "c"), warning("a", "b", "c")] * 2) == "2 failures and 2 warnings."


def test_a_report_names_nobody_and_overwrites_nothing(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(Path, "home", classmethod(lambda _: Path("/home/ada")))
    machine = recorded("arc-i915")
    first = report.write(tmp_path, machine, judge(machine), [])
    second = report.write(tmp_path, machine, judge(machine), [])
    text = first.read_text()
    assert first != second
    assert "/home/ada" not in text
    assert "~/venv/bin/python" in text
    facts = json.loads(text.split("```json\n")[1].split("\n```")[0])
    assert facts["machine"]["engine"]["devices"][1]["memory"] == 16225243136
    assert facts["selftest"] == []


async def doctor_in_an_event_loop() -> tables.Table:
    return magics.IllamaMagics(None).line("doctor")


def test_the_magic_works_in_a_kernel_which_has_an_event_loop_of_its_own(monkeypatch):
    monkeypatch.setenv("ILLAMA_ENGINE", "fake")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    found = {row["check"]: row for row in asyncio.run(doctor_in_an_event_loop())}
    assert found["device"]["level"] == "ok"
    assert "made up" in found["OpenVINO"]["says"]


def test_the_magic_takes_no_arguments_and_gives_a_table():
    assert grammar.parse_line("doctor") == commands.Doctor()
    with pytest.raises(arguments.GrammarError):
        grammar.parse_line("doctor now")
    table = tables.examined([{"level": "failure", "check": "GPU", "says": "it is <gone>", "do": "Look."}])
    assert "FAILURE" in repr(table)
    assert "it is &lt;gone&gt;" in table._repr_html_()
