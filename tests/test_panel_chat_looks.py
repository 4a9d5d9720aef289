"""The chat and what to paste into other programs: for everybody, in every light; in Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support_gate import TOKEN, Jupyter
from support_host import fake_model
from support_panel import SECTION, ask, faults, keep, needs_a_browser, open_panel, panel_server, says

from illama.notebook.recipes import PROGRAMS

pytestmark = needs_a_browser

WAIT = 30_000  # milliseconds
MODELS_OWN = ("minor", "moderate")  # which level a model's headings begin with is the model's choice


@pytest.fixture(scope="module")
def server(module_home: Path) -> Iterator[Jupyter]:
    fake_model(module_home, "long", context_length=40_000)
    with panel_server(module_home) as server:
        yield server


@pytest.mark.parametrize(("scheme", "width"), [("light", 1100), ("dark", 300)])
def test_axe_finds_no_fault_and_nothing_is_cut_off(browser: Any, server: Jupyter, scheme: str, width: int):
    page = open_panel(browser, server, scheme=scheme, width=width)
    found = {"nothing said": faults(page, MODELS_OWN)}
    keep(page, f"chat-empty-{scheme}-{width}")
    ask(page, says(SECTION + "A " + "very" * 200 + " long word."), "long")
    page.locator(".took", has_text="tokens").wait_for(timeout=WAIT)
    ask(page, says("Half an answer", tokens=40, die_at=3, step_sec=0.05), "long")
    page.get_by_role("button", name="Try again").wait_for(timeout=WAIT)
    keep(page, f"chat-end-{scheme}-{width}")
    page.locator(".settings summary").click()
    found["answers"] = faults(page, MODELS_OWN)
    page.locator("#panel").evaluate("e => e.scrollTo(0, 0)")
    keep(page, f"chat-{scheme}-{width}")
    page.get_by_role("button", name="Delete").click()
    found["question"] = faults(page, MODELS_OWN)
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    page.get_by_role("tab", name="Connect").click()
    found["connect"] = faults(page, MODELS_OWN)
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
