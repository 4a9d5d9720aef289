"""The page behind the launcher's tile: four static files.

Knows: their names and what they may do. Does not know: the host; the page asks for itself, through the gate.
"""

from __future__ import annotations

from pathlib import Path

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.utils import url_path_join
from tornado import web

from illama_server.access import AUTH_RESOURCE

_FOLDER = Path(__file__).parent / "page"
_FILES = {
    "": ("index.html", "text/html; charset=utf-8"),
    "page.js": ("page.js", "text/javascript; charset=utf-8"),
    "page.css": ("page.css", "text/css; charset=utf-8"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
}
_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
)


class Page(JupyterHandler):
    """`illama/ui/`: for people, so who is not logged in is sent to Jupyter's login page."""

    auth_resource = AUTH_RESOURCE

    @property
    def content_security_policy(self) -> str:
        """Jupyter's policy, which says who may frame the page, and the page's own: nothing but its files."""
        return f"{super().content_security_policy}; {_POLICY}"

    @web.authenticated
    @authorized
    def get(self, name: str) -> None:
        """One of the files."""
        file, kind = _FILES[name]
        self.set_header("Content-Type", kind)
        self.set_header("Cache-Control", "no-cache")
        self.set_header("Referrer-Policy", "no-referrer")
        self.finish((_FOLDER / file).read_bytes())


class ToPage(JupyterHandler):
    """`illama/ui`, which lacks its slash."""

    auth_resource = AUTH_RESOURCE

    @web.authenticated
    @authorized
    def get(self) -> None:
        """Go there."""
        self.redirect(url_path_join(self.base_url, "illama/ui/"))
