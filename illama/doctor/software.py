"""Reads Python, its packages and their conflicts, the converter, and Jupyter's configuration, starting no server.

Knows: packages' metadata, Jupyter's configuration files. Does not know: what follows from the facts. Nothing heavy is
imported: of OpenVINO, torch and their like only the metadata are read, in other environments by their own Python.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import platform
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from illama.config import Settings
from illama.doctor.facts import Converter, Jupyter, Python
from illama.errors import PullError

Installed = dict[str, importlib.metadata.Distribution]
ENGINE = ("openvino", "openvino-genai", "openvino-tokenizers")
CONVERTER = ("optimum-intel", "optimum", "nncf", "transformers", "torch", "openvino", "huggingface-hub")
_SHOWN = (*ENGINE, "huggingface-hub", "tornado", "httpx", "aiohttp", "ipykernel", "jupyterlab", *CONVERTER[:5])
# Conflicts are looked for among these and what they need: those of an unrelated package are not ours to tell.
_ROOTS = (
    "illama",
    *ENGINE,
    "huggingface-hub",
    "tornado",
    "msgspec",
    "httpx",
    "psutil",
    "filelock",
    "aiohttp",
    "prompt-toolkit",
    "prometheus-client",
    "jupyter-server",
    "jupyter-server-proxy",
    "jupyterlab",
    "ipykernel",
    "optimum-intel",
)
_PATIENCE = 10.0
_ASK = (
    "import sys, json, importlib.metadata as m\n"
    "found = {}\n"
    "for name in sys.argv[1:]:\n"
    "    try: found[name] = m.version(name)\n"
    "    except m.PackageNotFoundError: pass\n"
    "print(json.dumps(found))"
)


def installed_here() -> Installed:
    """The packages of this environment by their normal names. Reads all of their metadata: once is enough."""
    found: Installed = {}
    for each in importlib.metadata.distributions():
        try:
            metadata = each.metadata
            name = str(metadata["Name"]) if "Name" in metadata else ""
        except (OSError, TypeError):
            name = ""
        if name:  # a folder that an uninstall left behind has none
            found.setdefault(canonicalize_name(name), each)  # the first on the path is the one that is imported
    return found


def python(installed: Installed) -> Python:
    """This interpreter and its packages."""
    return Python(
        version=platform.python_version(),
        executable=sys.executable,
        packages={name: installed[name].version for name in dict.fromkeys(_SHOWN) if name in installed},
        conflicts=tuple(conflicts(installed, _ROOTS)),
    )


def conflicts(installed: Installed, roots: Iterable[str]) -> list[str]:
    """A sentence for each requirement of these packages, and of those they need, that is not met."""
    found, queue = [], [canonicalize_name(name) for name in roots]
    seen = set(queue)
    for name in queue:
        if name not in installed:
            continue
        for line in installed[name].requires or ():
            try:
                wanted = Requirement(line)
                if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
                    continue
            except (InvalidRequirement, ValueError):
                continue
            needed = canonicalize_name(wanted.name)
            there = installed.get(needed)
            if there is None:
                found.append(f"{name} needs {wanted.name}{wanted.specifier}, which is not installed")
            elif not _meets(wanted, there.version):
                found.append(f"{name} needs {wanted.name}{wanted.specifier}, but {there.version} is installed")
            if needed not in seen:
                seen.add(needed)
                queue.append(needed)
    return found


def _meets(wanted: Requirement, version: str) -> bool:
    try:
        return wanted.specifier.contains(version, prereleases=True)
    except ValueError:
        return True  # a version that follows no rule: nothing can be said


def versions(interpreter: Path | str, names: Iterable[str]) -> dict[str, str]:
    """The versions of these packages in another environment. Raises OSError, ValueError or SubprocessError."""
    run = subprocess.run(
        [str(interpreter), "-c", _ASK, *names], capture_output=True, text=True, timeout=_PATIENCE, check=True
    )
    found: dict[str, str] = json.loads(run.stdout.strip().splitlines()[-1])
    return found


def engine_packages(settings: Settings, installed: Installed) -> dict[str, str]:
    """OpenVINO's packages for the engine's interpreter; none if it cannot be asked."""
    try:
        if settings.engine_python:
            return versions(settings.engine_python, ENGINE)
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        return {}
    return {name: installed[name].version for name in ENGINE if name in installed}


def converter(settings: Settings) -> Converter:
    """What would convert a checkpoint now, as a pull chooses it."""
    from illama.pull import environment

    named = settings.converter_python
    try:
        found = environment.find(settings)
    except PullError as problem:
        return Converter("ILLAMA_CONVERTER_PYTHON", str(named), {}, problem.message)
    if found is None:
        return Converter()
    source = "ILLAMA_CONVERTER_PYTHON" if named else "an environment of its own" if found.own else "this environment"
    try:
        return Converter(source, str(found.python), versions(found.python, CONVERTER))
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        return Converter(source, str(found.python), {}, f"{found.python} does not run any more")


def jupyter(installed: Installed, folders: list[Path] | None = None) -> Jupyter:
    """Whether Jupyter servers of this environment load illama's extension, as their JSON configuration says.

    `folders` are Jupyter's own configuration folders unless given, the one that counts most first.
    """
    if folders is None:
        try:
            from jupyter_core.paths import jupyter_config_path
        except ImportError:
            return Jupyter()
        folders = [Path(each) for each in jupyter_config_path()]
    enabled, named = None, ""
    for folder in reversed(folders):
        # What a later file says counts; the file of the folder itself counts more than those beside it.
        for file in [
            *sorted((folder / "jupyter_server_config.d").glob("*.json")),
            folder / "jupyter_server_config.json",
        ]:
            said = _extension(file)
            if said is not None:
                enabled, named = said, str(file)
    return Jupyter(
        server=_version(installed, "jupyter-server"),
        proxy=_version(installed, "jupyter-server-proxy"),
        extension=importlib.util.find_spec("illama_server") is not None,
        enabled=enabled,
        file=named,
    )


def _extension(file: Path) -> bool | None:
    try:
        found: Any = json.loads(file.read_text(encoding="utf-8"))
        said = found["ServerApp"]["jpserver_extensions"]["illama_server"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return bool(said)


def _version(installed: Installed, name: str) -> str:
    return installed[name].version if name in installed else ""
