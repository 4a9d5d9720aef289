"""A real JupyterHub before two users' servers: who reaches whose models, what is said when none runs, what is culled.

    python tests/long/hub.py [--venv FOLDER]

Makes an environment with jupyterhub, jupyterlab and this checkout by pip, gets configurable-http-proxy by npm, and
starts a hub with the dummy authenticator, a local spawner and the idle culler; models are answered by the fake engine.
`--venv` keeps the environment for the next run. About four minutes, two of them the culler's. Exit code 1 if one of
these does not hold:

- A user's hub token opens their own `/user/NAME/illama/v1`, by the unmodified openai SDK, streamed, and no other
  user's; no token and a wrong one open none. Every refusal is JSON in the shape of the path's dialect.
- Each user has a host of their own, and an inference key of one is none at the other's.
- `%illama url` in a kernel of a user finds the server's address and token, and what it prints works when pasted.
- A stream that lasts three times as long as the culler's patience is whole; when it is over, the server is culled.
- Who asks a server that is stopped for its models is told so, and where to start it. (It is the hub that answers then.
  To a POST it says 403 in HTML, with a word about XSRF: nothing of ours is there to say it better.)
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import httpx  # noqa: E402 - found by the path above
import openai  # noqa: E402
from jupyter_client.blocking import BlockingKernelClient  # noqa: E402
from support_host import eventually, fake_model  # noqa: E402
from support_kernels import end_host, run_cell, texts  # noqa: E402

USERS = ("ada", "bob")
CULL_AFTER = 20  # seconds
STREAM = 60
START_WAIT = 120.0

_CONFIG = """
c.JupyterHub.bind_url = "http://127.0.0.1:{port}/team/"
c.JupyterHub.hub_port = {hub_port}
c.JupyterHub.db_url = "sqlite:///{folder}/hub.sqlite"
c.JupyterHub.cookie_secret_file = "{folder}/cookie_secret"
c.ConfigurableHTTPProxy.command = ["{proxy}"]
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{proxy_port}"
c.ConfigurableHTTPProxy.pid_file = "{folder}/proxy.pid"
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = "{folder}/{{username}}"
c.Spawner.cmd = ["{bin}/jupyterhub-singleuser"]
c.Spawner.args = ["--allow-root"]
c.Spawner.environment = {{
    "ILLAMA_ENGINE": "fake",
    "ILLAMA_HOME": lambda spawner: "{folder}/" + spawner.user.name + "/home",
    "JUPYTERHUB_ACTIVITY_INTERVAL": "5",
    "PATH": "{bin}:" + __import__("os").environ["PATH"],
}}
c.JupyterHub.last_activity_interval = 5
c.JupyterHub.services = [
    {{"name": "tests", "api_token": "{token}"}},
    {{
        "name": "culler",
        "command": ["{bin}/python", "-m", "jupyterhub_idle_culler", "--timeout={cull}", "--cull-every=5"],
    }},
]
c.JupyterHub.load_roles = [
    {{"name": "tests", "scopes": ["admin:users", "admin:servers", "tokens"], "services": ["tests"]}},
    {{
        "name": "culler",
        "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
        "services": ["culler"],
    }},
]
"""


def installed(folder: Path) -> Path:
    """An environment with a hub, this checkout and the proxy; made if it is not there. Gives its `bin`."""
    bin_dir = folder / "bin"
    if not (bin_dir / "jupyterhub").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(bin_dir / "python"), "-m", "pip", "install", "-q"]
    subprocess.run([*pip, "jupyterhub>=5", "jupyterhub-idle-culler", "jupyterlab>=4.2", str(ROOT)], check=True)
    subprocess.run([*pip, "--no-deps", "--force-reinstall", str(ROOT)], check=True)  # the checkout as it is now
    if not (folder / "node_modules").exists():
        npm = shutil.which("npm")
        assert npm, "npm is needed for configurable-http-proxy"
        subprocess.run([npm, "install", "--silent", "--prefix", str(folder), "configurable-http-proxy"], check=True)
    return bin_dir


def free_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class Hub:
    """A running hub, and what an administrator does there."""

    def __init__(self, url: str, token: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.http = httpx.Client(
            base_url=f"{url}hub/api", headers={"Authorization": f"token {token}"}, timeout=60, trust_env=False
        )

    def token_of(self, user: str) -> str:
        """A token such as the user makes on the hub's page /hub/token."""
        made = self.http.post(f"/users/{user}/tokens", json={"note": "for a program"}).raise_for_status()
        return str(made.json()["token"])

    def running(self, user: str) -> bool:
        """Whether the user's server runs."""
        return bool(self.http.get(f"/users/{user}").raise_for_status().json()["server"])

    def start(self, user: str) -> None:
        """Start the user's server and wait until it answers."""
        self.http.post(f"/users/{user}/server").raise_for_status()
        eventually(lambda: self.running(user), f"the server of {user} runs", START_WAIT)

    def gate(self, user: str) -> str:
        """The address of the user's models."""
        return f"{self.url}user/{user}/illama"


