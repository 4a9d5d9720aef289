"""The command and library `llm`, by a model of its `extra-openai-models.yaml`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import CITY, QUESTION, Target

WEATHER = """
def weather(city: str) -> str:
    "The weather in a city"
    return "20 degrees in " + city
"""


@pytest.fixture
def folder(tmp_path: Path, real: Target, caller: Target) -> Path:
    """What `llm` calls its user's folder, with the models in it."""
    lines = []
    for name, target in (("small", real), ("caller", caller)):
        lines += [f"- model_id: {name}", f"  model_name: {target.chat}", f"  api_base: {target.v1}"]
        lines += [f"  api_key_name: {name}", "  supports_schema: true", "  supports_tools: true"]
    (tmp_path / "extra-openai-models.yaml").write_text("\n".join(lines) + "\n")
    (tmp_path / "keys.json").write_text(json.dumps({"small": real.key, "caller": caller.key}))
    return tmp_path


def llm(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "llm", *arguments]
    environ = {**os.environ, "LLM_USER_PATH": str(folder)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_whole_and_streamed(folder: Path) -> None:
    for more in ("--no-stream",), ():
        assert "Paris" in llm(
            folder, "-m", "small", "-o", "temperature", "0", "-o", "max_tokens", "24", *more, QUESTION
        )


def test_structured(folder: Path) -> None:
    found = llm(folder, "-m", "small", "-o", "max_tokens", "100", "--schema", json.dumps(CITY), QUESTION)
    assert set(json.loads(found)) == {"name", "capital"}


def test_a_tool_that_the_model_chooses(folder: Path) -> None:
    # The model calls again and again: the chain's limit ends it, after the tool has run.
    command = ["-m", "caller", "--functions", WEATHER, "--tools-debug", "--chain-limit", "2", QUESTION]
    environ = {**os.environ, "LLM_USER_PATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-m", "llm", *command], env=environ, capture_output=True, text=True, timeout=300
    )
    assert "20 degrees in Paris" in done.stdout + done.stderr
