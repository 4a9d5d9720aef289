"""Fixtures that all tests share."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from illama.config import VARIABLES

# A shell starts what it puts into the background with Ctrl-C ignored, and children inherit that: the commands that the
# tests interrupt would not notice.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A test's own ILLAMA_HOME, with none of the variables that whoever runs the tests may have set."""
    for variable in VARIABLES:
        monkeypatch.delenv(variable.name, raising=False)
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("ILLAMA_HOME", str(folder))
    return folder


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio: it is what the host and the kernel run on."""
    return "asyncio"
