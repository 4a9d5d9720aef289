"""illama: language models on Intel hardware, from a notebook.

Importing this package is cheap: everything heavy is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from illama.client import AsyncClient, Client, chat
    from illama.errors import IllamaError
    from illama.notebook import load_ipython_extension
    from illama.notebook.panel import panel

__version__ = "0.1.0"
__all__ = ["AsyncClient", "Client", "IllamaError", "__version__", "chat", "load_ipython_extension", "panel"]

_HOMES = {
    "AsyncClient": "illama.client",
    "Client": "illama.client",
    "IllamaError": "illama.errors",
    "chat": "illama.client",
    "load_ipython_extension": "illama.notebook",
    "panel": "illama.notebook.panel",
}


def __getattr__(name: str) -> Any:
    # PEP 562: `import illama` must not cost what a first answer costs.
    if name not in _HOMES:
        raise AttributeError(f"module 'illama' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
