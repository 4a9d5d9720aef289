"""What an installation has to bring, and the description of the API: no server is needed to see these."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from jupyter_server.extension.utils import get_metadata
from jupyter_server_proxy.config import ServerProcess
from tornado import web
from traitlets import TraitError

from illama.config import Settings
from illama.host.app import Host
from illama_server import launcher_tile
from illama_server.app import IllamaServerApp
from illama_server.gate import Gate

ROOT = Path(__file__).resolve().parent.parent
VERBS = ("get", "head", "post", "put", "patch", "delete")


def implemented(handler: type[web.RequestHandler]) -> set[str]:
    return {verb for verb in VERBS if getattr(handler, verb) is not getattr(web.RequestHandler, verb)}


def test_jupyter_finds_the_extension_by_its_name():
    module, points = get_metadata("illama_server")
    assert module.__name__ == "illama_server"
    assert points == [{"module": "illama_server", "app": IllamaServerApp}]


def test_the_configuration_that_is_installed_enables_it():
    (path,) = (ROOT / "server_ext" / "jupyter-config").rglob("*.json")
    assert path.parent.name == "jupyter_server_config.d"
    assert json.loads(path.read_text()) == {"ServerApp": {"jpserver_extensions": {"illama_server": True}}}


def test_the_extension_imports_nothing_heavy():
    code = "import illama_server.app, sys; print(' '.join(sys.modules))"
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = ['server_ext', '.']\n{code}"]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()
    assert {"openvino", "openvino_genai", "torch", "transformers", "numpy", "pandas"}.isdisjoint(loaded)
    assert {"illama.host.app", "illama.host.dispatcher", "illama.registry", "illama.engine"}.isdisjoint(loaded)


def test_the_tile_opens_the_page_and_its_own_proxy_reaches_nothing():
    tile = ServerProcess(name="illama-tile", **launcher_tile())
    assert tile.launcher_entry.path_info == "illama/ui/"
    assert Path(tile.launcher_entry.icon_path).is_file()
    assert not tile.command
    assert not tile.port
    with socket.socket(socket.AF_UNIX) as connection, pytest.raises(NotADirectoryError):
        connection.connect(tile.unix_socket)


def test_the_description_has_the_hosts_endpoints_and_no_others():
    described = yaml.safe_load((ROOT / "server_ext" / "illama_server" / "rest-api.yml").read_text())["paths"]
    documented = {
        (re.sub(r"\{\w+\}", "(.+)", path), verb)
        for path, operations in described.items()
        for verb in operations.keys() & set(VERBS)
    }
    table = Host(Settings.load(), "key", on_demand=True).application().wildcard_router.rules
    served = {
        (rule.matcher.regex.pattern.rstrip("$"), verb)  # type: ignore[attr-defined]
        for rule in table
        for verb in implemented(rule.target)
    }
    assert documented == {(path, verb) for path, verb in served if path.startswith(("/v1", "/api"))}
    assert {verb for _, verb in documented} <= implemented(Gate)


def test_another_host_has_to_be_a_url():
    with pytest.raises(TraitError, match="http"):
        IllamaServerApp(base_url="127.0.0.1:11434")
