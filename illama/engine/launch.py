"""The command lines by which the host starts processes that need OpenVINO.

Knows: which interpreter, and how to run illama's engine modules in it. Does not know: pipes, models.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from illama.config import Settings

# The engine's interpreter need not have illama installed, nor its dependencies: the package is handed to it as a path,
# and its `__init__` is not run. Only modules that use the standard library and OpenVINO may be named so.
#
# Importing openvino sends usage data to its makers, from a forked child that inherits the engine's pipe and has been
# seen to hang with it in hand. Nobody asked for that: the module is made unimportable, for which openvino is prepared.
_BOOTSTRAP = (
    "import sys, types, importlib; sys.modules['openvino_telemetry'] = None;"
    "package = types.ModuleType('illama'); package.__path__ = [sys.argv.pop(1)]; sys.modules['illama'] = package;"
    "importlib.import_module(sys.argv.pop(1)).main()"
)


def command(settings: Settings, module: str, *arguments: str) -> list[str]:
    """The command that runs `main()` of one of illama's modules in the engine's interpreter."""
    python = str(settings.engine_python or sys.executable)
    package = str(Path(__file__).parent.parent)
    return [python, "-c", _BOOTSTRAP, package, module, *arguments]


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of such a process: without secrets that it has no use for."""
    hidden = ("ILLAMA_API_KEY", "HF_TOKEN")
    return {**{k: v for k, v in environ.items() if k not in hidden}, "PYTHONUNBUFFERED": "1"}
