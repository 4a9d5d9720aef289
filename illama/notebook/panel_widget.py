"""The panel as a widget: a place in the page, and messages to the kernel for where there is no other way.

Knows: anywidget. Does not know: what the messages ask for. It has no state of its own, so a saved notebook keeps none.
"""

from __future__ import annotations

from typing import Any

import anywidget

from illama.notebook.bridge import STATIC, Bridge

_SAID = "illama's panel: models, the device and a chat. It is live in a notebook that runs: illama.panel()"
_BESIDE = "illama's panel stands beside the notebook."


class Panel(anywidget.AnyWidget):
    """The panel in a cell's output or a sidecar."""

    _esm = STATIC / "widget.js"

    def __init__(self) -> None:
        super().__init__()
        self.docked = False
        self._bridge = Bridge(self.send)
        self.on_msg(self._receive)

    def _receive(self, _widget: Any, content: Any, _buffers: Any) -> None:
        self._bridge.receive(content)

    def close(self) -> None:
        """End what is under way, and take the panel away."""
        self._bridge.close()
        super().close()

    def __repr__(self) -> str:
        return _BESIDE if self.docked else _SAID

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The widget, and a sentence for who can show none. A docked one is not shown a second time."""
        said = {"text/plain": repr(self), "text/html": f"<p>{self!r}</p>"}
        if self.docked:
            return said
        shown = super()._repr_mimebundle_(**kwargs)
        return said if shown is None else ({**shown[0], **said}, shown[1])
