"""Real kernels for tests, and a home in which a made-up model answers by the fake engine."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jupyter_client.blocking import BlockingKernelClient
from support_models import run_pull, tiny_ir

from illama import discovery
from illama.config import Settings

ROOT = Path(__file__).resolve().parent.parent
ECHO = "echo"
CELL_WAIT = 120.0


def fake_home(home: Path, **config: object) -> dict[str, str]:
    """Install a model that the fake engine echoes with; returns the environment for programs that shall use it.

    `config` is what its config.json says beyond the usual.
    """
    source = tiny_ir(home.parent / "source", **config)
    lines = run_pull({"source": str(source), "name": ECHO}, home)
    assert lines[-1].get("status") == "success", lines[-1]
    return environment(home, ILLAMA_ENGINE="fake")


def environment(home: Path, **more: str) -> dict[str, str]:
    """This process's environment with the home, this checkout and nothing of the user's Jupyter or IPython."""
    scratch = home.parent
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("ILLAMA_", "JUPYTER", "JPY_"))},
        "PYTHONPATH": str(ROOT),
        "IPYTHONDIR": str(scratch / "ipython"),
        "JUPYTER_CONFIG_DIR": str(scratch / "jupyter-config"),
        "JUPYTER_DATA_DIR": str(scratch / "jupyter-data"),
        "JUPYTER_RUNTIME_DIR": str(scratch / "jupyter-runtime"),
        "ILLAMA_HOME": str(home),
        **more,
    }


def end_host(env: dict[str, str]) -> None:
    """End the host that these programs started, if there is one."""
    discovery.stop(Settings.load(env), force=True)


def run_cell(
    client: BlockingKernelClient, code: str, *, on_message: Callable[[str, dict[str, Any]], None] | None = None
) -> list[tuple[str, dict[str, Any]]]:
    """Run a cell and return the messages (type, content) that it sent until the kernel was idle again."""
    parent = client.execute(code)
    messages: list[tuple[str, dict[str, Any]]] = []
    while True:
        message = client.get_iopub_msg(timeout=CELL_WAIT)
        if message["parent_header"].get("msg_id") != parent:
            continue
        kind, content = message["msg_type"], message["content"]
        messages.append((kind, content))
        if on_message:
            on_message(kind, content)
        if kind == "status" and content["execution_state"] == "idle":
            client.get_shell_msg(timeout=CELL_WAIT)
            return messages


def texts(messages: list[tuple[str, dict[str, Any]]], *kinds: str) -> list[str]:
    """The plain text of the messages of these types."""
    return [content["data"]["text/plain"] for kind, content in messages if kind in kinds]
