"""The kernel's side of the panel, for notebooks whose server has no extension of ours: messages become requests.

Knows: the widget's messages, httpx, the user's host. Does not know: widgets, what is asked or answered.

A message `{id, method, path, body?, poll?}` is answered by `{id, status, type}`, `{id, chunk}` for each piece of text
as it comes, and `{id, end: true}`; or by `{id, error: {message, hint, code, status}}`. `{id, abort: true}` ends a
request and with it the work at the host. `{id, sources: true}` asks for the panel's own files.
"""

from __future__ import annotations

import codecs
import contextlib
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx

from illama import transport
from illama.client import wire
from illama.client.session import Session
from illama.config import Settings
from illama.errors import IllamaError, NotFoundError

STATIC = Path(__file__).parent / "static"
_METHODS = frozenset({"GET", "POST", "DELETE"})
_PATH = re.compile(r"/(?:v1|api)/[A-Za-z0-9._~:@%/-]+")

Message = dict[str, Any]


class Bridge:
    """Carries out the panel's requests, each in a thread, so that nothing waits for the kernel's own."""

    def __init__(self, send: Callable[[Message], None], settings: Settings | None = None) -> None:
        settings = settings or Settings.load()
        self._send = send
        # A poll must start no host.
        self._sessions = {poll: Session(None, None, start=not poll, settings=settings) for poll in (True, False)}
        self._under_way: dict[str, _Request] = {}

    def receive(self, message: Any) -> threading.Thread | None:
        """Take a message of the panel's. Returns at once; a request's thread is what is returned then."""
        if not isinstance(message, dict) or not isinstance(message.get("id"), str):
            return None
        if message.get("abort"):
            request = self._under_way.get(message["id"])
            if request is not None:
                request.abort()
            return None
        if message.get("sources"):
            self._send({"id": message["id"], "sources": sources()})
            return None
        session = self._sessions[bool(message.get("poll"))]
        request = self._under_way[message["id"]] = _Request(message, session, self._send)
        thread = threading.Thread(target=self._carry_out, args=(request,), name="illama-panel", daemon=True)
        thread.start()
        return thread

    def close(self) -> None:
        """End all that is under way."""
        for request in list(self._under_way.values()):
            request.abort()

    def _carry_out(self, request: _Request) -> None:
        try:
            request.run()
        finally:
            self._under_way.pop(request.id, None)


class _Request:
    """One request, from the message that asks for it to the last that answers."""

    def __init__(self, message: Message, session: Session, send: Callable[[Message], None]) -> None:
        self.id: str = message["id"]
        self._message = message
        self._session = session
        self._send = send
        self._aborted = threading.Event()
        self._answer: httpx.Response | None = None

    def abort(self) -> None:
        """Nobody wants the answer any more."""
        self._aborted.set()
        if self._answer is not None:
            transport.hang_up(self._answer)

    def run(self) -> None:
        """Ask, and pass on the answer as it comes."""
        try:
            method, path = _checked(self._message.get("method"), self._message.get("path"))
            self._pass_on(method, path)
        except IllamaError as error:
            if not self._aborted.is_set():
                told = {"message": error.message, "hint": error.hint, "code": error.code, "status": error.status}
                self._tell(error=told)

    def _pass_on(self, method: str, path: str) -> None:
        endpoint = self._session.endpoint()
        headers = {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}
        url, body, begun = endpoint.url + path, self._message.get("body"), False
        try:
            with (
                httpx.Client(**transport.options(endpoint.url, named=endpoint.state is None)) as http,
                http.stream(method, url, json=body, headers=headers) as answer,
            ):
                self._answer, begun = answer, True
                if self._aborted.is_set():
                    return
                self._tell(status=answer.status_code, type=answer.headers.get("Content-Type", ""))
                text = codecs.getincrementaldecoder("utf-8")("replace")
                for data in answer.iter_bytes():
                    if self._aborted.is_set():
                        return
                    if chunk := text.decode(data):
                        self._tell(chunk=chunk)
            self._tell(end=True)
        except httpx.HTTPError as problem:
            if isinstance(problem, httpx.ConnectError):
                self._session.lose(endpoint)
            raise wire.failure(problem, endpoint, begun=begun) from problem

    def _tell(self, **message: Any) -> None:
        # A kernel on its way out has nobody to tell any more.
        with contextlib.suppress(OSError):
            self._send({"id": self.id, **message})


def sources() -> dict[str, str]:
    """The panel's modules and styles, by name."""
    return {file.name: file.read_text("utf-8") for file in STATIC.iterdir() if file.suffix in {".js", ".css"}}


def _checked(method: Any, path: Any) -> tuple[str, str]:
    """The method and the path, if they lead into the two APIs. Raises NotFoundError."""
    known = isinstance(path, str) and _PATH.fullmatch(path) and not {"", ".", ".."} & {*unquote(path)[1:].split("/")}
    if method not in _METHODS or not known:
        raise NotFoundError("There is nothing at this path.", hint="The panel asks under /v1/ and /api/ alone.")
    return method, path
