"""The panel as a page of a Jupyter server, with no kernel at all, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support_gate import Jupyter
from support_panel import WAIT, keep, needs_a_browser, open_panel, panel_server

pytestmark = needs_a_browser


@pytest.fixture(scope="module")
def server(module_home: Path) -> Iterator[Jupyter]:
    with panel_server(module_home) as server:
        yield server


def test_a_look_starts_no_host_and_a_button_does(browser: Any, server: Jupyter):
    page = open_panel(browser, server, start=False)
    page.locator("header[data-connection=down]").wait_for(timeout=WAIT)
    told = page.get_by_role("alert").inner_text()
    refused = list(page.complaints)
    page.complaints.clear()
    keep(page, "panel-down")
    page.get_by_role("button", name="Start it").click()
    page.locator("header[data-connection=up]").wait_for(timeout=WAIT)
    page.close()
    assert "No model host" in told
    assert all("503" in complaint for complaint in refused)
    assert page.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_follows_the_browsers_scheme(browser: Any, server: Jupyter, scheme: str):
    page = open_panel(browser, server, scheme=scheme)
    ground = page.evaluate("getComputedStyle(document.getElementById('panel')).backgroundColor")
    keep(page, f"panel-{scheme}")
    page.close()
    assert ground == ("rgb(17, 17, 17)" if scheme == "dark" else "rgb(255, 255, 255)")


def test_tabs_go_by_the_arrow_keys_and_what_was_in_front_stays(browser: Any, server: Jupyter):
    page = open_panel(browser, server)
    page.get_by_role("tab", name="Chat").focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("tab", name="Models").get_attribute("aria-selected") == "true"
    assert page.get_by_role("tabpanel").get_by_text("echo").first.is_visible()
    page.reload()
    page.locator("header[data-connection=up]").wait_for(timeout=WAIT)
    assert page.get_by_role("tab", name="Models").get_attribute("aria-selected") == "true"
    page.keyboard.press("Tab")
    page.get_by_role("tab", name="Models").focus()
    page.keyboard.press("End")
    assert page.get_by_role("tab", name="Connect").get_attribute("aria-selected") == "true"
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("tab", name="Chat").get_attribute("aria-selected") == "true"
    page.close()


def test_markup_cannot_be_made_from_text_even_by_mistake(browser: Any, server: Jupyter):
    page = open_panel(browser, server)
    made = "document.createElement('p').innerHTML = '<b>x</b>'"
    failed = page.evaluate(f"() => {{ try {{ {made}; return 'made'; }} catch (error) {{ return error.name; }} }}")
    page.close()
    assert failed == "TypeError"


def test_a_question_is_followed_by_looks_at_what_it_does(browser: Any, server: Jupyter):
    page = open_panel(browser, server)
    looks: list[str] = []
    page.on("request", lambda request: looks.append(request.url) if "/api/ps" in request.url else None)
    page.get_by_role("tab", name="Chat").click()
    page.get_by_role("textbox", name="Question").fill('/fake {"step_sec": 0.1, "tokens": 40, "text": "word "}')
    page.get_by_role("textbox", name="Question").press("Enter")
    page.locator(".answer").get_by_text("word").first.wait_for(timeout=WAIT)
    page.get_by_role("button", name="Send").wait_for(timeout=WAIT)
    page.close()
    assert len(looks) >= 3  # an idle page looks every three seconds


def test_at_300_pixels_nothing_is_cut_off(browser: Any, server: Jupyter):
    page = open_panel(browser, server, width=300)
    wider = {}
    for name in ("Chat", "Models", "Device", "Connect"):
        page.get_by_role("tab", name=name).click()
        wider[name] = page.evaluate(
            "() => { const host = document.getElementById('panel'); return host.scrollWidth - host.clientWidth; }"
        )
        keep(page, f"panel-300-{name}")
    page.close()
    assert wider == dict.fromkeys(wider, 0)
