"""The panel as a widget: a place in the page, and messages to the kernel for where there is no other way.

Knows: anywidget. Does not know: what the messages ask for. A saved notebook keeps nothing of what it showed.
"""

from __future__ import annotations

from typing import Any

import anywidget
import traitlets

from illama.notebook.bridge import STATIC, Bridge

_SAID = "illama's panel: models, the device and a chat. It is live where a notebook runs: illama.panel()"


class Panel(anywidget.AnyWidget):
    """The panel in a cell's output or a sidecar."""

    _esm = STATIC / "widget.js"

    # Whether it stands beside the notebook, if the page has room there: else it is where its cell is.
    docked = traitlets.Bool(default_value=False).tag(sync=True)

    def __init__(self, *, docked: bool) -> None:
        super().__init__(docked=docked)
        self._bridge = Bridge(self.send)
        self.on_msg(self._receive)

    def _receive(self, _widget: Any, content: Any, _buffers: Any) -> None:
        self._bridge.receive(content)

    def close(self) -> None:
        """End what is under way, and take the panel away."""
        self._bridge.close()
        super().close()

    def __repr__(self) -> str:
        return _SAID

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The widget, and a sentence for who can show none."""
        said = {"text/plain": _SAID, "text/html": f"<p>{_SAID}</p>"}
        shown = super()._repr_mimebundle_(**kwargs)
        return said if shown is None else ({**shown[0], **said}, shown[1])
