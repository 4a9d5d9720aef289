"""Who may come in: Jupyter's own login and authorization, with answers that a program understands.

Knows: Jupyter's users, tokens, cookies, XSRF and origins; both dialects' error shapes. Does not know: the host.
"""

from __future__ import annotations

import json
import re
from typing import Any

from jupyter_server.auth.authorizer import AllowAllAuthorizer, Authorizer
from jupyter_server.auth.identity import IdentityProvider, PasswordIdentityProvider, User
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado import web

from illama.errors import AuthError, ForbiddenError, IllamaError, NotFoundError, RequestError

AUTH_RESOURCE = "illama"

_KEY = re.compile(r"(?:bearer|token)\s+(\S+)\s*", re.IGNORECASE)


class KeyHolders(IdentityProvider):
    """Whose Authorization header has an inference key: users of ours, whom Jupyter need not know."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._user = User(username=f"key:{name}")

    def get_user(self, _handler: Any) -> User:
        """The key's holder."""
        return self._user

    def is_token_authenticated(self, _handler: Any) -> bool:
        """A key that was sent on purpose shows that no browser was tricked."""
        return True


class Handler(APIHandler):
    """A handler that answers 401 and 403 as JSON in the dialect of its path, never as a redirect or a page."""

    auth_resource = AUTH_RESOURCE
    _key_holders: KeyHolders | None = None

    @property
    def identity_provider(self) -> IdentityProvider:
        """Jupyter's, or ours for an inference key."""
        return self._key_holders or super().identity_provider

    @property
    def authorizer(self) -> Authorizer:
        """Jupyter's. It does not know the holders of inference keys: what these may do, the host decides."""
        return AllowAllAuthorizer() if self._key_holders else super().authorizer

    def given_key(self) -> str:
        """What the Authorization header has; empty if it has nothing."""
        form = _KEY.fullmatch(self.request.headers.get("Authorization", ""))
        return form[1] if form else ""

    def let_in(self, key_name: str) -> None:
        """Take who sent the request for the holder of this inference key."""
        self._key_holders = KeyHolders(key_name)
        # Jupyter's and JupyterHub's word for it; a hub's XSRF check, which replaces ours, asks for nothing else.
        self._token_authenticated = True

    async def prepare(self) -> None:  # type: ignore[override] # Jupyter's own says the same
        """Let Jupyter find out who it is. Raises AuthError or ForbiddenError before the body is read."""
        await super().prepare()
        if self.request.method != "OPTIONS" and not self.current_user:
            raise self._no_key()

    def check_origin(self, origin_to_satisfy_tornado: str = "") -> bool:
        """Jupyter's check. Raises AuthError or ForbiddenError where Jupyter would say that there is nothing."""
        if super().check_origin(origin_to_satisfy_tornado):
            return True
        raise (
            self._no_key()
            if not self.current_user
            else ForbiddenError(
                "This web page's origin is not allowed here.",
                hint="Use a token as the key, or list the origin in c.ServerApp.allow_origin.",
            )
        )

    def check_xsrf_cookie(self) -> None:
        """Jupyter's check, made only of those who are known, and explained."""
        if not hasattr(self, "_jupyter_current_user"):
            return  # called too early; Jupyter calls again
        if self._jupyter_current_user is None:
            raise self._no_key()
        try:
            super().check_xsrf_cookie()
        except web.HTTPError:
            raise self._not_proven() from None

    def get_login_url(self) -> str:
        """Nobody is sent to a login page from here. Raises AuthError."""
        raise self._no_key()

    def _no_key(self) -> AuthError:
        provider = self.identity_provider
        self.set_header("WWW-Authenticate", "Bearer")
        if isinstance(provider, PasswordIdentityProvider) and not provider.token:
            return AuthError(
                "The API key is missing or wrong: this Jupyter server has a password, but no token.",
                hint="Use an inference key (`illama key add NAME`), or give the server a token too (JUPYTER_TOKEN or "
                "c.IdentityProvider.token): the token is a key.",
            )
        return AuthError(
            "The API key is missing or wrong.",
            hint="Send `Authorization: Bearer KEY` with the Jupyter token or an inference key (`illama key add NAME`).",
        )

    def _not_proven(self) -> IllamaError:
        """The error for a known user who cannot show that the request is their own."""
        if not self.identity_provider.auth_enabled:
            return ForbiddenError(
                "This Jupyter server has no token or password, and takes such requests from its own pages only.",
                hint="Use an inference key (`illama key add NAME`), or start the server with a token (JUPYTER_TOKEN or "
                "c.IdentityProvider.token): the token is a key.",
            )
        if self.request.headers.get("Authorization"):
            return self._no_key()  # a wrong key beside a right cookie
        return ForbiddenError(
            "The request has the browser's cookie, but does not show that it comes from a page of this server.",
            hint="Send the _xsrf cookie's value as the header X-XSRFToken, or use the Jupyter token as the key.",
        )

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer with the error in the dialect of the path."""
        cause = kwargs.get("exc_info", (None, None, None))[1]
        error = cause if isinstance(cause, IllamaError) else self._translated(status_code, cause)
        self.set_status(error.status)
        # Tornado closes after a refusal that is out before the request was read: who is not told asks there again.
        self.set_header("Connection", "close")
        if error.retry_after:
            self.set_header("Retry-After", str(error.retry_after))
        self.finish(json.dumps(self.shape(error)))

    def _translated(self, status: int, cause: BaseException | None) -> IllamaError:
        said = cause.log_message if isinstance(cause, web.HTTPError) else None
        if status == 401:
            return self._no_key()
        if status == 403 and not getattr(self, "_jupyter_current_user", None):
            return ForbiddenError(
                "This Host header is not one that the Jupyter server answers to.",
                hint="Use localhost, or set c.ServerApp.allow_remote_access or c.ServerApp.local_hostnames.",
            )
        if status == 403:
            return ForbiddenError(said or "This Jupyter user may not do this.", hint="Ask who runs the server.")
        if status == 404:
            return NotFoundError("There is nothing at this path.")
        if status == 405:
            return RequestError(
                f"This path does not take {self.request.method}.", status=405, code="method_not_allowed"
            )
        if isinstance(cause, web.HTTPError) and status < 500:
            return RequestError(said or "The request is malformed.", status=status)
        return IllamaError("The gate has met a bug of its own.", hint="The Jupyter server's log has the details.")

    def shape(self, error: IllamaError) -> dict[str, Any]:
        """The error's body in the dialect of the path."""
        ollama = self.request.path.startswith(url_path_join(self.base_url, "illama", "api"))
        return error.to_ollama() if ollama else error.to_openai()

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Errors of ours were expected, and are the client's to read; all others belong in the log."""
        if not isinstance(value, IllamaError):
            super().log_exception(typ, value, tb)
