"""Finds the model host, or starts it: whoever comes first does so for all.

Knows: the state file, the lock of those who start, the host's environment, how it is ended. Does not know: models,
answers, or what the host does with its settings. A host counts as alive when it answers, not because its pid exists.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from illama import launcher, transport
from illama.config import BY_NAME, Settings
from illama.errors import HostError
from illama.host import logs
from illama.host.state import PROTOCOL, HostState, read, remove, running, secure

HOST_ARGUMENTS = ("-m", "illama.host", "--on-demand")

# Seconds. A start is a Python process that imports a web server: about one second, on a machine at its limit many.
START_WAIT = 120.0
ANSWER_WAIT = 15.0
HEALTH_WAIT = 2.0
POLL = 0.02

# What a detached process must not inherit: it outlives the login, kernel or server whose secrets these are. The owner's
# key, if it is set, is the one exception: the host has to know it.
SECRET_PREFIXES = ("JUPYTERHUB_", "JPY_")
SECRET_SUFFIXES = ("_TOKEN", "_SECRET", "_PASSWORD", "_API_KEY", "_ACCESS_KEY", "_ACCESS_KEY_ID", "_PRIVATE_KEY")

# Settings that a client reads for itself: a host with others is no surprise to anybody.
CLIENT_SIDE = {"ILLAMA_HOME", "ILLAMA_BASE_URL", "ILLAMA_STREAM"}


@dataclass(frozen=True)
class Endpoint:
    """Where to send requests, and the key for them. `state` is None for a host that ILLAMA_BASE_URL names.

    `warnings` are sentences about settings that differ between here and there.
    """

    url: str
    key: str | None = field(repr=False)
    state: HostState | None = None
    warnings: tuple[str, ...] = ()

    def gone(self) -> bool:
        """Whether the host's process has ended: its port may be anybody's by now, so nothing is sent there."""
        return self.state is not None and not self.state.alive()


def find(settings: Settings) -> Endpoint | None:
    """The host that is there, or None. Starts nothing.

    Raises HostError if the state's folder is not safe to use, or a host is there that does not answer.
    """
    if settings.base_url:
        return Endpoint(settings.base_url.removesuffix("/v1"), settings.api_key)
    secure(settings.run_dir)
    state = read(settings.run_dir)
    if state is None or not _proven(state):
        return None
    return Endpoint(state.url, state.key, state, tuple(differences(settings, state)))


def connect(settings: Settings, *, start: bool = True) -> Endpoint:
    """The host that is there, else (unless `start` is false) a new one.

    Raises HostError if there is none and none can be started, with the last lines of its log.
    """
    endpoint = find(settings)
    if endpoint and (endpoint.state is None or endpoint.state.protocol == PROTOCOL):
        return endpoint
    if not start:
        raise no_host() if endpoint is None else _other_protocol(endpoint)
    from filelock import FileLock, Timeout

    try:
        with FileLock(settings.run_dir / "start.lock", timeout=START_WAIT + ANSWER_WAIT, mode=0o600):
            endpoint = find(settings)  # somebody else may have started it while we waited
            if endpoint and endpoint.state and endpoint.state.protocol != PROTOCOL:
                _retire(endpoint, settings)
                endpoint = None
            return endpoint or _start(settings)
    except Timeout:
        raise HostError(
            "Another process has been starting the model host for too long.",
            hint=f"See {logs.path_of(settings, 'host')}, then try again.",
        ) from None


def no_host() -> HostError:
    """The error for a call that needs a host, but may not start one."""
    return HostError("No model host is running.", hint="`illama serve` starts one, as does `illama run`.")


def stop(settings: Settings, *, force: bool = False) -> HostState | None:
    """End this machine's host and wait until it is gone. Returns what it was, or None if there was none.

    It lets running requests finish, for as long as its ILLAMA_DRAIN_SEC; with `force` it is killed, its engines too.
    Raises HostError if it does not end.
    """
    secure(settings.run_dir)
    state = read(settings.run_dir)
    if state:
        _end(state, settings.run_dir, force=force)
    return state


def pulls(state: HostState) -> list[str]:
    """The sources of the pulls that this host has under way; none if it does not say at once."""
    try:
        with httpx.Client(**transport.options(state.url, named=False)) as http:
            key = {"Authorization": f"Bearer {state.key}"}
            told = http.get(state.url + "/api/ps", headers=key, timeout=HEALTH_WAIT).raise_for_status().json()
            return [str(job["source"]) for job in told["jobs"] if job["state"] == "running"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return []


def differences(settings: Settings, state: HostState) -> list[str]:
    """One sentence for each variable that is set here and that the running host has otherwise."""
    theirs = {**state.settings, "ILLAMA_HOST": state.host, "ILLAMA_PORT": state.port}
    found = [
        f"{name} is {value} here, but {theirs[name]} in {state}: the host's counts. "
        "`illama stop --host` ends it, and the next call starts one with your settings."
        for name, value in settings.public().items()
        if settings.is_set(name) and name not in CLIENT_SIDE and name in theirs and theirs[name] != value
    ]
    if settings.api_key and settings.api_key != state.key:
        found.append(f"ILLAMA_API_KEY is not the key of {state}: the host's is used, as this user may read it.")
    return found


def host_environment(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a detached host: `environ` without secrets, and the variables that `settings` come from."""
    kept = {
        name: value
        for name, value in environ.items()
        # Our own variables come from `settings`, which need not have been read from `environ`.
        if name not in BY_NAME and not name.startswith(SECRET_PREFIXES) and not name.upper().endswith(SECRET_SUFFIXES)
    }
    own = {k: v for k, v in settings.environment().items() if k not in {"HF_TOKEN", "ILLAMA_BASE_URL"}}
    # The host runs this very illama, also where it is used from a checkout.
    root = str(Path(__file__).resolve().parent.parent)
    if root not in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        kept["PYTHONPATH"] = os.pathsep.join(p for p in (root, environ.get("PYTHONPATH", "")) if p)
    return {**kept, **own}


