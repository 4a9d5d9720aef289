"""What a child's last words mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from illama.config import Settings
from illama.pull import failures, journal
from illama.pull.children import Finished

LOG = Path("/logs/job.log")
TRACE = "Traceback (most recent call last):\n  File 'x.py', line 1, in main\n"


@pytest.mark.parametrize(
    ("code", "output", "message", "hint"),
    [
        (-9, "", "killed, most likely by the system for lack of memory", "Unload models"),
        (-11, "", "died of signal 11", "another weight format"),
        (1, "OSError: [Errno 28] No space left on device: 'a'", "the disk is full", "Free some space"),
        (1, "RuntimeError: DefaultCPUAllocator: can't allocate memory: 9", "not enough memory", "Unload models"),
        (
            1,
            "ValueError: Trying to export a foo model, that is a custom or unsupported architecture, but",
            "does not know its architecture",
            "OpenVINO/…",
        ),
        (
            1,
            "ValueError: The checkpoint has model type `foo` but Transformers does not recognize this architecture.",
            "does not know its architecture",
            "newer illama",
        ),
        (1, "ValueError: Please pass the argument `trust_remote_code=True` to allow", "code of its own", "--trust-rem"),
        (1, "huggingface_hub.errors.GatedRepoError: 403 Client Error", "gated repository", "HF_TOKEN"),
        (1, "ModuleNotFoundError: No module named 'timm'", "packages are missing", "ILLAMA_CONVERTER_PYTHON"),
        (1, "ImportError: cannot import name 'x' from 'transformers'", "versions do not fit", "tested versions"),
        (
            1,
            "safetensors_rust.SafetensorError: Error while deserializing header",
            "weights are damaged",
            "Pull it again",
        ),
        (3, "KeyError: 'what'", "ended with code 3 (KeyError: 'what')", "another weight format"),
    ],
)
def test_a_failed_conversion_says_what_it_was_and_what_to_do(code, output, message, hint):
    problem = failures.of_conversion(Finished(code, TRACE + output if output else ""), "Phi-4", LOG)
    assert "Phi-4 could not be converted" in problem.message
    assert message in problem.message
    assert hint in problem.hint
    assert str(LOG) in problem.hint


def test_a_warning_on_the_way_is_not_taken_for_the_reason():
    output = "ImportError: torchvision is not there, going on without\n" + TRACE + "OSError: [Errno 28] No space left\n"
    assert "disk is full" in failures.of_conversion(Finished(1, output), "x", LOG).message


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("WARNING: Retrying after NewConnectionError('x')\nERROR: No matching distribution found for torch", "reached"),
        ("ERROR: No matching distribution found for nncf==3.4.0", "lacks a package for this Python"),
        ("ERROR: ResolutionImpossible: for help visit", "do not fit together"),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
    ],
)
def test_an_environment_that_cannot_be_made_says_why(output, message):
    problem = failures.of_environment(Finished(1, output), LOG)
    assert message in problem.message
    assert str(LOG) in problem.hint


def test_logs_of_children_are_private_and_the_oldest_go(home):
    settings = Settings.load()
    made = [journal.fresh(settings, "convert-../x y") for _ in range(journal.KEEP + 3)]
    there = sorted(settings.log_dir.iterdir())
    assert there == sorted(made[-journal.KEEP :])
    assert made[-1].stat().st_mode & 0o777 == 0o600
    assert made[-1].parent == settings.log_dir
