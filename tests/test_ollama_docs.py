"""Ollama's documentation, followed to the letter: on the fake engine, and on the real small model."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support_host import fake_model, running_host
from support_models import real_model_cache
from support_ollama_docs import Script


def test_a_script_that_follows_the_documentation_gets_what_it_says(home: Path) -> None:
    fake_model(home, "A")
    with running_host(home) as host:
        Script(host.http, "A").run()


@pytest.mark.slow
def test_so_it_does_with_a_real_model(home: Path) -> None:
    shutil.copytree(real_model_cache() / "registry", home / "registry")
    with running_host(home, ILLAMA_ENGINE="openvino") as host:
        Script(host.http, "SmolLM2-135M-Instruct").run()
