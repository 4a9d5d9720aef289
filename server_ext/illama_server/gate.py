"""Passes requests on to the model host and its answers back, byte by byte, for as long as the client stays.

Knows: bodies, headers, streams, activity. Does not know: models, or what the bytes mean; who may come in is access.py.
"""

from __future__ import annotations

import asyncio
import io
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import aiohttp
from jupyter_server._tz import utcnow
from jupyter_server.auth.decorator import authorized
from tornado import iostream, web
from yarl import URL

from illama.errors import ForbiddenError, HostError
from illama.host import keys, writing
from illama.host.base import MAX_BODY, check_length, too_large
from illama_server import paths
from illama_server.access import Handler

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from illama.discovery import Endpoint
    from illama_server.app import IllamaServerApp

# All that goes through. A proxy in front of Jupyter adds headers of its own, credentials among them: hence these alone.
_REQUEST_HEADERS = ("Accept", "Accept-Language", "Content-Type", "User-Agent", "X-Request-Id")
_ANSWER_HEADERS = ("Content-Type", "Content-Encoding", "Cache-Control", "Retry-After", "X-Request-Id")
# Seconds between two notes that an answer is still under way, which keep a hub from ending the server.
_STILL_HERE = 10.0


@web.stream_request_body
class Gate(Handler):
    """`illama/v1/*` and `illama/api/*`."""

    def initialize(self, gate: IllamaServerApp) -> None:
        """Tornado's constructor for what the application hands over."""
        self.gate = gate
        self._work: asyncio.Task[None] | None = None
        self._gone = False
        self._parts: list[bytes] = []
        self._received = 0
        self._inference_key: str | None = None
        self._answer_type = "application/json"

    async def prepare(self) -> None:  # type: ignore[override] # Jupyter's own says the same
        """Refuse who may not come in, and what is too large, before the body is read."""
        if self.request.method != "OPTIONS":
            await self._look_at_key()
        await super().prepare()
        check_length(self.request.headers.get("Content-Length"))

    async def _look_at_key(self) -> None:
        # Before Jupyter sees it: it knows no inference keys, and a hub would be asked about each.
        given = self.given_key()
        name = await self.gate.upstream.key_holder(given) if keys.looks_like_inference_key(given) else None
        if name is not None:
            self._inference_key = given
            self.let_in(name)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Keep the body, within bounds, whatever its Content-Length said."""
        self._received += len(chunk)
        if self._received <= MAX_BODY:
            self._parts.append(chunk)
        else:
            self._parts.clear()  # the rest is read and dropped, within Jupyter's own limit, so that the refusal arrives
        return None

    def on_connection_close(self) -> None:
        """The client has gone: so does the request to the host, which frees the device."""
        super().on_connection_close()
        self._gone = True
        if self._work is not None:
            self._work.cancel()

    # Each verb has a method of its own: `authorized` remembers the action of the first request that it sees.
    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Pass it on."""
        await self._pass_on()

    @web.authenticated
    @authorized
    async def head(self) -> None:
        """Pass it on."""
        await self._pass_on()

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Pass it on."""
        await self._pass_on()

    @web.authenticated
    @authorized
    async def delete(self) -> None:
        """Pass it on."""
        await self._pass_on()

    async def _pass_on(self) -> None:
        if self._received > MAX_BODY:
            raise too_large()
        # Tornado's own arguments are decoded; what is checked has to be what is sent.
        tree, _, path = self.request.path[len(self.base_url) :].removeprefix("illama/").partition("/")
        target = paths.checked(tree, path) + paths.query(self.request.query)
        if paths.manages(tree, path) and self._inference_key:
            raise ForbiddenError(
                "This is an inference key: it may list and use models, but not add or remove them.",
                hint="Use the Jupyter token for that.",
            )
        if paths.manages(tree, path) and not self._may_manage():
            raise ForbiddenError(
                "This Jupyter server's gate does not let models be added or removed.",
                hint="Whoever runs the server can allow it with c.IllamaServerApp.allow_manage.",
            )
        # A poll counts as no activity, neither here nor for the host, which it therefore does not start.
        counts = self.get_query_argument("no_track_activity", None) is None
        if self._gone:
            return
        self._work = asyncio.ensure_future(self._relay(target, start=counts))
        if counts:
            self.gate.in_flight.add(self)
        try:
            while not self._work.done():
                if counts:
                    self.settings["last_activity_times"]["illama"] = utcnow()
                await asyncio.wait({self._work}, timeout=_STILL_HERE)
        finally:
            self._work.cancel()
            self.gate.in_flight.discard(self)
        if not self._work.cancelled():
            self._work.result()

    def _may_manage(self) -> bool:
        chosen = self.gate.allow_manage
        return self.gate.upstream.is_own() if chosen is None else bool(chosen)

    async def _relay(self, target: str, *, start: bool) -> None:
        answer = await self._ask(target, start=start)
        try:
            self._begin(answer)
            try:
                async for chunk in answer.content.iter_any():
                    if not await self._push(chunk):
                        return
            except (aiohttp.ClientError, OSError):
                await self._broken_off()
                return
            if not self._headers_written:
                await self.flush()
        except iostream.StreamClosedError:
            pass
        finally:
            # What has not been read to its end is closed, not kept: that is how the host learns of it.
            answer.close() if not answer.content.at_eof() else answer.release()

    async def _ask(self, target: str, *, start: bool) -> aiohttp.ClientResponse:
        """The host's answer, its body still to come. Raises HostError if there is none."""
        for last in (False, True):
            endpoint = await self.gate.upstream.endpoint(start=start)
            try:
                answer = await self._send(endpoint, target)
            except aiohttp.ClientConnectorError as problem:
                # It may have ended since it was found: nothing was sent, so nothing is done twice.
                self.gate.upstream.forget(endpoint)
                if last or endpoint.state is None:
                    raise _unreachable(endpoint, str(problem.os_error.strerror or problem.os_error)) from problem
                continue
            except (aiohttp.ClientError, OSError) as problem:
                self.gate.upstream.forget(endpoint)
                raise _unreachable(endpoint, "it ended while it had the request") from problem
            if answer.status == 401 or 300 <= answer.status < 400:
                answer.close()
                self.gate.upstream.forget(endpoint)
                raise _refused(answer.status) if not self._inference_key else self._no_key()
            return answer
        raise AssertionError("the second try returns or raises")

    async def _send(self, endpoint: Endpoint, target: str) -> aiohttp.ClientResponse:
        given = self.request.headers
        headers = {name: given[name] for name in _REQUEST_HEADERS if name in given}
        headers["Accept-Encoding"] = "identity"
        headers["X-Illama-User"] = quote(self.current_user.username, safe="@: ")
        # An inference key goes on as it is, so that the host itself keeps it within its bounds.
        if key := self._inference_key or endpoint.key:
            headers["Authorization"] = f"Bearer {key}"
        return await self.gate.upstream.session(endpoint).request(
            self.request.method or "GET",
            URL(endpoint.url + target, encoded=True),
            headers=headers,
            data=io.BytesIO(b"".join(self._parts)) if self._received else None,
            skip_auto_headers=("Content-Type", "User-Agent"),
            allow_redirects=False,
        )

    def _begin(self, answer: aiohttp.ClientResponse) -> None:
        self.set_status(answer.status)
        for name in _ANSWER_HEADERS:
            if name in answer.headers:
                self.set_header(name, answer.headers[name])
        if "Content-Length" in answer.headers:
            self.set_header("Content-Length", answer.headers["Content-Length"])
        if self.request.path.endswith("/api/ps") and not self._may_manage():
            self.set_header("X-Illama-Manage", "no")  # the panel then offers no pull and no removal
        self._answer_type = answer.headers.get("Content-Type", self._answer_type)
        if answer.content_type == "text/event-stream":
            self.set_header("X-Accel-Buffering", "no")  # proxies in front of Jupyter shall not gather it either

    async def _push(self, data: bytes) -> bool:
        """Write and flush; False once the client has gone, or reads so slowly that it might as well have."""
        if await writing.push(self, data):
            return True
        self._close_connection()
        return False

    async def _broken_off(self) -> None:
        """The host has ended in the middle of an answer: say so where the format can, else close at once."""
        error = HostError("The model host ended in the middle of the answer.", hint="Ask again; its log says why.")
        said = json.dumps(self.shape(error))
        if self._answer_type.startswith("text/event-stream"):
            await self._push(f"\n\ndata: {said}\n\ndata: [DONE]\n\n".encode())
        elif self._answer_type.startswith("application/x-ndjson"):
            await self._push(f"\n{said}\n".encode())
        else:
            self._close_connection()

    def _close_connection(self) -> None:
        stream = getattr(self.request.connection, "stream", None)
        if stream is not None:
            stream.close()

    def finish(self, *args: Any, **kwargs: Any) -> asyncio.Future[None]:
        """End the answer, with the type that the host gave it."""
        kwargs.setdefault("set_content_type", self._answer_type)
        return super().finish(*args, **kwargs)


class Nothing(Handler):
    """Every other path below `illama/`, for all that Jupyter lets in."""

    async def prepare(self) -> None:  # type: ignore[override] # Jupyter's own says the same
        """Say so, to who has a key."""
        await super().prepare()
        if self.request.method != "OPTIONS":
            raise paths.nothing()


def _unreachable(endpoint: Endpoint, why: str) -> HostError:
    hint = "Ask again: a new one is started." if endpoint.state else "See that it runs, and that its URL is right."
    return HostError(f"The model host cannot be reached: {why}.", hint=hint)


def _refused(status: int) -> HostError:
    if status == 401:
        return HostError(
            "The model host does not accept the key of this Jupyter server's gate.",
            hint="Set c.IllamaServerApp.api_key, or ILLAMA_API_KEY, to the host's key and start the server again.",
        )
    return HostError(
        "What answers in the model host's place sends elsewhere, which a host does not.",
        hint="Set c.IllamaServerApp.base_url, or ILLAMA_BASE_URL, to the host's own URL.",
    )