def _start(settings: Settings) -> Endpoint:
    serving = _room_for_a_host(settings)
    if serving:
        return serving
    if settings.engine != "fake" and not settings.engine_python and not importlib.util.find_spec("openvino_genai"):
        raise HostError(
            f"This environment ({sys.prefix}) has no OpenVINO GenAI, so a host started from here could load no model.",
            hint="`pip install openvino-genai` here, or point ILLAMA_ENGINE_PYTHON to an interpreter that has it.",
        )
    log = logs.path_of(settings, "host")
    log.parent.mkdir(parents=True, exist_ok=True)
    logs.rotate(log)
    written = log.stat().st_size if log.exists() else 0
    pid = _launch(settings, log)
    deadline = time.monotonic() + START_WAIT
    while time.monotonic() < deadline:
        state = read(settings.run_dir)
        if state and _health(state.url) == 200:
            return Endpoint(state.url, state.key, state, tuple(differences(settings, state)))
        if not state and not running(pid):
            raise HostError(f"The model host ended as it started. {_tail(log, written)}", hint=f"Its log is {log}.")
        time.sleep(POLL)
    process = running(pid)
    if process:
        process.kill()
    raise HostError(
        f"The model host did not answer within {START_WAIT:g} s. {_tail(log, written)}", hint=f"Its log is {log}."
    )


def _room_for_a_host(settings: Settings) -> Endpoint | None:
    """Wait until a host that is on its way out, and no longer to be found, has let go of its lock.

    Returns the host that is there instead, if one was on its way in. Raises HostError if neither comes to its end.
    """
    from filelock import FileLock, Timeout

    limit = settings.drain_sec + ANSWER_WAIT
    deadline = time.monotonic() + limit
    while True:
        try:
            with FileLock(settings.run_dir / "host.lock", timeout=0, mode=0o600):
                return None
        except Timeout:
            pass
        found = find(settings)
        if found:
            return found
        if time.monotonic() > deadline:
            raise HostError(
                f"Another model host of this user has been starting or ending for {limit:g} s.",
                hint=f"See {logs.path_of(settings, 'host')}, then try again.",
            )
        time.sleep(POLL)


