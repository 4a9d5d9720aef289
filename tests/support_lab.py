"""A real JupyterLab with token auth, and a real browser to look at it."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import nbformat
import psutil

CHROMIUM = Path("/usr/bin/chromium")
START_WAIT = 90.0
LOAD_WAIT = 90_000  # milliseconds: Lab's first page on a busy machine


@contextmanager
def jupyter_lab(
    folder: Path, env: dict[str, str], *, dark: bool = False, extensions: tuple[str, ...] = ()
) -> Iterator[tuple[str, str]]:
    """Run JupyterLab on a folder, with these extensions on. Gives its URL, with a `/` at its end, and its token."""
    token = secrets.token_hex(16)
    settings = folder.parent / "lab-settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    theme = {"theme": "JupyterLab Dark" if dark else "JupyterLab Light"}
    (settings / "themes.jupyterlab-settings").write_text(json.dumps(theme))
    (settings / "notification.jupyterlab-settings").write_text(
        json.dumps({"fetchNews": "false", "checkForUpdates": False})
    )
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0"]
    enabled = [f"--ServerApp.jpserver_extensions={name}=True" for name in extensions]
    runtime = Path(env["JUPYTER_RUNTIME_DIR"])
    log = folder.parent / "lab.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, f"--ServerApp.root_dir={folder}", *enabled],
            env={
                **env,
                "JUPYTER_TOKEN": token,
                "JUPYTERLAB_SETTINGS_DIR": str(folder.parent / "lab-settings"),
                "JUPYTERLAB_WORKSPACES_DIR": str(folder.parent / "lab-workspaces"),
            },
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield server_url(runtime, process, log), token
    finally:
        family = [process, *psutil.Process(process.pid).children(recursive=True)] if process.poll() is None else []
        process.terminate()
        process.wait(30)
        for child in family[1:]:
            if child.is_running():
                child.kill()


def server_url(runtime: Path, process: subprocess.Popen[bytes], log: Path) -> str:
    """The URL of the Jupyter server that this process has become, with a `/` at its end."""
    deadline = time.monotonic() + START_WAIT
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        for found in runtime.glob("jpserver-*.json"):
            url = json.loads(found.read_text() or "{}").get("url")
            if url:
                return str(url)
        time.sleep(0.05)  # the server tells nobody when it is ready
    raise AssertionError(log.read_text())


def write_notebook(path: Path, cells: list[str]) -> None:
    """A notebook that has not been run."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


@dataclass
class Lab:
    """A running JupyterLab that several tests share: the folder it serves, its URL and token."""

    folder: Path
    url: str
    token: str

    def page(self, browser: Any, name: str, cells: list[str]) -> Any:
        """The page of a new notebook with these cells, its kernel running."""
        write_notebook(self.folder / f"{name}.ipynb", cells)
        return opened(browser, self.url, self.token, f"{name}.ipynb")

    def theme(self, *, dark: bool) -> None:
        """The looks of the pages that are opened from now on."""
        raw = json.dumps({"theme": "JupyterLab Dark" if dark else "JupyterLab Light"})
        httpx.put(
            f"{self.url}lab/api/settings/@jupyterlab/apputils-extension:themes",
            json={"raw": raw},
            headers={"Authorization": f"token {self.token}"},
        ).raise_for_status()

    def log(self) -> str:
        """What the server has said, in small letters."""
        return (self.folder.parent / "lab.log").read_text().lower()


def opened(browser: Any, url: str, token: str, notebook: str) -> Any:
    """The page of a notebook whose kernel has answered, its cells not run."""
    page = browser.new_page(viewport={"width": 1100, "height": 900})
    channels = lambda socket: "/channels" in socket.url  # noqa: E731
    with page.expect_websocket(channels, timeout=LOAD_WAIT) as socket:
        page.goto(f"{url}lab/tree/{notebook}?token={token}&reset")
    # Cells that are run before the kernel's first answer make Lab ask which kernel is meant.
    socket.value.wait_for_event("framereceived", timeout=LOAD_WAIT)
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=LOAD_WAIT)
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]", timeout=LOAD_WAIT)
    return page


def run_all(page: Any) -> None:
    """Run the cells, each as soon as the one before it has been taken up."""
    for index in range(page.locator(".jp-Notebook .jp-CodeCell").count()):
        run(page, index)


def run(page: Any, index: int) -> None:
    """Run one cell, and see that it has been taken up."""
    cell = page.locator(".jp-Notebook .jp-CodeCell").nth(index)
    cell.locator(".cm-content").click()
    page.keyboard.press("Shift+Enter")
    cell.locator(".jp-InputPrompt").get_by_text(re.compile(r"\[(\*|\d+)\]")).wait_for(timeout=30_000)
