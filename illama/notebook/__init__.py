"""illama in IPython: `%load_ext illama` brings `%illama` and `%%illama`.

Loading is cheap: the client is imported, and a host found or started, by the first magic that needs it.
"""

from __future__ import annotations

from typing import Any


def load_ipython_extension(ipython: Any) -> None:
    """Register the magics; IPython calls this for `%load_ext illama`. Loading again changes nothing."""
    from illama.notebook.magics import IllamaMagics

    if not isinstance(ipython.magics_manager.registry.get("IllamaMagics"), IllamaMagics):
        ipython.register_magics(IllamaMagics(shell=ipython))
