"""What all of the host's HTTP handlers share: who may ask, how much they may send, and how errors look.

Knows: keys, the Host header, origins, body limits, both dialects' error shapes. Does not know: models, engines.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import sys
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import msgspec
from tornado import httputil, iostream, web

from illama.errors import (
    AuthError,
    BodyTooLargeError,
    ForbiddenError,
    IllamaError,
    NotFoundError,
    RequestError,
)
from illama.host import keys, writing
from illama.host.operations import Operation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from illama.host.app import Host

log = logging.getLogger(__name__)

# A request's body: room for a long conversation with some images in it.
MAX_BODY = 64 * 2**20


@web.stream_request_body
class Handler(web.RequestHandler):
    """Checks host, key and size before the body is read, keeps the body, and answers errors in the path's dialect."""

    open_to_all = False  # whether it answers without a key
    # Whose key it takes: the owner's alone, or inference keys too. Those list and use models, and see nobody's work.
    needs: ClassVar[Literal["owner", "inference"]] = "owner"
    operations: ClassVar[dict[str, Operation]] = {}  # what each method takes and answers, for /openapi.json
    host: Host

    def initialize(self, host: Host) -> None:
        """Tornado's constructor for what the application hands over."""
        self.host = host
        host.begins(self)
        self.gone = asyncio.Event()
        self.streaming = False
        self.key_name: str | None = None  # the inference key that came with the request; None: the owner's
        self._farewells: list[Callable[[], object]] = []
        self._parts: list[bytes] = []
        self._received = 0

    def set_default_headers(self) -> None:
        """Leave out what nobody needs to know."""
        self.clear_header("Server")
        self.set_header("Content-Type", "application/json; charset=utf-8")

    async def prepare(self) -> None:
        """Refuse before a byte of the body is read."""
        self._check_host()
        self._allow_origin()
        if self.request.method == "OPTIONS":
            return
        if not self.open_to_all:
            self._check_key()
        check_length(self.request.headers.get("Content-Length"))
        if self.request.method not in ("GET", "HEAD"):
            self.host.touch()

    def _check_host(self) -> None:
        name = httputil.split_host_and_port(self.request.host)[0].strip("[]").lower().rstrip(".")
        if _is_loopback(name):
            return
        if self.host.bound_to_loopback or (self.host.settings.allowed_hosts and not self._is_allowed(name)):
            raise ForbiddenError(
                "This Host header is not one that the model host answers to.",
                hint="Use 127.0.0.1 or localhost, or list the name in ILLAMA_ALLOWED_HOSTS and bind to its address.",
            )

    def _is_allowed(self, name: str) -> bool:
        return name in (allowed.lower() for allowed in self.host.settings.allowed_hosts)

    def _check_key(self) -> None:
        given = keys.bearer(self.request.headers.get("Authorization", ""))
        if self.host.key is not None and keys.same(given, self.host.key):
            return
        # An inference key is one to a host without a key of its own too: the gate relies on its limits.
        self.key_name = self.host.inference_keys.holder(given)
        if self.key_name is None and self.host.key is not None:
            self.set_header("WWW-Authenticate", "Bearer")
            raise AuthError(
                "The API key is missing or wrong.",
                hint="Send the host's key as `Authorization: Bearer KEY`; illama's commands read ILLAMA_API_KEY.",
            )
        if self.needs == "owner":
            self.require_owner()

    def require_owner(self) -> None:
        """Refuse inference keys. Raises ForbiddenError."""
        if self.key_name is not None:
            raise ForbiddenError(
                "This is an inference key: it may list and use models, but not add, remove or unload them, "
                "nor see what others do.",
                hint="Use the owner's key for that.",
            )

    def _allow_origin(self) -> None:
        origin = self.request.headers.get("Origin")
        if origin and origin in self.host.settings.origins:
            self.set_header("Access-Control-Allow-Origin", origin)
            self.set_header("Access-Control-Allow-Headers", "Authorization, Content-Type")
            self.set_header("Access-Control-Allow-Methods", "GET, POST, DELETE")
            self.set_header("Vary", "Origin")

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Keep the body, within bounds, whatever its Content-Length said."""
        self._received += len(chunk)
        if self._received > MAX_BODY:
            self._parts.clear()
            raise too_large()
        self._parts.append(chunk)
        return None

    def body(self) -> bytes:
        """The whole body. Raises RequestError if there is none."""
        body = b"".join(self._parts)
        self._parts.clear()
        if not body.strip():
            raise RequestError("The body is empty.", hint="Send a JSON object as the body.")
        return body

    def on_connection_close(self) -> None:
        """The client has gone."""
        self.gone.set()
        self.host.ends(self)
        for callback in self._farewells:
            callback()

    def when_gone(self, callback: Callable[[], object]) -> None:
        """Call back when the client goes, or at once if it has gone."""
        if self.gone.is_set():
            callback()
        self._farewells.append(callback)

    def on_finish(self) -> None:
        """The answer is out."""
        self.host.ends(self)

    async def options(self, *_: str) -> None:
        """A browser asks what it may send; the headers are there if its origin is allowed."""
        self.set_status(204)
        self.clear_header("Content-Type")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer with the error in the dialect of the path."""
        cause = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(cause, IllamaError):
            error = cause
        elif status_code == 405:
            error = RequestError(
                f"This path does not take {self.request.method}.", status=405, code="method_not_allowed"
            )
        elif status_code == 404:
            error = NotFoundError("There is nothing at this path.")
        elif isinstance(cause, web.HTTPError):
            error = RequestError(f"{cause.reason or 'The request is malformed'}.", status=status_code)
        else:
            error = IllamaError("The model host has met a bug of its own.", hint="Its log, host.log, has the details.")
        # Tornado closes after a refusal that is out before the request was read: who is not told asks there again.
        self.set_header("Connection", "close")
        self.send(error.status if isinstance(cause, IllamaError) else status_code, self.shape(error))
        if error.retry_after:
            self.set_header("Retry-After", str(error.retry_after))

    def shape(self, error: IllamaError) -> dict[str, Any]:
        """The error's body in the dialect of the path."""
        return error.to_ollama() if self.request.path.startswith("/api") else error.to_openai()

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Errors of ours were expected, and are the client's to read; all others belong in the log."""
        if not isinstance(value, IllamaError | iostream.StreamClosedError):
            super().log_exception(typ, value, tb)

    def send(self, status: int, body: object) -> None:
        """Write a JSON answer."""
        self.set_status(status)
        self.write(msgspec.json.encode(body))

    async def while_here(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Await something as long as the client is there; None, and `work` cancelled, when it has gone."""
        if self.gone.is_set():
            work.close()
            return None
        task = asyncio.current_task()
        assert task is not None, "a handler runs in a task"
        self.when_gone(task.cancel)  # no task of its own for the work: hundreds may ask at once
        try:
            return await work
        except asyncio.CancelledError:
            if not self.gone.is_set():
                raise
            if sys.version_info >= (3, 11):
                task.uncancel()
            return None
        finally:
            self._farewells.remove(task.cancel)

    def close_connection(self) -> None:
        """Close at once, in the middle of an answer: the client sees that it is not whole."""
        stream = getattr(self.request.connection, "stream", None)
        if stream is not None:
            stream.close()

    async def push(self, data: bytes) -> bool:
        """Write and flush; False once the client has gone, or reads so slowly that it might as well have."""
        if self.gone.is_set():
            return False
        self.streaming = True  # the status is out: from now on an error is part of the stream
        try:
            if await writing.push(self, data):
                return True
        except iostream.StreamClosedError:
            pass
        self.gone.set()
        self.close_connection()
        return False


class Nothing(Handler):
    """Every path that is not there, with a key or without."""

    needs = "inference"

    async def prepare(self) -> None:
        """Say so, to who has a key."""
        await super().prepare()
        if self.request.method != "OPTIONS":
            raise NotFoundError(
                f"There is nothing at {self.request.path}.",
                hint="OpenAI's API is under /v1, Ollama's under /api; GET /openapi.json has a list.",
            )


class Health(Handler):
    """`GET /health`: it lives, and tells nothing else."""

    open_to_all = True
    operations: ClassVar = {"get": Operation(dict[str, str])}

    async def get(self) -> None:
        """Answer from memory."""
        self.send(200, {"status": "ok"})


class Root(Handler):
    """`GET /` and `HEAD /`, by which Ollama's clients see whether a server is there."""

    open_to_all = True
    operations: ClassVar = {"get": Operation(str, plain=True), "head": Operation(str, plain=True)}

    async def get(self) -> None:
        """Answer in plain words."""
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.write("illama is running")

    async def head(self) -> None:
        """The same without a body."""
        self.set_header("Content-Type", "text/plain; charset=utf-8")


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def check_length(header: str | None) -> None:
    """Refuse a body by its Content-Length, before it is read."""
    try:
        length = int(header or 0)
    except ValueError:
        raise RequestError("The request's Content-Length is not a number.", hint="Send one, once.") from None
    if length > MAX_BODY:
        raise too_large()


def too_large() -> BodyTooLargeError:
    """The error for a body over `MAX_BODY`, here and behind Jupyter's gate."""
    return BodyTooLargeError(
        f"The request's body is larger than {MAX_BODY // 2**20} MiB.", hint="Send less text or smaller images."
    )
