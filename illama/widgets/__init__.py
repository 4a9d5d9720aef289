"""ipywidgets for notebooks and Voilà: `ModelPicker`, `PullProgress`, `RunBox`, `HostStatus`.

Knows: where each widget is. Does not know: ipywidgets, which is imported when a widget is first asked for; without it
that raises ConfigError.

    >>> from illama.widgets import ModelPicker, RunBox  # doctest: +SKIP
    >>> RunBox("What is the capital of France?").run()  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from illama.widgets.picker import ModelPicker
    from illama.widgets.pulling import PullProgress
    from illama.widgets.running import RunBox
    from illama.widgets.status import HostStatus

__all__ = ["HostStatus", "ModelPicker", "PullProgress", "RunBox"]

_HOMES = {"HostStatus": "status", "ModelPicker": "picker", "PullProgress": "pulling", "RunBox": "running"}


def __getattr__(name: str) -> Any:
    # PEP 562: whoever imports this package may have no ipywidgets, and need none.
    if name not in _HOMES:
        raise AttributeError(f"module 'illama.widgets' has no attribute {name!r}")
    import importlib
    import importlib.util

    if importlib.util.find_spec("ipywidgets") is None:
        from illama.errors import ConfigError

        raise ConfigError(
            f"{name} needs ipywidgets, which this environment does not have.",
            hint='`pip install "illama[lab]"`, then restart the kernel and reload the page.',
        )
    return getattr(importlib.import_module(f"illama.widgets.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
