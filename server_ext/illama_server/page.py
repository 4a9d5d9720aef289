"""The panel as a page, behind the launcher's tile: static files and nothing else.

Knows: what the page may do, and who may have it. Does not know: the host; the page asks for itself, through the gate.
"""

from __future__ import annotations

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.utils import url_path_join
from tornado import web

from illama_server.access import AUTH_RESOURCE
from illama_server.front import FILES, FOLDER, INDEX

_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        # What a model writes cannot become markup or a script, even by a mistake in a script of ours.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
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
        name = name or INDEX
        _ = self.xsrf_token  # sets the cookie by which the page's own requests are known
        self.set_header("Content-Type", FILES[name])
        # Asked for each time, and sent again only when it has changed: an upgrade never mixes two versions.
        self.set_header("Cache-Control", "no-cache")
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("X-DNS-Prefetch-Control", "off")  # a name in a model's link is looked up when it is followed
        self.finish((FOLDER / name).read_bytes())


class ToPage(JupyterHandler):
    """`illama/ui`, which lacks its slash."""

    auth_resource = AUTH_RESOURCE

    @web.authenticated
    @authorized
    def get(self) -> None:
        """Go there."""
        self.redirect(url_path_join(self.base_url, "illama/ui/"))
