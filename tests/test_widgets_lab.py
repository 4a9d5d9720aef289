"""The widgets as a person sees them, in a real JupyterLab, and in a notebook that is run as a program."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from support_host import eventually
from support_kernels import end_host, fake_home
from support_lab import Lab, jupyter_lab, run, write_notebook
from support_models import tiny_ir
from support_panel import chromium, keep, needs_a_browser

from illama.client import Client
from illama.config import Settings

WAIT = 90_000  # milliseconds
IMPORT = "from illama.widgets import HostStatus, ModelPicker, PullProgress, RunBox"
ENDLESS = '/fake {"step_sec": 0.02, "tokens": 20000, "text": "The **capital** of France is *Paris*. "}'
HOSTILE = '<img src=x onerror="window.hacked=1"> [click](javascript:window.hacked=2) **bold**'


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    home = tmp_path_factory.mktemp("lab") / "home"
    home.mkdir(mode=0o700)
    env = fake_home(home, max_position_embeddings=65536)
    yield env
    end_host(env)


@pytest.fixture(scope="module")
def source(env: dict[str, str]) -> Path:
    return tiny_ir(Path(env["ILLAMA_HOME"]).parent / "another")


def browsing(test: Any) -> Any:
    """Marks of a test that needs a browser."""
    for mark in needs_a_browser:
        test = mark(test)
    return test


def output(page: Any, index: int) -> Any:
    return page.locator(f".jp-Notebook .jp-CodeCell >> nth={index}").locator(".jp-Cell-outputArea")


@browsing
def test_the_widgets_work_by_their_buttons(env: dict[str, str], source: Path):
    folder = Path(env["ILLAMA_HOME"]).parent / "notebooks"
    folder.mkdir()
    cells = [
        f"{IMPORT}\nearlier, status = globals().get('status'), HostStatus(); status",
        "picker = ModelPicker(); picker",
        f"pull = PullProgress({str(source)!r}, name='Another'); pull",
        "box = RunBox(model=picker); box",
        "import time; time.sleep(20)",
        "print('listening:', earlier.listening, status.listening)",
    ]
    with chromium() as browser, jupyter_lab(folder, env) as (url, token):
        lab = Lab(folder, url, token)
        page = lab.page(browser, "widgets", cells)
        page.set_viewport_size({"width": 1100, "height": 1500})
        status, picker, pull, box = (output(page, index) for index in range(4))
        run(page, 0)
        status.get_by_role("button", name="Start the host").click()
        status.get_by_text(re.compile("running · 1 installed, 0 loaded")).wait_for(timeout=WAIT)
        run(page, 1)
        picker.get_by_label("Model").wait_for(timeout=WAIT)
        assert picker.get_by_label("Model").input_value() == "echo"

        run(page, 2)
        pull.get_by_role("button", name="Pull").click()
        pull.get_by_text("Another is ready.").wait_for(timeout=WAIT)
        picker.locator("option", has_text="Another").wait_for(state="attached", timeout=WAIT)

        run(page, 3)
        box.get_by_label("Question").fill(HOSTILE)
        box.get_by_role("button", name="Run").click()
        box.get_by_text(re.compile("tokens/s")).wait_for(timeout=WAIT)
        box.locator("strong", has_text="bold").wait_for(timeout=WAIT)
        assert page.evaluate("window.hacked") is None
        assert box.locator("a[href^=javascript], img").count() == 0

        box.get_by_label("Question").fill(ENDLESS)
        box.get_by_role("button", name="Run").click()
        box.locator("em", has_text="Paris").nth(3).wait_for(timeout=WAIT)
        early = len(box.inner_text())
        # What is shown goes on while a cell runs.
        run(page, 4)
        page.wait_for_function(
            "([was]) => document.querySelectorAll('.jp-CodeCell')[3].innerText.length > was + 1000", arg=[early]
        )
        status.get_by_text(re.compile("1 at work")).wait_for(timeout=WAIT)
        assert page.locator(".jp-CodeCell >> nth=4").get_by_text("[*]").is_visible()
        keep(page, "widgets-light-busy")
        page.locator("[data-command='notebook:interrupt-kernel'], [data-jp-item-name=interrupt]").first.click()
        box.get_by_role("button", name="Stop").click()
        box.get_by_text(re.compile("■.*stopped")).wait_for(timeout=WAIT)
        with Client(start=False, settings=Settings.load(env)) as client:
            eventually(lambda: not client.ps()[0]["running"], "the device is idle")
        keep(page, "widgets-light")

        # A cell that is run again leaves its first widget without a view: that one is not kept up to date any more.
        run(page, 0)
        status.get_by_text(re.compile("0 at work")).wait_for(timeout=WAIT)
        run(page, 5)
        output(page, 5).get_by_text("listening: False True").wait_for(timeout=WAIT)
        page.close()
        lab.theme(dark=True)
        page = lab.page(
            browser, "dark", [f"{IMPORT}\nRunBox({HOSTILE!r}).run()", "HostStatus()", "PullProgress('nobody').start()"]
        )
        page.set_viewport_size({"width": 900, "height": 1300})
        for index in range(3):
            run(page, index)
        output(page, 0).get_by_text(re.compile("tokens/s")).wait_for(timeout=WAIT)
        output(page, 2).get_by_text(re.compile("Nothing is known by the name")).wait_for(timeout=WAIT)
        assert output(page, 2).get_by_text("Traceback").count() == 0
        keep(page, "widgets-dark")
        page.close()


@pytest.mark.slow
def test_a_notebook_that_is_run_as_a_program_keeps_what_the_widgets_show(
    env: dict[str, str], source: Path, tmp_path: Path
):
    write_notebook(
        tmp_path / "in.ipynb",
        [
            f"{IMPORT}\npull = PullProgress({str(source)!r}, name='Third')\nprint(pull.start().wait())\npull",
            "picker = ModelPicker('Third'); picker",
            f"box = RunBox({HOSTILE!r}, model='echo')\nreply = box.run().wait()\nbox",
            "HostStatus()",
        ],
    )
    command = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--output", "out.ipynb", "in.ipynb"]
    subprocess.run(command, cwd=tmp_path, env=env, check=True, capture_output=True, timeout=240)
    notebook = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    states = notebook.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"]
    data = [cell.outputs[-1]["data"] for cell in notebook.cells]
    assert notebook.cells[0].outputs[0]["text"].strip() == "Third"
    saved = [states[each["application/vnd.jupyter.widget-view+json"]["model_id"]]["state"] for each in data]
    assert (saved[0]["state"], saved[0]["name"]) == ("done", "Third")
    assert saved[1]["value"] == "Third"
    assert saved[2]["state"] == "done"
    assert saved[3]["state"] == "up"
    assert saved[3]["loaded"] == ["echo"]
    whole = json.dumps(states)
    assert "tokens/s" in whole
    assert "**bold**" in whole
    assert "<img src=x" not in whole.replace(json.dumps(HOSTILE)[1:-1], "")
    assert "Third is ready." in data[0]["text/html"]
    assert "Third is ready." in data[0]["text/plain"]
    assert "echo" in data[3]["text/plain"]
