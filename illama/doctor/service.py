"""Reads illama's own things: its settings, folders, key, the running host, and the hub that models come from.

Knows: where these are, how to ask a host and a hub. Does not know: what follows from the facts. It only looks: nothing
is started, made, or mended, and the hub's token goes to the hub alone.
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from illama.config import BY_NAME, VARIABLES, Settings
from illama.doctor.facts import Choices, File, Host, Hub, Memory, Place
from illama.doctor.hardware import mode
from illama.host import state

# The tests' own variables are no typos.
_TESTS = "ILLAMA_TEST_"
# Seconds. A hub that takes longer to say hello is of no use for gigabytes.
HUB_PATIENCE = 2.5
HOST_PATIENCE = 2.0


def choices(settings: Settings, environ: Mapping[str, str] | None = None) -> Choices:
    """What the user set, and which variables of ours there are not."""
    environ = os.environ if environ is None else environ
    given = {v: environ.get(v.name, "") for v in VARIABLES if settings.is_set(v.name)}
    shown = {v.name: "(hidden)" if v.secret else _without_login(raw) for v, raw in given.items()}
    strangers = [n for n in environ if n.startswith("ILLAMA_") and n not in BY_NAME and not n.startswith(_TESTS)]
    return Choices(
        device=settings.device,
        device_set=settings.is_set("ILLAMA_DEVICE"),
        set=shown,
        unknown={name: (difflib.get_close_matches(name, BY_NAME, 1, 0.7) or [""])[0] for name in sorted(strangers)},
        wrong=tuple((fault.message, fault.hint or "") for fault in settings.faults),
    )


def _without_login(raw: str) -> str:
    """An address without the name and password that it may hold."""
    return re.sub(r"(?<=://)[^/@]*@", "", raw)


def memory() -> Memory:
    """The machine's memory, or its container's."""
    from illama.host.memory import machine

    room = machine()
    return Memory(room.where, room.total, room.free)


def places(settings: Settings) -> tuple[Place, ...]:
    """The folders that grow: whether they can be written, and what room is there."""
    return (
        _place("models", settings.registry_dir),
        _place("cache", settings.cache_dir),
        _place("logs", settings.log_dir),
    )


def _place(what: str, folder: Path) -> Place:
    there = next((each for each in (folder, *folder.parents) if each.exists()), None)
    if there is None:
        return Place(what, str(folder), exists=False, writable=False)
    try:
        usage = shutil.disk_usage(there)
    except OSError:
        return Place(what, str(folder), folder.exists(), writable=False)
    writable = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    return Place(what, str(folder), folder.exists(), writable, usage.free, usage.total)


def private(settings: Settings) -> tuple[File, ...]:
    """The folder of the host's state, the state file, and the owner's key: nobody else's business."""
    return tuple(_file(path) for path in (settings.run_dir, settings.run_dir / state.FILE_NAME, settings.key_file))


def _file(path: Path) -> File:
    try:
        found = path.lstat()
    except OSError:
        return File(str(path))
    return File(str(path), mode(found), os.name == "nt" or found.st_uid == os.getuid(), stat.S_ISDIR(found.st_mode))


def host(settings: Settings) -> Host:
    """The host that is in use: the one that ILLAMA_BASE_URL names, or this user's on this machine. Starts none."""
    from illama.discovery import differences

    if settings.base_url:
        url = settings.base_url.removesuffix("/v1")
        said, wrong = _asked(url, settings.api_key, named=True)
        return Host(
            url,
            version=str(said.get("version", "")),
            protocol=said.get("protocol"),
            answers=not wrong,
            wrong=wrong,
            named=True,
        )
    found = state.read(settings.run_dir)
    if found is None:
        return Host()
    said, wrong = _asked(found.url, found.key, named=False)
    return Host(
        found.url,
        pid=found.pid,
        version=found.version,
        protocol=found.protocol,
        answers=not wrong,
        wrong=wrong,
        differences=tuple(differences(settings, found)),
    )


def _asked(url: str, key: str | None, *, named: bool) -> tuple[dict[str, Any], str]:
    """What a host says of itself, and what is wrong with that."""
    import httpx

    from illama import transport

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        with httpx.Client(**{**transport.options(url, named=named), "timeout": HOST_PATIENCE}) as http:
            answer = http.get(f"{url}/api/version", headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL) as problem:
        return {}, f"it does not answer ({_reason(problem)})"
    if answer.status_code in {401, 403}:
        return {}, "it does not take the key"
    try:
        said = answer.raise_for_status().json()
    except (httpx.HTTPError, ValueError):
        said = None
    return (said, "") if isinstance(said, dict) else ({}, "what answers there is no model host")


def hub(settings: Settings) -> Hub:
    """Whether the hub answers, and takes the token if there is one."""
    import httpx

    token, endpoint = settings.hf_token, _without_login(settings.hf_endpoint)
    checked = "unchecked" if token else "none"
    path = "/api/whoami-v2" if token else "/api/models?limit=1"
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with httpx.Client(timeout=HUB_PATIENCE) as http:
            answer = http.get(settings.hf_endpoint + path, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as problem:
        return Hub(endpoint, _reason(problem), checked)
    if answer.status_code >= 500 or answer.status_code == 407:
        return Hub(endpoint, f"it answers with status {answer.status_code}", checked)
    if token and answer.status_code in {200, 401, 403}:  # a mirror may not know the path
        checked = "good" if answer.status_code == 200 else "bad"
    return Hub(endpoint, "", checked)


def _reason(problem: Exception) -> str:
    import httpx

    if isinstance(problem, httpx.TimeoutException):
        return f"no answer within {HUB_PATIENCE:g} s"
    lines = re.sub(r"^\[Errno -?\d+\] ", "", str(problem).strip()).splitlines()
    return lines[0] if lines else type(problem).__name__