@contextmanager
def running_hub(bin_dir: Path, folder: Path) -> Iterator[Hub]:
    """A hub with two users, whose registries have a made-up model each."""
    token, port = secrets.token_hex(16), free_port()
    proxy = bin_dir.parent / "node_modules" / ".bin" / "configurable-http-proxy"
    chosen = {"port": port, "hub_port": free_port(), "proxy_port": free_port(), "folder": folder, "bin": bin_dir}
    config = folder / "jupyterhub_config.py"
    config.write_text(_CONFIG.format(**chosen, proxy=proxy, token=token, cull=CULL_AFTER))
    for user in USERS:
        home = folder / user / "home"
        home.mkdir(parents=True, mode=0o700)
        fake_model(home, f"model-of-{user}")
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("ILLAMA_", "JUPYTER", "JPY_", "PYTHONPATH"))}
    with (folder / "hub.log").open("w") as log:
        hub = subprocess.Popen(
            [str(bin_dir / "jupyterhub"), "-f", str(config)], cwd=folder, env=environ, stdout=log, stderr=log
        )
    try:
        found = Hub(f"http://127.0.0.1:{port}/team/", token, folder)
        eventually(lambda: hub.poll() is not None or _answers(found), "the hub answers", START_WAIT)
        for user in USERS:
            found.http.post(f"/users/{user}").raise_for_status()
            found.start(user)
        yield found
    finally:
        with httpx.Client(timeout=60, trust_env=False) as http:
            for user in USERS:
                http.delete(f"{found.url}hub/api/users/{user}/server", headers=dict(found.http.headers))
        hub.terminate()
        hub.wait(60)
        for user in USERS:
            end_host({"ILLAMA_HOME": str(folder / user / "home")})


def _answers(hub: Hub) -> bool:
    try:
        return hub.http.get("/").status_code == 200
    except httpx.HTTPError:
        return False


