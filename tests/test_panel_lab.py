"""The panel in a real JupyterLab and Notebook 7: while cells run, after the kernel's restart, and without a kernel."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support_host import eventually
from support_kernels import ROOT, end_host, fake_home
from support_lab import LOAD_WAIT, Lab, jupyter_lab, run, write_notebook
from support_models import tiny_ir
from support_panel import WAIT, ask, keep, needs_a_browser, ready

from illama.client import Client
from illama.config import Settings
from illama.host import state

pytestmark = needs_a_browser

TILE = "from illama_server import launcher_tile\nc.ServerProxy.servers = {'illama-tile': launcher_tile()}\n"
EXTENSIONS = ("illama_server", "jupyter_server_proxy", "notebook")
SLEEP = "import time\ntime.sleep(60)"
# Its answer takes a minute, if nobody stops it.
SLOW = '/fake {"step_sec": 0.1, "tokens": 600, "text": "word "}'


@pytest.fixture(scope="module")
def home(module_home: Path) -> Path:
    return module_home


@pytest.fixture(scope="module")
def lab(home: Path) -> Iterator[Lab]:
    env = {**fake_home(home), "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "server_ext")])}
    config = Path(env["JUPYTER_CONFIG_DIR"])
    config.mkdir()
    (config / "jupyter_server_config.py").write_text(TILE)
    folder = home.parent / "notebooks"
    folder.mkdir()
    try:
        with jupyter_lab(folder, env, extensions=EXTENSIONS) as (url, token):
            yield Lab(folder, url, token)
    finally:
        end_host(env)


def client(home: Path) -> Client:
    return Client(settings=Settings.load({"ILLAMA_HOME": str(home)}), start=False)


def tab(panel: Any, name: str) -> None:
    panel.get_by_role("tab", name=name).click()


def running(page: Any, index: int) -> bool:
    prompt = page.locator(".jp-Notebook .jp-CodeCell").nth(index).locator(".jp-InputPrompt")
    return "[*]" in prompt.first.inner_text()


def answered(panel: Any, question: str, answer: str, model: str = "echo") -> None:
    ask(panel, question, model)
    panel.locator(".answer").last.get_by_text(answer).first.wait_for(timeout=WAIT)


def stop(panel: Any, home: Path, model: str = "echo") -> None:
    """Ask for a long answer, stop it, and see that the device is free."""
    answered(panel, SLOW, "word", model)
    panel.get_by_role("button", name="Stop").click()
    panel.get_by_role("button", name="Send").wait_for(timeout=WAIT)
    with client(home) as asking:
        assert eventually(lambda: not any(model["running"] for model in asking.ps()), "the answer has ended")


def put_into_a_cell(page: Any, panel: Any, model: str = "echo") -> None:
    """Ask for code, and have it put into a new cell of the notebook: to the letter, with no bracket closed for it."""
    code = "for name in ['a', \"b\"]:\n    if name:\n        print({name: (1, 2)})"
    before = page.locator(".jp-Notebook .jp-Cell").count()
    answered(panel, f"```python\n{code}\n```", "print", model)
    panel.get_by_role("button", name="Send").wait_for(timeout=WAIT)
    panel.get_by_role("button", name="Put into a cell").last.click()
    lines = page.locator(".jp-Notebook .jp-Cell.jp-mod-active .cm-line")
    lines.get_by_text("print").wait_for(timeout=WAIT)
    assert lines.all_inner_texts() == code.split("\n")
    assert page.locator(".jp-Notebook .jp-Cell").count() == before + 1


def load(panel: Any, name: str) -> None:
    tab(panel, "Models")
    panel.get_by_role("button", name=f"Load {name}", exact=True).click()
    panel.get_by_role("button", name=f"Unload {name}", exact=True).wait_for(timeout=WAIT)


def unload(panel: Any, name: str) -> None:
    tab(panel, "Models")
    panel.get_by_role("button", name=f"Unload {name}", exact=True).click()
    panel.get_by_role("button", name=f"Load {name}", exact=True).wait_for(timeout=WAIT)


def pull(panel: Any, source: Path) -> None:
    tab(panel, "Models")
    panel.get_by_label("Pull", exact=True).fill(str(source))
    panel.get_by_role("button", name="Pull", exact=True).click()
    panel.get_by_role("button", name=f"Load {source.name}", exact=True).wait_for(timeout=WAIT)


def remove(panel: Any, name: str) -> None:
    tab(panel, "Models")
    panel.get_by_role("button", name=f"Remove {name}", exact=True).click()
    panel.get_by_role("dialog").get_by_role("button", name=re.compile("Remove")).click()
    panel.get_by_role("button", name=f"Remove {name}", exact=True).wait_for(state="detached", timeout=WAIT)


def everything(panel: Any, home: Path, model: Path, beside: Callable[[], None] = lambda: None) -> None:
    """All that the panel is for, with one model, from its pull to its removal; `beside` is done while it is loaded."""
    pull(panel, model)
    load(panel, model.name)
    answered(panel, f"Paris is the capital, {model.name}", "Paris is the capital", model.name)
    beside()
    stop(panel, home, model.name)
    unload(panel, model.name)
    remove(panel, model.name)


def test_all_goes_on_while_a_cell_runs_after_a_restart_and_without_a_kernel(browser: Any, lab: Lab, home: Path):
    page = lab.page(browser, "docked", ["import illama\nillama.panel()", SLEEP, "kept = 1"])
    page.set_viewport_size({"width": 1300, "height": 900})
    run(page, 0)
    panel = page.locator("#jp-right-stack .illama-panel")
    ready(panel)
    assert "live also while cells run" in panel.locator(".way").text_content()
    page.locator(".jp-OutputArea").get_by_text("stands beside the notebook").wait_for(timeout=WAIT)

    run(page, 1)
    everything(panel, home, tiny_ir(home.parent / "second"), lambda: put_into_a_cell(page, panel, "second"))
    keep(page, "panel-lab-docked")
    assert running(page, 1)
    with client(home) as asking:
        assert [model["name"] for model in asking.list()] == ["echo"]

    # Lab's shortcuts would cut cells (x), delete them (d, d) and restart the kernel (0, 0).
    page.locator(".jp-CodeCell >> nth=2").locator(".jp-InputPrompt").click()
    cells = page.locator(".jp-Notebook .jp-CodeCell").count()
    tab(panel, "Chat")
    panel.get_by_role("textbox", name="Question").click()
    page.keyboard.type("x dd aa 00")
    assert panel.get_by_role("textbox", name="Question").input_value() == "x dd aa 00"
    assert page.locator(".jp-Notebook .jp-CodeCell").count() == cells
    assert page.locator(".jp-Dialog").count() == 0

    with httpx.Client(headers={"Authorization": f"token {lab.token}"}, trust_env=False) as server:
        (kernel,) = server.get(f"{lab.url}api/kernels").json()
        server.post(f"{lab.url}api/kernels/{kernel['id']}/restart", timeout=60).raise_for_status()
        everything(panel, home, tiny_ir(home.parent / "third"))
        server.delete(f"{lab.url}api/kernels/{kernel['id']}", timeout=60).raise_for_status()
        assert server.get(f"{lab.url}api/kernels").json() == []
        everything(panel, home, tiny_ir(home.parent / "fourth"))
    page.close()


def test_a_saved_notebook_has_no_key_and_a_sentence_for_other_readers(browser: Any, lab: Lab, home: Path):
    page = lab.page(browser, "saved", ["import illama\nillama.panel(dock=False)"])
    run(page, 0)
    panel = page.locator(".jp-CodeCell .illama-panel")
    ready(panel)
    page.keyboard.press("Escape")
    page.locator(".jp-CodeCell .jp-InputPrompt").first.click()
    page.keyboard.press("Control+s")
    path = lab.folder / "saved.ipynb"
    assert eventually(lambda: "widget-view" in path.read_text(), "the notebook is saved")
    saved = path.read_text()
    (output,) = json.loads(saved)["cells"][0]["outputs"]
    page.close()
    found = state.read(home / "run")
    assert found is not None
    assert found.key not in saved
    assert lab.token not in saved
    assert "illama's panel" in "".join(output["data"]["text/plain"])
    assert "illama's panel" in "".join(output["data"]["text/html"])
    assert len(saved) < 20_000


def test_notebook_7_has_it_in_the_cell_and_it_lives_while_a_cell_runs(browser: Any, lab: Lab, home: Path):
    write_notebook(lab.folder / "seven.ipynb", ["import illama\nillama.panel()", SLEEP])
    page = browser.new_page(viewport={"width": 1100, "height": 900})
    with page.expect_websocket(lambda socket: "/channels" in socket.url, timeout=LOAD_WAIT) as socket:
        page.goto(f"{lab.url}notebooks/seven.ipynb?token={lab.token}")
    socket.value.wait_for_event("framereceived", timeout=LOAD_WAIT)
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]", timeout=LOAD_WAIT)
    run(page, 0)
    panel = page.locator(".jp-CodeCell .illama-panel")
    ready(panel)
    run(page, 1)
    everything(panel, home, tiny_ir(home.parent / "seventh"))
    tab(panel, "Chat")
    cells = page.locator(".jp-Notebook .jp-CodeCell").count()
    panel.get_by_role("textbox", name="Question").click()
    page.keyboard.type("x dd aa 00")
    assert panel.get_by_role("textbox", name="Question").input_value() == "x dd aa 00"
    assert page.locator(".jp-Notebook .jp-CodeCell").count() == cells
    keep(page, "panel-notebook-7")
    assert running(page, 1)
    put_into_a_cell(page, panel)
    unload(panel, "echo")
    page.close()


def test_where_the_server_has_no_extension_it_goes_through_the_kernel(browser: Any, lab: Lab, home: Path):
    page = lab.page(browser, "kernel", ["import illama\nillama.panel(dock=False)"])
    # As a server without the extension answers.
    page.route("**/illama/**", lambda route: route.fulfill(status=404, body="<html>404</html>"))
    run(page, 0)
    panel = page.locator(".jp-CodeCell .illama-panel")
    ready(panel)
    assert "end with the kernel" in panel.locator(".way").text_content()
    load(panel, "echo")
    answered(panel, "through the kernel", "through the kernel")
    stop(panel, home)
    keep(page, "panel-kernel")
    unload(panel, "echo")
    with httpx.Client(headers={"Authorization": f"token {lab.token}"}, trust_env=False) as server:
        for kernel in server.get(f"{lab.url}api/kernels").json():
            server.delete(f"{lab.url}api/kernels/{kernel['id']}", timeout=60)
    panel.get_by_role("alert").get_by_text("The kernel does not answer.").wait_for(timeout=WAIT)
    page.close()


def test_the_launchers_tile_opens_the_panel(browser: Any, lab: Lab):
    page = browser.new_page(viewport={"width": 1100, "height": 900})
    page.goto(f"{lab.url}lab?token={lab.token}&reset")
    # Where illama is installed, its own entry point brings a tile beside the one of this Lab's settings.
    page.locator(".jp-LauncherCard", has_text="illama").first.click(timeout=LOAD_WAIT)
    panel = page.frame_locator("iframe[src*='illama/ui/']").locator("#panel")
    panel.get_by_role("tab", name="Models").wait_for(timeout=WAIT)
    keep(page, "panel-tile")
    page.close()
