"""The panel in a real browser: as the page, on a Jupyter server whose host has a made-up model by the fake engine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support_gate import TOKEN, Jupyter, jupyter_server
from support_kernels import end_host, fake_home
from support_lab import CHROMIUM

WAIT = 60_000  # milliseconds: a host's start on a busy machine

needs_a_browser = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no Chromium here"),
    # Playwright leaves the closing of its own loop and pipes to the interpreter.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser without pages."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def panel_server(home: Path, *arguments: str) -> Iterator[Jupyter]:
    """A Jupyter server with the panel's page; the host's only model is `echo`. The host ends with it."""
    env = fake_home(home)
    try:
        with jupyter_server(home, *arguments) as server:
            yield server
    finally:
        end_host(env)


def open_panel(browser: Any, server: Jupyter, *, width: int = 1000, scheme: str = "light", start: bool = True) -> Any:
    """The page of the panel, with a host that runs. What the console says is in `page.complaints`."""
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.complaints = []
    page.on("console", lambda message: page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.goto(f"{server.url}illama/ui/?token={TOKEN}")
    if start:
        page.locator("header[data-connection=up], header[data-connection=down]").wait_for(timeout=WAIT)
        if page.get_by_role("button", name="Start it").is_visible():
            page.get_by_role("button", name="Start it").click()
        page.locator("header[data-connection=up]").wait_for(timeout=WAIT)
        page.complaints.clear()
    return page


def keep(page: Any, name: str) -> None:
    """Keep a screenshot where ILLAMA_TEST_SCREENSHOTS says, for somebody to look at."""
    folder = os.environ.get("ILLAMA_TEST_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(Path(folder) / f"{name}.png"))
