"""`illama.panel()`: the panel in a notebook, beside it where that can be.

Knows: what has to be installed, where the panel goes. Does not know: what it shows, or how that gets there.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from typing import Any

from illama.errors import ConfigError

# The sidecar that is open: a second one would only stand behind it.
_open: list[Any] = []


def panel(*, dock: bool | None = None) -> Any:
    """The models, the device and a chat, live: a widget, which the cell shows.

    `dock` puts it beside the notebook (with `sidecar`) where the page has room there, as JupyterLab has and Notebook 7
    has not; the cell then says so. Default: wherever `sidecar` is installed and Jupyter's server runs the notebook.
    Raises ConfigError if a package that it needs is not there.
    """
    _require("anywidget")
    from illama.notebook.panel_widget import Panel

    if dock is None:
        dock = docks(os.environ)
    made = Panel(docked=dock)
    if dock:
        _require("sidecar")
        _put_beside(made)
    return made


def docks(environ: Mapping[str, str]) -> bool:
    """Whether a panel stands beside the notebook, where nobody has said where."""
    # Jupyter's server sets it for the kernels of its notebooks; other programs cannot dock anything.
    return bool(environ.get("JPY_SESSION_NAME")) and importlib.util.find_spec("sidecar") is not None


def _put_beside(made: Any) -> None:
    from IPython.display import display
    from sidecar import Sidecar

    while _open:
        _open.pop().close()
    beside = Sidecar(title="illama", anchor="right")
    with beside:
        display(made)
    _open.append(beside)


def _require(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise ConfigError(
            f"The panel needs {package}, which is not installed here.",
            hint='pip install "illama[lab]" brings it; then reload the notebook\'s page.',
        )