def ask(hub: Hub, user: str, key: str | None, method: str = "GET", path: str = "/v1/models") -> httpx.Response:
    """One request to a user's gate."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    body = {"model": f"model-of-{user}", "messages": [{"role": "user", "content": "hello"}]}
    return httpx.request(
        method,
        hub.gate(user) + path,
        headers=headers,
        json=body if method == "POST" else None,
        timeout=60,
        trust_env=False,
    )


def sdk(hub: Hub, user: str, key: str) -> openai.OpenAI:
    """The unmodified SDK, as a user sets it up."""
    return openai.OpenAI(base_url=hub.gate(user) + "/v1", api_key=key, max_retries=0, timeout=300)


def streamed(client: openai.OpenAI, user: str, content: str) -> str:
    """An answer, streamed."""
    chunks = client.chat.completions.create(
        model=f"model-of-{user}", messages=[{"role": "user", "content": content}], stream=True
    )
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


# What must hold.


def each_user_reaches_their_own_models_only(hub: Hub) -> None:
    tokens = {user: hub.token_of(user) for user in USERS}
    for user, other in (USERS, reversed(USERS)):
        assert [m.id for m in sdk(hub, user, tokens[user]).models.list()] == [f"model-of-{user}"]
        assert streamed(sdk(hub, user, tokens[user]), user, "hello there") == "hello there"
        for key in (None, "wrong", tokens[other]):
            for method, path in (("GET", "/v1/models"), ("POST", "/v1/chat/completions"), ("DELETE", "/api/delete")):
                answer = ask(hub, user, key, method, path)
                assert answer.status_code in {401, 403}, (user, method, answer.status_code, answer.text[:300])
                assert answer.headers["Content-Type"].startswith("application/json"), (method, answer.text[:300])
                error = answer.json()["error"]
                assert path.startswith("/api") == isinstance(error, str), error


def an_inference_key_of_one_is_none_at_the_others(hub: Hub) -> None:
    from illama.config import Settings
    from illama.host.keys import InferenceKeys

    keys = InferenceKeys(Settings.load({"ILLAMA_HOME": str(hub.folder / "ada" / "home")}))
    key = keys.add("program")
    assert streamed(sdk(hub, "ada", key), "ada", "hello there") == "hello there"
    assert ask(hub, "bob", key, "POST", "/v1/chat/completions").status_code in {401, 403}
    assert ask(hub, "ada", key, "DELETE", "/api/delete").status_code == 403
    keys.remove("program")
    assert ask(hub, "ada", key).status_code in {401, 403}


def a_kernel_finds_what_to_paste(hub: Hub) -> None:
    token = hub.token_of("ada")
    headers = {"Authorization": f"token {token}"}
    with httpx.Client(base_url=f"{hub.url}user/ada/api", headers=headers, timeout=60, trust_env=False) as http:
        kernel = http.post("/kernels", json={"name": "python3"}).raise_for_status().json()["id"]
        (path,) = eventually(lambda: list((hub.folder / "ada").rglob(f"kernel-{kernel}.json")), "the kernel starts")
        client = BlockingKernelClient()
        client.load_connection_info(json.loads(path.read_text()))
        client.start_channels()
        try:
            client.wait_for_ready(timeout=60)
            run_cell(client, "%load_ext illama")
            shown = texts(run_cell(client, "%illama url"), "execute_result")[0]
            print("  " + shown.replace("\n", "\n  "))
            assert "/team/user/ada/illama/v1" in shown, shown
            assert "YOUR-HUB" in shown
            run_cell(client, f"a = %illama openai --at {hub.url.removesuffix('/team/')}")
            assert texts(run_cell(client, "a"), "execute_result"), "it is shown"
            said = run_cell(client, "print(a.base_url, a.api_key)")
            base_url, key = next(c["text"].split() for kind, c in said if kind == "stream")
        finally:
            client.stop_channels()
            http.delete(f"/kernels/{kernel}")
    assert base_url == hub.gate("ada") + "/v1", base_url
    assert key not in shown
    pasted = openai.OpenAI(base_url=base_url, api_key=key, max_retries=0)
    assert streamed(pasted, "ada", "hello there") == "hello there"


def a_long_stream_is_spared_and_an_idle_server_is_culled(hub: Hub) -> None:
    client = sdk(hub, "ada", hub.token_of("ada"))
    order = json.dumps({"step_sec": 0.5, "tokens": STREAM * 2, "text": "word"})
    begun = time.monotonic()
    assert streamed(client, "ada", f"/fake {order}") == "word" * (STREAM * 2)
    print(f"  a stream of {time.monotonic() - begun:.0f} s went through; the culler's patience is {CULL_AFTER} s")
    assert hub.running("ada")
    assert not hub.running("bob"), "who did nothing meanwhile is culled"
    eventually(lambda: not hub.running("ada"), "the idle server is culled", 3 * CULL_AFTER + 30)


def a_stopped_server_says_so(hub: Hub) -> None:
    client = sdk(hub, "ada", hub.token_of("ada"))
    said = ""
    try:
        client.models.list()
    except openai.APIStatusError as error:
        said = str(error)
    print(f"  the SDK says: {said}")
    assert "no longer running" in said
    answer = ask(hub, "ada", hub.token_of("ada"), "POST", "/v1/chat/completions")
    print(f"  to a POST the hub says: {answer.status_code} {answer.headers['Content-Type']}")
    assert answer.status_code in {403, 424}


CHECKS: tuple[Callable[[Hub], None], ...] = (
    each_user_reaches_their_own_models_only,
    an_inference_key_of_one_is_none_at_the_others,
    a_kernel_finds_what_to_paste,
    a_long_stream_is_spared_and_an_idle_server_is_culled,
    a_stopped_server_says_so,
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=Path, help="keep the environment in this folder")
    args = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory(prefix="illama-hub-") as scratch:
        bin_dir = installed((args.venv or Path(scratch) / "venv").absolute())
        with running_hub(bin_dir, Path(scratch)) as hub:
            for check in CHECKS:
                print(check.__name__.replace("_", " "), flush=True)
                try:
                    check(hub)
                except (AssertionError, httpx.HTTPError, openai.OpenAIError) as problem:
                    failed += 1
                    print(f"  FAILED: {type(problem).__name__}: {problem}", flush=True)
        if failed:
            print((Path(scratch) / "hub.log").read_text()[-6000:])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
