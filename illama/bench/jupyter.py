"""Finds a Jupyter server of this user whose gate leads to the host that is measured.

Knows: the files in which Jupyter servers say where they are. Does not know: how they are asked questions.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from illama import transport

_LOOK_WAIT = 5.0


@dataclass(frozen=True)
class Gate:
    """The way through a Jupyter server: the URL in front of `/v1`, the server's token and process."""

    url: str
    token: str = field(repr=False)
    pid: int


def find(engines: set[int]) -> Gate | None:
    """A server through which the host of these engines' processes is reached; this kernel's own if there are several.

    `engines` are pids of loaded models, by which a host is recognised.
    """
    try:
        from jupyter_core.paths import jupyter_runtime_dir
    except ImportError:
        return None
    own = os.environ.get("JPY_PARENT_PID", "")
    files = sorted(Path(jupyter_runtime_dir()).glob("jpserver-*.json"), key=lambda path: path.stem != f"jpserver-{own}")
    return next((gate for gate in map(_gate, files) if gate and _leads_to(gate, engines)), None)


def _gate(path: Path) -> Gate | None:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        url, token, pid = str(told["url"]), str(told.get("token") or ""), int(told["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not url.startswith(("http://", "https://")) or not token or not psutil.pid_exists(pid):
        return None
    # A name that has an IPv6 address too costs a failed attempt at each connection.
    return Gate(f"{url.replace('//localhost:', '//127.0.0.1:').rstrip('/')}/illama", token, pid)


def _leads_to(gate: Gate, engines: set[int]) -> bool:
    try:
        with httpx.Client(**transport.options(gate.url, named=False)) as http:
            headers = {"Authorization": f"token {gate.token}"}
            url = f"{gate.url}/api/ps?no_track_activity=1"
            told = http.get(url, headers=headers, timeout=_LOOK_WAIT).raise_for_status().json()
        return bool(engines & {model["pid"] for model in told["models"]})
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return False
