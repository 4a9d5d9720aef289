"""How other programs reach this user's models: through the Jupyter server of this kernel, or at the host itself.

Knows: what a kernel can find out about its server, on JupyterHub too, and whether illama's extension answers there.
Does not know: keys' files, clients, how a connection is shown.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from illama import transport
from illama.errors import ConfigError

# Stands for what a kernel on a hub without a public URL in its configuration cannot know.
UNKNOWN_HUB = "https://YOUR-HUB"
# Seconds for the server on this machine to say whether the extension is there.
_LOOK_WAIT = 5.0


@dataclass(frozen=True)
class Connection:
    """Where a program sends its requests, and with which key.

    `url` is without `/v1`, `local` the same from this machine; `key` is None if there is none that a program could be
    given; `key_is` says in words what it is. `problem` says why a program would not get in with that key, or is empty;
    `takes_inference_keys` whether one of those would open it all the same. `notes` are sentences for the user.
    """

    url: str
    key: str | None = field(repr=False)
    key_is: str
    through: str
    local: str = ""
    problem: str = ""
    takes_inference_keys: bool = True
    notes: tuple[str, ...] = ()

    @property
    def base_url(self) -> str:
        """What OpenAI's clients call the base URL."""
        return f"{self.url}/v1"

    def refuses(self, key: str) -> bool:
        """Whether an inference key that was just made is none there: the gate leads to a host of somebody else's."""
        answer = _look(self.local, {"Authorization": f"Bearer {key}"})
        return answer is not None and answer.status_code in {401, 403}


@dataclass(frozen=True)
class _Server:
    """A Jupyter server: the URL for others, the URL from here, its token, and its kind. URLs end with a `/`."""

    url: str
    local: str
    token: str
    kind: str


def through_jupyter(environ: Mapping[str, str] | None = None, *, at: str | None = None) -> Connection | None:
    """The way through the Jupyter server that this kernel belongs to; None if it belongs to none.

    `at` is the address by which others reach that server, such as https://hub.example. Raises ConfigError if it is no
    address. Asks the server whether illama's extension is there: this may take up to five seconds.
    """
    environ = os.environ if environ is None else environ
    server = _on_hub(environ) or _on_plain_server(environ)
    if server is None:
        return None
    url = _moved(server.url, at) if at else server.url
    notes = []
    if url.startswith(UNKNOWN_HUB):
        notes.append(
            f"{UNKNOWN_HUB} is what stands before {urlsplit(url).path} in your browser's address bar; "
            "`--at ADDRESS` puts it in."
        )
    if server.kind == "JupyterHub":
        notes.append(
            "A token of your own, from the hub's page /hub/token, is a key too; this server's own ends with the server."
        )
    elif not at and transport.is_loopback(url):
        notes.append(
            "This address is for programs on this machine. `--at ADDRESS` puts in the one by which others reach this "
            "Jupyter."
        )
    problem = _extension_problem(server)
    there = not problem
    if there and not server.token:
        problem = "this Jupyter server has no token that could be the key, but an inference key opens it (`--key NAME`)"
    key_is = "your JupyterHub server's token" if server.kind == "JupyterHub" else "the Jupyter token"
    local = f"{server.local}illama" if server.local else ""
    return Connection(f"{url}illama", server.token or None, key_is, server.kind, local, problem, there, tuple(notes))


def _on_hub(environ: Mapping[str, str]) -> _Server | None:
    prefix, token = environ.get("JUPYTERHUB_SERVICE_PREFIX"), environ.get("JUPYTERHUB_API_TOKEN")
    if not prefix or not token:
        return None
    local = environ.get("JUPYTERHUB_SERVICE_URL", "")
    # Bound to everything means reachable on loopback too.
    local = local.replace("//0.0.0.0", "//127.0.0.1").replace("//[::]", "//[::1]")
    public = environ.get("JUPYTERHUB_PUBLIC_URL") or environ.get("JUPYTERHUB_HOST", "") + prefix
    url = public if public.startswith(("http://", "https://")) else UNKNOWN_HUB + prefix
    return _Server(_slashed(url), _slashed(local) if local else "", token, "JupyterHub")


def _on_plain_server(environ: Mapping[str, str]) -> _Server | None:
    pid = environ.get("JPY_PARENT_PID", "")
    if not pid.isdecimal():
        return None
    try:
        from jupyter_core.paths import jupyter_runtime_dir

        found = json.loads(Path(jupyter_runtime_dir(), f"jpserver-{pid}.json").read_text(encoding="utf-8"))
        url = _slashed(str(found["url"]))
    except (ImportError, OSError, ValueError, KeyError, TypeError):
        return None  # a kernel of a console, of nbconvert or of an editor
    if not url.startswith(("http://", "https://")):
        return None  # a Unix socket, which no other program's settings could name
    return _Server(url, url, str(found.get("token") or ""), "Jupyter")


def _extension_problem(server: _Server) -> str:
    """Why illama's extension would not answer there; empty if it does, or if nobody can tell from here."""
    headers = {"Authorization": f"token {server.token}"} if server.token else {}
    answer = _look(f"{server.local}illama", headers) if server.local else None
    if answer is None or answer.headers.get("Content-Type", "").startswith("application/json"):
        return ""
    return (
        "this Jupyter server does not have illama's extension: install illama into the server's environment, "
        "and start the server again"
    )


def _look(url: str, headers: dict[str, str]) -> httpx.Response | None:
    # A poll: it starts no host, and counts as no activity.
    if not url:
        return None
    url += "/api/version?no_track_activity=1"
    try:
        return httpx.get(url, headers=headers, timeout=_LOOK_WAIT, trust_env=not transport.is_loopback(url))
    except httpx.HTTPError:
        return None


def _moved(url: str, at: str) -> str:
    """The URL with the address that others use: its scheme, host and port, and a path in front if it has one."""
    wanted, path = urlsplit(at), urlsplit(url).path
    if wanted.scheme not in {"http", "https"} or not wanted.netloc:
        raise ConfigError(f"{at!r} is no address.", hint="Give one such as https://hub.example, without what follows.")
    prefix = wanted.path.rstrip("/")
    # Copied from the browser's address bar, it has the server's own path already, and whatever is open behind it.
    front = "" if f"{wanted.path.rstrip('/')}/".startswith(path) else prefix
    return f"{wanted.scheme}://{wanted.netloc}{front}{path}"


def _slashed(url: str) -> str:
    return url if url.endswith("/") else f"{url}/"