def _launch(settings: Settings, log: Path) -> int:
    command = [sys.executable, *HOST_ARGUMENTS]
    done = subprocess.run(
        # -I and -S: the launcher needs the standard library alone, and everybody waits for it.
        [sys.executable, "-I", "-S", launcher.__file__, str(log), str(settings.run_dir), *command],
        env=host_environment(settings, os.environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0 or not done.stdout.strip().isdigit():
        reason = (done.stderr.strip().splitlines() or ["no reason was given"])[-1]
        raise HostError(f"The model host cannot be started: {reason}.", hint=f"Its log would be {log}.")
    return int(done.stdout)


def _tail(log: Path, start: int, lines: int = 5) -> str:
    """The last lines that were written to a log behind `start`, as one line."""
    try:
        with log.open("rb") as file:
            file.seek(start)
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return "It left no log."
    last = [line.strip() for line in text.splitlines() if line.strip()][-lines:]
    return "Its last words: " + " / ".join(last) if last else "It said nothing."


def _health(url: str) -> int | None:
    """The status of `GET /health`; 0 if nothing listens there, None if no answer came in time."""
    try:
        with httpx.Client(**transport.options(url, named=False)) as http:
            return http.get(url + "/health", timeout=HEALTH_WAIT).status_code
    except httpx.ConnectError:
        return 0
    except httpx.HTTPError:
        return None


def _proven(state: HostState) -> bool:
    """Whether a live host answers. False if it ends meanwhile: one that is stopping is waited for."""
    begun = time.monotonic()
    while True:
        status = _health(state.url)
        if status == 200:
            return True
        if state.process() is None:
            return False
        limit = ANSWER_WAIT + (_drain(state) if status is not None else 0.0)
        if time.monotonic() - begun > limit:
            raise HostError(
                f"A model host runs, but does not answer: {state}.",
                hint="`illama stop --host --force` ends it, and the next call starts a new one.",
            )
        time.sleep(POLL)


def _drain(state: HostState) -> float:
    seconds = state.settings.get("ILLAMA_DRAIN_SEC", 30.0)
    return float(seconds) if isinstance(seconds, (int, float)) else 30.0


def _other_protocol(endpoint: Endpoint, what: str = "") -> HostError:
    state = endpoint.state
    assert state is not None, "a host that was named by its URL is taken as it is"
    older = state.protocol < PROTOCOL
    return HostError(
        f"The running host is of {'an older' if older else 'a newer'} illama{what}: {state}.",
        hint="`illama stop --host` ends it." if older else "Upgrade illama here, or end it by `illama stop --host`.",
    )


def _retire(endpoint: Endpoint, settings: Settings) -> None:
    """End a host of an older protocol, if it is idle. Raises HostError if it is not, or is newer than we are."""
    state = endpoint.state
    assert state is not None, "only a host of this machine has a protocol to compare"
    if state.protocol > PROTOCOL:
        raise _other_protocol(endpoint)
    try:
        with httpx.Client(**transport.options(state.url, named=False)) as http:
            key = {"Authorization": f"Bearer {state.key}"}
            answer = http.get(state.url + "/api/ps", headers=key, timeout=ANSWER_WAIT)
            told = answer.raise_for_status().json()
            idle = not any(m.get("running") or m.get("queued") or m.get("state") == "loading" for m in told["models"])
            idle = idle and not any(job.get("state") == "running" for job in told.get("jobs", ()))
    except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError):
        raise _other_protocol(endpoint, ", and does not say whether it is idle") from None
    if not idle:
        raise _other_protocol(endpoint, " and is at work")
    _end(state, settings.run_dir, force=False)


def _end(state: HostState, run_dir: Path, *, force: bool) -> None:
    process = state.process()
    limit = ANSWER_WAIT + (0 if force else _drain(state))
    try:
        if process and force:
            for child in process.children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended by itself
                    child.kill()
            process.kill()
        elif process:
            process.terminate()
    except psutil.NoSuchProcess:
        pass
    except psutil.AccessDenied:
        raise HostError(f"This user may not end {state}.", hint="Ask who started it.") from None
    deadline = time.monotonic() + limit
    while state.process():
        if time.monotonic() > deadline:
            raise HostError(
                f"The host has not ended within {limit:g} s: {state}.", hint="`illama stop --host --force`."
            )
        time.sleep(POLL)
    remove(run_dir, state)  # one that was killed leaves its file behind
