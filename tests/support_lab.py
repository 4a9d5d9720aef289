"""A real JupyterLab with token auth, and a real browser to look at it."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import psutil

CHROMIUM = Path("/usr/bin/chromium")
START_WAIT = 90.0


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
