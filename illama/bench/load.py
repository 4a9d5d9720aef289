"""The load generator: a process of its own that sends requests, the same for all servers, and times what comes back.

Knows: HTTP/1.1 as servers of OpenAI's API speak it, and the clock. Does not know: what is measured, or why. It must not
cost what it measures, so it reads bytes, finds the pieces of text in them, and parses one line of each answer as JSON:
the one with the usage. It runs by path, isolated, on the standard library alone: `python -I -S load.py`.

A line on its standard input is a task, {"url", "headers": {...}, "limit": seconds, "requests": [{"body": {...},
"after": {"request": i, "pieces": n} or absent}, ...]}: all requests are sent at once, but those with "after" when
another's answer has so many pieces. A line on its standard output is what it found: {"answers": [...], "seconds": from
the first byte sent to the last one read}. An answer has `ttft`, `span` (from its first text to its last), `worst` (the
longest time between two pieces of text), `pieces`, `prompt_tokens`, `completion_tokens`, `cached_tokens` (None where
the server does not tell) and `error` (None, or a sentence). Times are in seconds, and count from the moment a request
is written to a connection that is open already, as the connections of SDKs are.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import sys
import time
from typing import Any
from urllib.parse import urlsplit

# A chunk with text in it, however its server spaces JSON; reasoning counts, as it is generated like all else.
_TEXT = re.compile(rb'"(?:content|reasoning_content|reasoning)"\s*:\s*"[^"]')
_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_FINISHED = re.compile(rb'"finish_reason"\s*:\s*"')
_ERROR = re.compile(rb'^data:\s*\{\s*"error"\s*:')
_LONGEST_REASON = 300


class Answer:
    """One answer as it comes in."""

    def __init__(self) -> None:
        self.sent = self.first = self.last = 0.0
        self.worst = 0.0
        self.pieces = 0
        self.ended = False
        self.usage = b""
        self.error: str | None = None
        self.waiters: list[tuple[int, asyncio.Event]] = []

    def take(self, line: bytes, now: float) -> None:
        """One line of the stream."""
        if not line.startswith(b"data:"):
            return  # the size of a chunk, a comment, the line between two events
        if _TEXT.search(line):
            if self.pieces:
                self.worst = max(self.worst, now - self.last)
            else:
                self.first = now
            self.last = now
            self.pieces += 1
            for wanted, event in self.waiters:
                if self.pieces >= wanted:
                    event.set()
        if _USAGE.search(line):
            self.usage = line
        if line.startswith(b"data: [DONE]") or _FINISHED.search(line):
            self.ended = True
        if _ERROR.match(line):
            self.error = line[5:].decode(errors="replace").strip()[:_LONGEST_REASON]

    def found(self) -> dict[str, Any]:
        """What is reported."""
        if self.error is None and not self.ended:
            self.error = "the stream was cut off"
        if self.error is None and not self.pieces:
            self.error = "an answer without text"
        try:
            usage = json.loads(self.usage[5:])["usage"]
        except (ValueError, KeyError, TypeError):
            usage = {}
        return {
            "ttft": self.first - self.sent if self.pieces else None,
            "span": self.last - self.first,
            "worst": self.worst,
            "pieces": self.pieces,
            "prompt_tokens": usage.get("prompt_tokens"),
            "completion_tokens": usage.get("completion_tokens"),
            "cached_tokens": (usage.get("prompt_tokens_details") or {}).get("cached_tokens"),
            "error": self.error,
        }


async def ask(url: str, headers: dict[str, str], body: bytes, answer: Answer, ready: asyncio.Event, go: Any) -> None:
    """Send one request when `go` is over, and read its answer to the end."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        context = ssl.create_default_context() if parts.scheme == "https" else None
        reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=context, limit=2**22)
    finally:
        ready.set()
    try:
        more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n{more}"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        await go
        answer.sent = time.monotonic()
        writer.write(head.encode() + body)
        top = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in top.split(b"\r\n", 1)[0] + b" ":
            reason = await reader.read(_LONGEST_REASON)
            answer.error = (top.split(b"\r\n", 1)[0] + b": " + reason).decode(errors="replace")
            return
        rest = b""
        while data := await reader.read(2**16):
            now = time.monotonic()
            lines = (rest + data).split(b"\n")
            rest = lines.pop()
            for line in lines:
                answer.take(line, now)
            if lines and any(line.startswith(b"data: [DONE]") for line in lines):
                break
        answer.take(rest, time.monotonic())
    finally:
        writer.close()


async def carry_out(task: dict[str, Any]) -> dict[str, Any]:
    """One task. All connections are open before the first request is sent."""
    answers = [Answer() for _ in task["requests"]]
    start = asyncio.Event()
    opened, running = [], []
    for request, answer in zip(task["requests"], answers):  # noqa: B905 - any Python may run this
        go, after = start, request.get("after")
        if after:
            go = asyncio.Event()
            answers[after["request"]].waiters.append((after["pieces"], go))
        ready = asyncio.Event()
        opened.append(ready.wait())
        body = json.dumps(request["body"]).encode()
        running.append(asyncio.ensure_future(guarded(task, body, answer, ready, go)))
    await asyncio.gather(*opened)
    began = time.monotonic()
    start.set()
    await asyncio.gather(*running)
    return {"answers": [answer.found() for answer in answers], "seconds": time.monotonic() - began}


async def guarded(task: dict[str, Any], body: bytes, answer: Answer, ready: asyncio.Event, go: asyncio.Event) -> None:
    """One request whose failure is its own."""
    try:
        await asyncio.wait_for(ask(task["url"], task["headers"], body, answer, ready, go.wait()), task["limit"])
    except asyncio.TimeoutError:
        answer.error = f"no end within {task['limit']:g} s"
    except (OSError, EOFError, ValueError) as problem:
        answer.error = f"{type(problem).__name__}: {problem}"[:_LONGEST_REASON]
    finally:
        for _, event in answer.waiters:  # who waits for this answer's pieces must not wait for ever
            event.set()


def main() -> None:
    """Carry out tasks until there are no more."""
    for line in sys.stdin:
        sys.stdout.write(json.dumps(asyncio.run(carry_out(json.loads(line)))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
