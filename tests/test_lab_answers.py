"""A long answer, a stopped one and wide tables in a real JupyterLab. How quickly things go is told, not judged."""

from __future__ import annotations

import itertools
import re
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support_host import eventually
from support_kernels import end_host, fake_home
from support_lab import Lab, jupyter_lab, run, run_all
from support_panel import keep, needs_a_browser

from illama.client import Client
from illama.config import Settings

pytestmark = needs_a_browser

WAIT = 90_000
PROSE = "The **capital** of France is *Paris*, and `print(1)` prints 1.\\n\\n"
LONG = f'/fake {{"step_sec": 0.008, "tokens": 3000, "text": "{PROSE}"}}'
ENDLESS = f'/fake {{"step_sec": 0.02, "tokens": 20000, "text": "{PROSE}"}}'

# Keeps when the answer on the page grew, and how long it then was.
WATCH = """([cell]) => {
    const output = document.querySelectorAll('.jp-Notebook .jp-CodeCell')[cell].querySelector('.jp-Cell-outputArea');
    window.grown = [];
    new MutationObserver(() => {
        const length = output.textContent.length;
        const last = window.grown[window.grown.length - 1];
        if (length && (!last || last[1] !== length)) window.grown.push([performance.now() / 1000, length]);
    }).observe(output, {childList: true, subtree: true, characterData: true});
}"""


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    home = tmp_path_factory.mktemp("lab") / "home"
    home.mkdir(mode=0o700)
    env = fake_home(home, max_position_embeddings=65536)
    yield env
    end_host(env)


@pytest.fixture(scope="module")
def lab(env: dict[str, str]) -> Iterator[Lab]:
    """One JupyterLab for all of these; `themed` changes its looks."""
    folder = Path(env["ILLAMA_HOME"]).parent / "notebooks"
    folder.mkdir()
    with jupyter_lab(folder, env) as (url, token):
        yield Lab(folder, url, token)


def output(page: Any, index: int) -> Any:
    return page.locator(f".jp-Notebook .jp-CodeCell >> nth={index}").locator(".jp-Cell-outputArea")


def seconds(act: Callable[[], Any]) -> float:
    began = time.monotonic()
    act()
    return time.monotonic() - began


def test_stop_ends_the_answer_and_a_restart_keeps_the_model(browser: Any, lab: Lab, env: dict[str, str]):
    page = lab.page(browser, "stop", ["%load_ext illama", f"%%illama\n{ENDLESS}", "%%illama\nHello again."])
    run(page, 0)
    run(page, 1)
    output(page, 1).get_by_text(re.compile("capital.*capital", re.DOTALL)).first.wait_for(timeout=WAIT)
    keep(page, "stop-light-streaming")
    with Client(start=False, settings=Settings.load(env)) as client:
        (before,) = client.ps()
        assert before["running"] == 1
        page.locator("[data-command='notebook:interrupt-kernel'], [data-jp-item-name=interrupt]").first.click()
        clicked = time.monotonic()
        eventually(lambda: not client.ps()[0]["running"], "the device is idle")
        print(f"idle {time.monotonic() - clicked:.2f} s after the click")
        output(page, 1).get_by_text("■ stopped").wait_for(timeout=WAIT)
        stopped = output(page, 1).inner_text()
        keep(page, "stop-light-stopped")
        run(page, 2)
        output(page, 2).get_by_text("Hello again.").wait_for(timeout=WAIT)

        page.locator("[data-command='kernelmenu:restart'], [data-jp-item-name=restart]").first.click()
        page.locator(".jp-Dialog .jp-mod-accept").click()
        page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]", timeout=WAIT)
        run(page, 0)
        run(page, 2)
        # The new kernel counts its cells from 1.
        page.locator(".jp-Notebook .jp-CodeCell >> nth=2").get_by_text("[2]:").wait_for(timeout=WAIT)
        after_restart = output(page, 2).inner_text()
        (after,) = client.ps()
    page.close()
    assert "The capital of France is Paris" in stopped
    assert "KeyboardInterrupt: stopped" in stopped
    assert "Traceback" not in stopped
    assert "Hello again." in after_restart
    assert "loaded in" not in after_restart
    assert after["pid"] == before["pid"]


def test_a_long_answer_streams_and_lab_stays_usable(browser: Any, lab: Lab):
    lab.theme(dark=True)
    page = lab.page(browser, "long", ["%load_ext illama", f"%%illama\n{LONG}"])
    waits: dict[str, float] = {}
    run(page, 0)
    page.evaluate(WATCH, [1])
    run(page, 1)
    output(page, 1).locator("strong").first.wait_for(timeout=WAIT)
    for number, share in enumerate((0.1, 0.5, 0.8)):
        page.wait_for_function(f"window.grown.at(-1)[1] > {share} * 3000 * 3.4", timeout=WAIT)
        first = page.locator(".jp-Notebook .jp-CodeCell >> nth=0").locator(".cm-content")
        word = f"word{number}"

        def type_it(first: Any = first, word: str = word) -> None:
            first.click()
            page.keyboard.type(word)
            first.get_by_text(word).wait_for()

        waits[f"typing at {share:.0%}"] = seconds(type_it)
        menu = page.locator(".lm-MenuBar-item", has_text="File")

        def open_it(menu: Any = menu) -> None:
            menu.click()
            page.locator(".lm-Menu").first.wait_for()

        waits[f"a menu at {share:.0%}"] = seconds(open_it)
        page.keyboard.press("Escape")
        keep(page, f"long-dark-{number}")
    output(page, 1).get_by_text(re.compile(r"3,?000 tokens · ")).wait_for(timeout=WAIT)
    output(page, 1).get_by_text(re.compile(r"3,?000 tokens · ")).scroll_into_view_if_needed()
    keep(page, "long-dark-end")
    grown = page.evaluate("window.grown")
    whole = output(page, 1).text_content() or ""  # inner_text is what is painted: Lab paints what is in view
    page.close()
    pauses = [later[0] - earlier[0] for earlier, later in itertools.pairwise(grown)]
    print(
        f"{len(grown)} updates in {grown[-1][0] - grown[0][0]:.1f} s,"
        f" {statistics.median(pauses):.2f} s apart, at most {max(pauses):.2f} s;"
        f" {', '.join(f'{what} {took:.2f} s' for what, took in waits.items())}"
    )
    assert whole.count("The capital of France is Paris") >= 3000 * 4 // len(PROSE)
    assert len(grown) > 20  # it grew, and did not come at once
    assert "iopub" not in lab.log()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_tables_can_be_read_on_a_narrow_page(browser: Any, lab: Lab, dark: bool):
    lab.theme(dark=dark)
    cells = ["%load_ext illama", "%%illama\nHello", "%illama ps", "%illama list", "%illama show echo", "%illama doctor"]
    page = lab.page(browser, f"tables-{dark}", [*cells, "%%illama nobody\nHello"])
    page.set_viewport_size({"width": 700, "height": 1700})
    page.keyboard.press("Control+B")
    run_all(page)
    output(page, 6).get_by_text("ModelNotFoundError").first.wait_for(timeout=WAIT)
    # Those of a few short columns may scroll; what is to be read wraps.
    sideways = [
        box.inner_text()
        for index in (3, 4, 5)
        for box in output(page, index).locator(".jp-OutputArea-output", has=page.locator("table")).all()
        if box.evaluate("box => box.scrollWidth > box.clientWidth")
    ]
    keep(page, f"tables-{'dark' if dark else 'light'}")
    page.close()
    assert sideways == []
