"""What becomes of the panel's page when the host or the Jupyter server goes, and what it costs when nothing happens."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from support_gate import TOKEN, Jupyter, jupyter_server
from support_host import eventually
from support_kernels import end_host, fake_home
from support_panel import WAIT, ask, keep, needs_a_browser, open_panel

from illama.client import Client
from illama.config import Settings
from illama.host import state

pytestmark = needs_a_browser

KEY = {"Authorization": f"Bearer {TOKEN}"}
SPAN = 15  # seconds


@pytest.fixture
def env(home: Path) -> Iterator[dict[str, str]]:
    env = fake_home(home)
    yield env
    end_host(env)


def port(server: Jupyter) -> int:
    return urlsplit(server.url).port or 0


def test_a_killed_host_is_told_and_a_new_one_is_found_by_itself(browser: Any, home: Path, env: dict[str, str]):
    with jupyter_server(home) as server:
        page = open_panel(browser, server)
        ask(page, '/fake {"step_sec": 0.05, "tokens": 1000, "text": "word "}')
        page.locator(".answer").get_by_text("word").first.wait_for(timeout=WAIT)
        first = state.read(home / "run")
        assert first is not None
        os.kill(first.pid, signal.SIGKILL)
        page.get_by_role("alert").get_by_text(re.compile("ended in the middle")).first.wait_for(timeout=WAIT)
        page.locator("header[data-connection=down]").wait_for(timeout=WAIT)
        page.locator("header").get_by_text("No model host is running.").wait_for(timeout=WAIT)
        keep(page, "panel-host-killed")
        # Whoever starts a host, here a request from elsewhere: the page sees it.
        server.cookieless("GET", "/v1/models", headers=KEY)
        page.locator("header[data-connection=up]").wait_for(timeout=WAIT)
        second = state.read(home / "run")
        ask(page, "again")
        page.locator(".answer").last.get_by_text("again").wait_for(timeout=WAIT)
        page.close()
    assert second is not None
    assert second.pid != first.pid


def test_a_servers_restart_is_told_and_a_lost_login_too(browser: Any, home: Path, env: dict[str, str]):
    with jupyter_server(home) as server:
        page = open_panel(browser, server)
        at = port(server)
    page.locator("header").get_by_text("The Jupyter server does not answer.").wait_for(timeout=WAIT)
    assert not page.get_by_role("button", name="Start it").is_visible()
    keep(page, "panel-server-away")
    with jupyter_server(home, port=at) as server:
        page.locator("header[data-connection=up]").wait_for(timeout=WAIT)
        ask(page, "it is back")
        page.locator(".answer").last.get_by_text("it is back").wait_for(timeout=WAIT)
        # As after a restart that has forgotten its logins, or a hub's logout in another tab.
        page.context.clear_cookies()
        page.locator("header").get_by_text("You are not logged in").wait_for(timeout=WAIT)
        keep(page, "panel-logged-out")
        assert page.get_by_role("button", name="Try again").is_visible()
    with jupyter_server(home, port=at, token="another-token") as server:
        # The new address, opened in another tab: the browser is logged in again.
        assert page.request.get(f"{server.url}illama/ui/?token=another-token").ok
        page.locator("header[data-connection=up]").wait_for(timeout=WAIT)
        page.close()
    assert page.is_closed()


def counted(page: Any) -> dict[str, int]:
    """Count from now on the requests of a page and their bytes on the wire, both ways, headers and all."""
    traffic = {"requests": 0, "bytes": 0}
    session = page.context.new_cdp_session(page)

    def asked(event: dict[str, Any]) -> None:
        traffic["requests"] += 1
        traffic["bytes"] += len("GET  HTTP/1.1\r\n\r\n") + len(urlsplit(event["request"]["url"]).path)

    def head(event: dict[str, Any]) -> None:
        traffic["bytes"] += sum(len(f"{name}: {value}\r\n") for name, value in event["headers"].items())

    def answered(event: dict[str, Any]) -> None:
        traffic["bytes"] += int(event["encodedDataLength"])  # its headers are in it

    session.on("Network.requestWillBeSent", asked)
    session.on("Network.requestWillBeSentExtraInfo", head)
    session.on("Network.loadingFinished", answered)
    session.send("Network.enable")
    return traffic


def test_an_idle_page_costs_little_a_hidden_one_nothing_and_neither_keeps_anything_alive(
    browser: Any, home: Path, env: dict[str, str]
):
    with (
        jupyter_server(home) as server,
        Client(settings=Settings.load({"ILLAMA_HOME": str(home)}), start=False) as client,
    ):
        page = open_panel(browser, server)
        ask(page, "load it")
        page.locator(".answer").get_by_text("load it").wait_for(timeout=WAIT)
        active = activity(server)
        page.wait_for_timeout(5000)  # until the rhythm of an answer has given way to that of an idle host
        left = client.ps()[0]["until_seconds"]
        traffic = counted(page)
        page.wait_for_timeout(SPAN * 1000)
        seen = dict(traffic)
        page.evaluate("Object.defineProperty(document, 'hidden', {configurable: true, get: () => true})")
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        page.wait_for_timeout(1000)  # for a look that was under way
        before = traffic["requests"]
        page.wait_for_timeout(8000)
        hidden = traffic["requests"] - before
        page.evaluate("delete document.hidden")
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        assert eventually(lambda: page.wait_for_timeout(50) or traffic["requests"] > before, "it looks again")
        page.close()
        assert activity(server) == active
        assert client.ps()[0]["until_seconds"] < left - SPAN
    rate = seen["bytes"] / SPAN
    print(f"{seen['requests']} requests in {SPAN} s, {rate:.0f} bytes a second")
    assert hidden == 0
    assert seen["requests"] >= 3
    assert rate < 1000


def activity(server: Jupyter) -> str:
    """When Jupyter was last used, by what a hub ends idle servers by."""
    status = server.http.get(f"{server.url}api/status?no_track_activity=1", headers=KEY)
    return str(status.json()["last_activity"])
