"""What the benchmarks share: the real model's home, a host, a lean HTTP client, figures and how they are shown.

The product's client is httpx. Here the load must not cost what is measured, on a machine of two cores, so requests go
out over plain asyncio streams: that is a fifth of httpx's time for each piece of text.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import importlib.metadata
import json
import os
import platform
import random
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))

from support_host import RunningHost, running_host  # noqa: E402 - found by the path above
from support_models import real_model_cache  # noqa: E402

import illama  # noqa: E402
from illama.bench import facts  # noqa: E402
from illama.registry import Entry, Registry  # noqa: E402

MODEL = "SmolLM2-135M-Instruct"
WORDS = ("river", "stone", "window", "garden", "music", "paper", "mountain", "letter", "summer", "bridge", "candle")


# --- the model and the host


@contextlib.contextmanager
def real_home(copies: Sequence[str] = ()) -> Iterator[Path]:
    """A new ILLAMA_HOME with the real model in it (hard links where possible), and copies of it by other names."""
    with tempfile.TemporaryDirectory(prefix="illama-bench-") as folder:
        home = Path(folder)
        source = real_model_cache() / "registry"
        registry = Registry(home / "registry")
        entry = Registry(source).get(MODEL)
        staged = registry.staging()
        for path in entry.files:
            (staged / path).parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(source / MODEL / path, staged / path)
            except OSError:  # another file system
                (staged / path).write_bytes((source / MODEL / path).read_bytes())
        registry.add(entry, staged)
        for name in copies:
            registry.copy(MODEL, name)
        yield home


@contextlib.contextmanager
def real_host(home: Path, **variables: str) -> Iterator[RunningHost]:
    """A host with the real engine."""
    with running_host(home, ILLAMA_ENGINE="openvino", ILLAMA_DEVICE="CPU", **variables) as host:
        host.http.timeout = 300.0
        yield host


def renamed(entry: Entry, name: str) -> Entry:
    return dataclasses.replace(entry, name=name, aliases=())


def tree(pid: int) -> list[psutil.Process]:
    """A process and all that it started."""
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


# --- requests


def prompt(rng: random.Random, words: int = 40) -> str:
    """A prompt that no cache has seen, of about two tokens for each word."""
    return f"{rng.getrandbits(64):x} Continue this list: " + " ".join(rng.choice(WORDS) for _ in range(words))


@dataclass(frozen=True)
class Where:
    """A host's address and key, as another process can be told them."""

    url: str
    key: str

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        return str(parts.hostname), int(parts.port or 80)

    def head(self, method: str, path: str, body: bytes = b"") -> bytes:
        name, port = self.address
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        path = urlsplit(self.url).path + path
        return (
            f"{method} {path} HTTP/1.1\r\nHost: {name}:{port}\r\nAuthorization: Bearer {self.key}\r\n{length}\r\n"
        ).encode() + body


@dataclass
class Streamed:
    """One streamed answer: seconds to the first text and to the end, tokens, and the host's own figures."""

    ttft: float
    seconds: float
    tokens: int
    timings: dict[str, Any]


async def stream(where: Where, model: str, content: str, tokens: int, **more: Any) -> Streamed:
    """One streamed answer of exactly so many tokens."""
    request = {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        "stream": True,
        "temperature": 0,
        "max_tokens": tokens,
        "ignore_eos": True,
        **more,
    }
    began = time.monotonic()
    reader, writer = await asyncio.open_connection(*where.address, limit=2**20)
    try:
        writer.write(where.head("POST", "/v1/chat/completions", json.dumps(request).encode()))
        status = await reader.readline()
        assert b" 200 " in status, status + await reader.read(4096)
        first, last = 0.0, b""
        # Chunk sizes stand on lines of their own, so the lines of the events can be read as they are.
        async for line in reader:
            if not line.startswith(b"data: "):
                continue
            if line.startswith(b"data: [DONE]"):
                break
            last = line
            if not first and b'"content":"' in line and b'"content":""' not in line:
                first = time.monotonic()
        timings = json.loads(last[6:])["timings"]
        assert timings["predicted_n"] == tokens, timings
        return Streamed((first or time.monotonic()) - began, time.monotonic() - began, tokens, timings)
    finally:
        writer.close()


