"""The chat and what to paste into other programs: for everybody, in every light; in Chromium."""

# ruff: noqa: E501 - what is measured is told in one line

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from support_gate import TOKEN, Jupyter
from support_host import fake_model
from support_panel import chromium, keep, needs_a_browser, open_panel, panel_server

from illama.notebook.recipes import PROGRAMS

pytestmark = needs_a_browser

WAIT = 30_000  # milliseconds
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

"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jupyter]:
    home = tmp_path_factory.mktemp("looks") / "home"
    home.mkdir()
    fake_model(home, "long", context_length=40_000)
    with panel_server(home) as server:
        yield server


def ask(page: Any, text: str, **options: Any) -> None:
    page.get_by_role("combobox", name="Model").select_option("long")
    page.locator(".composer textarea").fill(f"/fake {json.dumps({'text': text, **options})}")
    page.keyboard.press("Enter")


def faults(page: Any) -> list[str]:
    said = list(page.complaints)
    broken = Axe().run(page).response["violations"]
    page.complaints[:] = said  # axe tries out styles of its own, which the page's policy refuses
    wide = page.evaluate(
        "() => { const at = document.getElementById('panel'); return at.scrollWidth - at.clientWidth; }"
    )
    # Moderate alone: which level a model's headings begin with is the model's choice.
    broken = [each for each in broken if each["impact"] in ("serious", "critical")]
    found = [f"{each['id']} ({each['impact']}): {each['nodes'][0]['html'][:200]}" for each in broken]
    return [*found, *([f"{wide} pixels too wide"] if wide > 0 else [])]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1100), ("dark", 300)])
def test_axe_finds_no_fault_and_nothing_is_cut_off(browser: Any, server: Jupyter, scheme: str, width: int):
    page = open_panel(browser, server, scheme=scheme, width=width)
    found = {"nothing said": faults(page)}
    keep(page, f"chat-empty-{scheme}-{width}")
    ask(page, SECTION + "A " + "very" * 200 + " long word.")
    page.locator(".took", has_text="tokens").wait_for(timeout=WAIT)
    ask(page, "Half an answer", tokens=40, die_at=3, step_sec=0.05)
    page.get_by_role("button", name="Try again").wait_for(timeout=WAIT)
    keep(page, f"chat-end-{scheme}-{width}")
    page.locator(".settings summary").click()
    found["answers"] = faults(page)
    page.locator("#panel").evaluate("e => e.scrollTo(0, 0)")
    keep(page, f"chat-{scheme}-{width}")
    page.get_by_role("button", name="Delete").click()
    found["question"] = faults(page)
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    page.get_by_role("tab", name="Connect").click()
    found["connect"] = faults(page)
    keep(page, f"connect-{scheme}-{width}")
    page.close()
    assert found == {part: [] for part in found}


def test_what_to_paste_is_what_the_magic_prints_and_has_a_key_only_when_it_is_given_one(browser: Any, server: Jupyter):
    page = open_panel(browser, server)
    page.get_by_role("tab", name="Connect").click()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    part = page.get_by_role("tabpanel")
    values = {
        "url": f"{server.gate}/v1",
        "key": "YOUR-KEY",
        "model": part.locator("section pre").first.inner_text().partition('model="')[2].partition('"')[0],
    }
    for program in PROGRAMS.values():
        assert part.get_by_label(program.title, exact=True).locator("pre").inner_text() == program.filled(values)
    assert TOKEN not in part.inner_text()
    part.get_by_label("Put a key into the texts below").fill("sk-illama-test-1234")
    assert "sk-illama" not in part.inner_text()
    part.get_by_role("button", name="Copy the text for curl").click()
    part.get_by_text("Copied", exact=True).wait_for(timeout=WAIT)
    assert page.evaluate("navigator.clipboard.readText()") == PROGRAMS["curl"].filled(
        {**values, "key": "sk-illama-test-1234"}
    )
    part.get_by_role("button", name="Show").click()
    assert "sk-illama-test-1234" in part.get_by_label("curl", exact=True).first.inner_text()
    kept = page.evaluate("JSON.stringify([sessionStorage, localStorage])")
    page.reload()
    page.get_by_role("tab", name="Connect").click()
    page.close()
    assert "sk-illama" not in kept
