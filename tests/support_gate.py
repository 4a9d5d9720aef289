"""A real Jupyter server with the extension, in each of the ways in which people log in."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from jupyter_server.auth import passwd
from support_kernels import ROOT, environment
from support_lab import server_url

TOKEN = "the-jupyter-token"
PASSWORD = "the-jupyter-password"


@dataclass
class Jupyter:
    """A running server: its URL with a `/` at its end, and how to be somebody there."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path
    http: httpx.Client = field(repr=False)

    @property
    def gate(self) -> str:
        """The gate's URL, without a `/` at its end."""
        return self.url + "illama"

    def logged_in(self, password: str) -> tuple[dict[str, str], str]:
        """The cookies of a browser that has logged in, and the value that its pages send as X-XSRFToken."""
        with httpx.Client(follow_redirects=False, trust_env=False) as browser:
            browser.get(self.url + "there-is-no-such-page")  # every page of Jupyter's brings the _xsrf cookie
            if password:
                form = {"password": password, "_xsrf": browser.cookies["_xsrf"]}
                assert browser.post(self.url + "login", data=form).status_code == 302
            return dict(browser.cookies), browser.cookies["_xsrf"]

    def cookieless(self, method: str, path: str, **more: object) -> httpx.Response:
        """One request of somebody who has never been here."""
        self.http.cookies.clear()
        return self.http.request(method, self.gate + path, **more)  # type: ignore[arg-type]


@contextmanager
def jupyter_server(
    home: Path,
    *arguments: str,
    token: str = TOKEN,
    password: str = "",
    base_url: str = "/",
    program: str = "jupyter_server",
    port: int = 0,
    **variables: str,
) -> Iterator[Jupyter]:
    """Run a Jupyter server whose gate leads to the host of this home. `program` is `jupyterlab` for a whole Lab.

    `port` is for a server that comes back: 0 is any.
    """
    scratch = home.parent
    notebooks = scratch / "notebooks"
    notebooks.mkdir(exist_ok=True)
    env = environment(home, **{"ILLAMA_ENGINE": "fake", **variables})
    env["PYTHONPATH"] = os.pathsep.join([str(scratch), str(ROOT), str(ROOT / "server_ext")])
    command = [
        *(sys.executable, "-m", program, "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"),
        f"--ServerApp.root_dir={notebooks}",
        f"--ServerApp.base_url={base_url}",
        "--ServerApp.jpserver_extensions={'illama_server': True}",
        f"--IdentityProvider.token={token}",
        *([f"--PasswordIdentityProvider.hashed_password={passwd(password)}"] if password else []),
        *arguments,
    ]
    log = scratch / "jupyter.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, env=env, stdout=output, stderr=subprocess.STDOUT)
    try:
        url = server_url(Path(env["JUPYTER_RUNTIME_DIR"]), process, log)
        with httpx.Client(timeout=60, trust_env=False) as http:
            yield Jupyter(url.replace("localhost", "127.0.0.1"), process, log, http)
    finally:
        process.terminate()
        process.wait(30)
