"""A small server of OpenAI's API that misbehaves in the ways in which servers do."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CHUNK = 'data: {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": null}]}\n\n'
END = 'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\n'
DONE = "data: [DONE]\n\n"


class Peer:
    """How it behaves; what it was asked; where it is."""

    def __init__(self) -> None:
        self.usage = False  # tells the tokens
        self.cut = False  # closes in the middle of an answer
        self.refuses: tuple[str, ...] = ()  # fields that are a 400
        self.fails_every = 0  # each so many requests are a 500
        self.length: int | None = None  # answers with so many tokens, whatever was asked
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.engines: list[int] = []  # as a Jupyter server whose gate leads to these engines' host
        self.url = ""

    def answer(self, body: dict[str, Any]) -> tuple[int, str]:
        """The status and the text of an answer."""
        self.bodies.append(body)
        refused = next((name for name in self.refuses if name in body), None)
        if refused:
            return 400, json.dumps({"error": {"message": f"{refused} is not known"}})
        if self.fails_every and len(self.bodies) % self.fails_every == 0:
            return 500, "it broke"
        tokens = body["max_tokens"] if self.length is None else self.length
        if self.cut:
            return 200, CHUNK * (tokens // 2)
        usage = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": tokens}}
        return 200, CHUNK * tokens + END + (f"data: {json.dumps(usage)}\n\n" if self.usage else "") + DONE


@contextlib.contextmanager
def peer() -> Iterator[Peer]:
    """Such a server, running."""
    behaviour = Peer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Quiet."""

        def _send(self, status: int, text: str, kind: str) -> None:
            behaviour.keys.add(self.headers["Authorization"])
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def do_GET(self) -> None:
            if "/illama/api/ps" in self.path:
                told = {"models": [{"pid": pid} for pid in behaviour.engines]}
                self._send(200, json.dumps(told), "application/json")
                return
            self._send(200, json.dumps({"data": [{"id": "first"}, {"id": "second"}]}), "application/json")

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._send(*behaviour.answer(body), "text/event-stream")

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    behaviour.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield behaviour
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
