"""The extension's wiring: its options, its table of handlers, its end.

Knows: traits and URLs. Does not know: how a request is checked or passed on.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

from jupyter_server.extension.application import ExtensionApp
from traitlets import Bool, TraitError, Unicode, validate

from illama import discovery
from illama.errors import IllamaError
from illama_server import front, gate, page
from illama_server.host import Upstream


class IllamaServerApp(ExtensionApp):
    """Serves the model host's APIs under `{base_url}illama/`, behind Jupyter's own login."""

    name = "illama_server"
    extension_url = "/illama/ui/"
    load_other_extensions = True

    base_url = Unicode(
        help="URL of a model host to use instead of the user's own; none is started then. Default: ILLAMA_BASE_URL."
    ).tag(config=True)
    api_key = Unicode(help="The key of that host. Default: ILLAMA_API_KEY.").tag(config=True)
    start_host = Bool(True, help="Whether the first request that needs a host starts one.").tag(config=True)
    stop_host = Bool(
        False, help="Whether the user's own host ends with this server, whoever started it. Others may be using it."
    ).tag(config=True)
    allow_manage = Bool(
        None,
        allow_none=True,
        help="Whether who is logged in may pull, delete, make and copy models through the gate. "
        "Default: true for the user's own host, false for another one (base_url, ILLAMA_BASE_URL).",
    ).tag(config=True)

    @validate("base_url")
    def _is_url(self, proposal: dict[str, Any]) -> str:
        url: str = proposal["value"]
        if url and not url.startswith(("http://", "https://")):
            raise TraitError(f"IllamaServerApp.base_url is {url!r}, but must begin with http:// or https://.")
        return url.rstrip("/")

    def initialize_settings(self) -> None:
        """Make what all handlers share. Looks for no host yet: that may take a while, and may fail."""
        self.in_flight: set[object] = set()
        self.upstream = Upstream(base_url=self.base_url, api_key=self.api_key, start_host=self.start_host)

    def initialize_handlers(self) -> None:
        """The table of handlers; Jupyter puts its own base URL before each."""
        self.handlers.extend(
            [
                (r"/illama/(?:v1|api)/.*", gate.Gate, {"gate": self}),
                (r"/illama/ui", page.ToPage),
                (rf"/illama/ui/(|{'|'.join(map(re.escape, front.FILES))})", page.Page),
                (r"/illama(?:/.*)?", gate.Nothing),
            ]
        )

    def current_activity(self) -> dict[str, int] | None:
        """What keeps Jupyter from ending itself for idleness: answers that are under way."""
        return {"answers": len(self.in_flight)} if self.in_flight else None

    async def stop_extension(self) -> None:
        """Let go of the host, and end it if this server shall."""
        await self.upstream.close()
        if not self.stop_host:
            return
        try:
            settings = self.upstream.settings()
            if settings.base_url is None:
                await asyncio.to_thread(discovery.stop, settings)
        except IllamaError as problem:
            self.log.warning("The model host was not ended: %s", problem.one_line())
