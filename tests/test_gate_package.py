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
from illama_server import launcher_tile, paths
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


def served() -> dict[tuple[str, str], type[web.RequestHandler]]:
    """What the host serves below the gate's two trees: path with its groups as `{name}`, and verb."""
    table = Host(Settings.load(), "key", on_demand=True).application().wildcard_router.rules
    paths = {rule.matcher.regex.pattern.rstrip("$"): rule.target for rule in table}  # type: ignore[attr-defined]
    return {
        (re.sub(r"\([^()]*\)", "{name}", path), verb): handler
        for path, handler in paths.items()
        if path.startswith(("/v1/", "/api/"))
        for verb in implemented(handler)
    }


def test_the_description_has_the_hosts_endpoints_and_no_others():
    described = yaml.safe_load((ROOT / "server_ext" / "illama_server" / "rest-api.yml").read_text())["paths"]
    documented = {
        (re.sub(r"\{\w+\}", "{name}", path), verb): operation["summary"]
        for path, operations in described.items()
        for verb, operation in operations.items()
        if verb in VERBS
    }
    lines = [
        f"  {path}:\n    {verb}: {{summary: {(handler.__doc__ or '').splitlines()[0]!r}, responses: *answers}}"
        for (path, verb), handler in served().items()
        if (path, verb) not in documented
    ]
    gone = sorted(documented.keys() - served().keys())
    assert not lines, "\n".join(["server_ext/illama_server/rest-api.yml lacks, under paths:", *lines])
    assert not gone, f"server_ext/illama_server/rest-api.yml describes what the host does not serve: {gone}"
    assert {verb for _, verb in documented} <= implemented(Gate)
    assert all(documented.values())


def test_what_is_the_owners_at_the_host_is_guarded_at_the_gate():
    owners = {path for (path, _), handler in served().items() if handler.needs == "owner"}  # type: ignore[attr-defined]
    looks_only = {"/api/ps"}
    unguarded = {path for path in owners - looks_only if not paths.manages(*path[1:].split("/", 1))}
    assert not unguarded, (
        f"{sorted(unguarded)}: if these change what is installed, put their first words into _MANAGING in "
        "server_ext/illama_server/paths.py, so that allow_manage forbids them; if they only show something, name them."
    )


def test_another_host_has_to_be_a_url():
    with pytest.raises(TraitError, match="http"):
        IllamaServerApp(base_url="127.0.0.1:11434")
