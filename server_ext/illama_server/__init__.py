"""Jupyter's way to the model host: its APIs behind Jupyter's own login, and the panel as a page.

Knows: how Jupyter finds the extension and its launcher tile. Does not know: models; the extension is a gate.
"""

from __future__ import annotations

import os
from typing import Any

from illama import __version__
from illama_server.front import FOLDER

__all__ = ["__version__", "launcher_tile"]


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    from illama_server.app import IllamaServerApp

    return [{"module": "illama_server", "app": IllamaServerApp}]


def launcher_tile() -> dict[str, Any]:
    """The tile in JupyterLab's launcher, as jupyter-server-proxy's entry point wants it."""
    return {
        # Each entry also mounts a proxy of its own name, without an XSRF check. The file below cannot exist, so that
        # proxy reaches nothing; the tile opens the page, which is served by the gate itself.
        "unix_socket": f"{os.devnull}/nothing",
        "new_browser_tab": False,
        "launcher_entry": {
            "title": "illama",
            "category": "Notebook",  # Lab shows the icons of tiles there and under Console only
            "path_info": "illama/ui/",
            "icon_path": str(FOLDER / "icon.svg"),
        },
    }
