"""Fixtures that all tests share."""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from support_hub import PlayHub, Repo
from support_models import kept_folder

from illama.config import VARIABLES
from illama.registry import Registry

# A shell starts what it puts into the background with Ctrl-C ignored, and children inherit that: the commands that the
# tests interrupt would not notice.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure() -> None:
    """Name one folder for what a run makes once, before its workers start, which are processes of their own."""
    kept_folder()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the modules without slow tests first, so that what is broken is seen early."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path in slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    """Let what a test logged travel from a worker whatever is in it, half a character too."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report


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


@pytest.fixture(scope="module")
def module_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ILLAMA_HOME that a module's tests share, for hosts that they share."""
    folder = tmp_path_factory.mktemp("module") / "home"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One Chromium for a module's tests, without pages."""
    from support_panel import chromium

    with chromium() as running:
        yield running


@pytest.fixture
def registry(home: Path) -> Registry:
    """The registry of the test's own home."""
    return Registry(home / "registry")


@pytest.fixture
def fake_engine(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What pulls make is proven by the fake engine."""
    monkeypatch.setenv("ILLAMA_ENGINE", "fake")


@pytest.fixture
def fake_engine_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """An interpreter whose openvino_genai does what the code given to it says: `path` is the GGUF file's."""
    from support_pull import engine_python

    return engine_python(tmp_path / "site", monkeypatch)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayHub]:
    """A hub of the tests' own, which the pulls of this process ask."""
    from support_pull import asked_hub

    with asked_hub(monkeypatch) as running:
        yield running


@pytest.fixture
def tiny(hub: PlayHub, tmp_path: Path) -> Repo:
    """The hub's repository of a tiny model, which is what `support_pull.do_pull` pulls unless it is told otherwise."""
    from support_pull import NAME, tiny_repo

    hub.repos[NAME] = tiny_repo(tmp_path / "repo")
    return hub.repos[NAME]
