"""The container recipe: without containers here, what it says is held against what the tests run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from support_host import eventually, fake_model

from illama.cli.parser import build
from illama.config import BY_NAME, Settings
from illama.host import state
from illama.notebook.recipes import OPEN_WEBUI_MODELS

ROOT = Path(__file__).resolve().parent.parent
CONTAINERS = ROOT / "containers"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((CONTAINERS / "compose.yaml").read_text())
    return found


def stages() -> dict[str, str]:
    """The Containerfile's text by the name of its stage."""
    parts = re.split(r"^FROM \S+ AS (\S+)$", (CONTAINERS / "Containerfile").read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def command(stage: str) -> list[str]:
    found = re.search(r"^CMD (\[.*\])$", stages()[stage], re.MULTILINE)
    assert found
    return list(yaml.safe_load(found[1]))


def commands_in_the_comment() -> list[list[str]]:
    """The `illama` commands that compose.yaml's first lines, and the guide, tell people to run."""
    texts = (CONTAINERS / "compose.yaml").read_text() + (ROOT / "docs" / "connecting.md").read_text()
    return [shlex.split(found) for found in re.findall(r"exec (?:-T )?illama (illama [^)`\n]*)", texts)]


def test_each_service_builds_a_stage_that_is_there(compose: dict[str, Any]):
    for name, service in compose["services"].items():
        assert service["build"]["target"] == name
        assert name in stages()
        assert (CONTAINERS / service["build"]["context"] / service["build"]["dockerfile"]).resolve().is_file()
        for volume in service["volumes"]:
            source, _, target = volume.partition(":")
            assert source in compose["volumes"]
            assert f"mkdir -m 700 {target}" in stages()[name]


def test_its_commands_are_commands(compose: dict[str, Any]):
    assert command("illama") == ["illama", "serve"]
    assert command("open-webui") == ["open-webui", "serve"]  # as tests/long/open_webui.py starts it
    told = commands_in_the_comment()
    assert len(told) >= 4
    for words in [command("illama"), *told]:
        assert build().parse_args(words[1:]).handler


def test_open_webui_gets_the_settings_that_the_magic_prints(compose: dict[str, Any]):
    environment = compose["services"]["open-webui"]["environment"]
    assert environment["DEFAULT_MODEL_METADATA"] == OPEN_WEBUI_MODELS
    assert environment["ENABLE_OLLAMA_API"] == "false"
    assert environment["OPENAI_API_BASE_URL"] == f"http://illama:{BY_NAME['ILLAMA_PORT'].default}/v1"
    assert environment["OPENAI_API_KEY"] == "${OPEN_WEBUI_KEY:-}"


def test_nothing_is_published_beyond_this_machine(compose: dict[str, Any]):
    for service in compose["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_the_host_in_these_settings_serves_its_neighbour_with_an_inference_key_and_nobody_else(
    compose: dict[str, Any], home: Path, unused_port: int
):
    fake_model(home, "echo")
    chosen = {**compose["services"]["illama"]["environment"], "ILLAMA_HOME": str(home)}
    assert set(chosen) <= set(BY_NAME)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ILLAMA_")}
    env = {**kept, **chosen, "ILLAMA_ENGINE": "fake", "ILLAMA_PORT": str(unused_port)}
    Settings.load(env)
    run = [sys.executable, "-m", "illama.cli"]
    host = subprocess.Popen([*run, *command("illama")[1:]], env=env, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        eventually(lambda: state.read(home / "run"), "the host serves")
        made = subprocess.run([*run, "key", "add", "open-webui"], env=env, cwd=ROOT, capture_output=True, text=True)
        headers = {"Authorization": f"Bearer {made.stdout.strip()}", "Host": f"illama:{unused_port}"}
        url = f"http://127.0.0.1:{unused_port}"
        assert [each["id"] for each in httpx.get(f"{url}/v1/models", headers=headers).json()["data"]] == ["echo"]
        body = {"model": "echo", "messages": [{"role": "user", "content": "hello"}]}
        answer = httpx.post(f"{url}/v1/chat/completions", headers=headers, json=body, timeout=60)
        assert answer.json()["choices"][0]["message"]["content"] == "hello"
        assert httpx.get(f"{url}/api/ps", headers=headers).status_code == 403
        assert httpx.get(f"{url}/v1/models", headers={**headers, "Host": "evil.example"}).status_code == 403
    finally:
        host.terminate()
        host.wait(60)


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