async def post(where: Where, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """One POST on a connection of its own, and its JSON answer, which must be a 200."""
    reader, writer = await asyncio.open_connection(*where.address, limit=2**20)
    try:
        writer.write(where.head("POST", path, json.dumps(body).encode()))
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        data = await reader.readexactly(int(length.partition(b":")[2]))
        assert b" 200 " in head.partition(b"\r\n")[0], data
        answer: dict[str, Any] = json.loads(data)
        return answer
    finally:
        writer.close()


async def clients(where: Where, model: str, prompts: list[list[str]], tokens: int) -> dict[str, Any]:
    """Each client's prompts one after the other, all clients at once."""

    async def client(own: list[str]) -> list[Streamed]:
        return [await stream(where, model, content, tokens) for content in own]

    began = time.monotonic()
    answers = [answer for own in await asyncio.gather(*map(client, prompts)) for answer in own]
    return {
        "tokens": sum(answer.tokens for answer in answers),
        "seconds": time.monotonic() - began,
        "ttft": [answer.ttft for answer in answers],
    }


class Probe:
    """GETs over one kept connection, as short of work as a client can be: what is timed is the server and the way."""

    def __init__(self, where: Where) -> None:
        self._where = where
        self._socket = socket.create_connection(where.address, timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def get(self, path: str) -> float:
        """Seconds until the whole answer was there. Anything but a 200 is an error."""
        began = time.perf_counter()
        self._socket.sendall(self._where.head("GET", path))
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._more()
        head, _, body = data.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        while len(body) < int(fields[b"content-length"]):
            body += self._more()
        took = time.perf_counter() - began
        assert head.startswith(b"HTTP/1.1 200"), data
        return took

    def _more(self) -> bytes:
        data = self._socket.recv(2**16)
        assert data, "the server closed the connection"
        return data

    def close(self) -> None:
        self._socket.close()


# --- figures


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def summary(values: Sequence[float]) -> dict[str, Any]:
    return {"median": median(values), "low": min(values), "high": max(values), "values": list(values)}


def spread(values: Sequence[float], form: str = ".1f") -> str:
    """The median, and in brackets the lowest and the highest."""
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def machine() -> dict[str, Any]:
    """What a figure is worth nothing without."""
    names = ("openvino-genai", "openvino", "tornado", "msgspec", "httpx", "psutil")
    versions = {name: importlib.metadata.version(name) for name in names}
    return {
        "illama": illama.__version__,
        "python": platform.python_version(),
        **facts.machine(),
        "load_average": facts.load_average(),
        "versions": versions,
    }


def show_machine() -> dict[str, Any]:
    found = machine()
    print(
        f"{found['cpu']}, {found['cores']} cores, load {found['load_average'][0]:.1f}; Python {found['python']}, "
        f"illama {found['illama']}, openvino-genai {found['versions']['openvino-genai']}"
    )
    return found


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns, the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        print("  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip())


class Report:
    """What a benchmark found, and whether its aims were met."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._missed = 0
        self.body: dict[str, Any] = {"machine": show_machine(), "options": {**vars(args)}, "aims": []}

    def aim(self, what: str, value: float, *, under: float | None = None, least: float | None = None) -> None:
        """Say whether a value is where it should be."""
        met = value < under if under is not None else least is None or value >= least
        self._missed += not met
        wanted = f"under {under:g}" if under is not None else f"at least {least:g}"
        print(f"{'met   ' if met else 'MISSED'}  {what}: {value:.3g} ({wanted})")
        self.body["aims"].append({"what": what, "value": value, "under": under, "least": least, "met": met})

    def finish(self) -> int:
        """Write the file that was asked for. 1 if aims were missed and --check was given."""
        if self._args.json:
            Path(self._args.json).write_text(json.dumps(self.body, indent=1) + "\n", encoding="utf-8")
        return 1 if self._missed and self._args.check else 0


def options(description: str, rounds: int = 5) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=rounds, help=f"interleaved rounds (default {rounds})")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    parser.add_argument("--check", action="store_true", help="exit with 1 if an aim was missed")
    return parser
