"""The panel in a real browser: as the page, on a Jupyter server whose host has a made-up model by the fake engine."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support_gate import TOKEN, Jupyter, jupyter_server
from support_kernels import end_host, fake_home
from support_lab import CHROMIUM

WAIT = 60_000  # milliseconds: a host's start on a busy machine
# What a model's answer may have in it.
SECTION = """\
## What a model writes

It explains with **emphasis**, `code`, a [link](https://a.example/page) and sentences that go on for a while, as they do.

1. First, a list of things:
   - one that is nested
   - and *another* one
2. Then a second thing

```python
def answer(question: str) -> str:
    return f"{question}? 42"
```

| name | value |
|------|------:|
| one  | 1     |

> A quote, and \\(x^2 + y_1\\).

"""  # noqa: E501 - a paragraph is one line

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
        ready(page)
        page.complaints.clear()
    return page


def ready(panel: Any) -> None:
    """Wait until the panel knows of a host; start one if there is none."""
    panel.locator("header[data-connection=up], header[data-connection=down]").wait_for(timeout=WAIT)
    if panel.get_by_role("button", name="Start it").is_visible():
        panel.get_by_role("button", name="Start it").click()
    panel.locator("header[data-connection=up]").wait_for(timeout=WAIT)


def says(text: str, **options: Any) -> str:
    """A question that the fake engine answers with this text."""
    return f"/fake {json.dumps({'text': text, **options})}"


def ask(panel: Any, question: str, model: str | None = None) -> None:
    """Ask in the panel's chat; of the model that is chosen there, or of another one."""
    panel.get_by_role("tab", name="Chat").click()
    if model:
        panel.get_by_label("Model", exact=True).select_option(model)
    panel.get_by_role("textbox", name="Question").fill(question)
    panel.get_by_role("textbox", name="Question").press("Enter")


def faults(page: Any, allowed: Collection[str] = ()) -> list[str]:
    """What axe-core says is wrong, and where, but for the `allowed` impacts; and whether anything is too wide."""
    from axe_playwright_python.sync_playwright import Axe

    said = list(page.complaints)
    broken = Axe().run(page).response["violations"]
    page.complaints[:] = said  # axe tries out styles of its own, which the page's policy refuses
    wider = page.locator("#panel").evaluate("panel => panel.scrollWidth - panel.clientWidth")
    told = [
        f"{fault['id']} ({fault['impact']}): {node['html']}"
        for fault in broken
        for node in fault["nodes"]
        if fault["impact"] not in allowed
    ]
    return [*told, *([f"{wider} pixels are cut off"] if wider > 0 else [])]


def keep(page: Any, name: str) -> None:
    """Keep a screenshot where ILLAMA_TEST_SCREENSHOTS says, for somebody to look at."""
    folder = os.environ.get("ILLAMA_TEST_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(Path(folder) / f"{name}.png"))
