"""Embedding calls of one text each: all at once against one after another, and against one call with all of them.

Many programs send a library's pieces so, hundreds of calls at once. The host merges what waits into batches.

The client is the same one for all three ways, and asks for base64, as the openai SDK does. It shares the cores with
the host and the engine, so it does no more than it must: each call is a bare socket of its own, and the client's CPU
time is shown apart. There are also two clients that people use: aiohttp with a connection for each call, as programs
do that keep no session (Open WebUI), and with what it does otherwise, up to 100 connections, kept open.

What is won falls with the texts' length: one of a few tokens leaves most of a CPU idle, a passage fills it alone.

    python benchmarks/embeddings.py --check
"""

from __future__ import annotations

import array
import asyncio
import base64
import json
import random
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import common
import psutil
from support_checkpoints import ir, minilm
from support_host import RunningHost

from illama.registry import Registry

COLUMNS = ("words", "one after another, s", "at once, s", "one call, s", "times faster", "largest difference")
PROCESSES = ("host", "engine", "client")
MODEL = "all-MiniLM-L6-v2"
SHORT = "1 to 4"
WAYS = {"sequential": "one after another", "at_once": "at once", "together": "one call"}


def cpu(host: RunningHost) -> list[float]:
    """CPU seconds so far of the host, its engine and this process."""
    process = psutil.Process(host.process.pid)
    times = [process.cpu_times(), *(child.cpu_times() for child in process.children(recursive=True))]
    seconds = [each.user + each.system for each in times]
    return [seconds[0], sum(seconds[1:]), time.process_time()]


class Client:
    """Asks one host for vectors, each call by a bare socket of its own."""

    def __init__(self, host: RunningHost) -> None:
        self._host = host
        url = urlsplit(host.url)
        self._address = (url.hostname, url.port)
        self._head = (
            f"POST /v1/embeddings HTTP/1.1\r\nHost: {url.netloc}\r\nAuthorization: Bearer {host.key}\r\n"
            "Content-Type: application/json\r\nConnection: close\r\nContent-Length: "
        )

    async def exchange(self, body: bytes) -> tuple[int, bytes]:
        """The status and the body of the answer."""
        loop = asyncio.get_running_loop()
        parts = []
        with socket.socket() as connection:
            connection.setblocking(False)
            await loop.sock_connect(connection, self._address)
            await loop.sock_sendall(connection, f"{self._head}{len(body)}\r\n\r\n".encode() + body)
            while part := await loop.sock_recv(connection, 2**18):
                parts.append(part)
        head, _, answer = b"".join(parts).partition(b"\r\n\r\n")
        return int(head.split(maxsplit=2)[1]), answer

    async def post(self, texts: list[str]) -> list[bytes]:
        """One call: the vectors as little-endian float32."""
        body = json.dumps({"model": MODEL, "input": texts, "encoding_format": "base64"}).encode()
        status, answer = await self.exchange(body)
        assert status == 200, answer
        return [base64.b64decode(each["embedding"]) for each in json.loads(answer)["data"]]

    async def measured(self, work: Awaitable[list[bytes]]) -> dict[str, Any]:
        """Seconds and CPU seconds of each process for some calls, and their vectors."""
        before, began = cpu(self._host), time.perf_counter()
        vectors = await work
        seconds = time.perf_counter() - began
        used = dict(zip(PROCESSES, (b - a for a, b in zip(before, cpu(self._host), strict=True)), strict=True))
        return {"seconds": seconds, "cpu": used, "vectors": vectors}

    async def one_after_another(self, texts: list[str]) -> list[bytes]:
        return [(await self.post([text]))[0] for text in texts]

    async def at_once(self, texts: list[str]) -> list[bytes]:
        return [found[0] for found in await asyncio.gather(*(self.post([text]) for text in texts))]

    async def close(self) -> None:
        """Let go of what is open."""


class Aiohttp(Client):
    """The same by aiohttp, which keeps connections open or not."""

    def __init__(self, host: RunningHost, *, keep: bool = False) -> None:
        super().__init__(host)
        connector = aiohttp.TCPConnector() if keep else aiohttp.TCPConnector(force_close=True, limit=0)
        headers = {"Authorization": f"Bearer {host.key}", "Content-Type": "application/json"}
        self._http = aiohttp.ClientSession(host.url, connector=connector, headers=headers)

    async def exchange(self, body: bytes) -> tuple[int, bytes]:
        async with self._http.post("/v1/embeddings", data=body) as response:
            return response.status, await response.read()

    async def close(self) -> None:
        await self._http.close()


CLIENTS: dict[str, Callable[[RunningHost], Client]] = {
    "": Client,
    ", aiohttp": Aiohttp,
    ", aiohttp, kept connections": partial(Aiohttp, keep=True),
}


async def measure(make: Callable[[RunningHost], Client], host: RunningHost, texts: list[str]) -> dict[str, Any]:
    """The three ways with the same texts: seconds, and how far the vectors are apart."""
    client = make(host)
    try:
        found = {
            "sequential": await client.measured(client.one_after_another(texts)),
            "at_once": await client.measured(client.at_once(texts)),
            "together": await client.measured(client.post(texts)),
        }
    finally:
        await client.close()
    vectors = {way: [floats(each) for each in one.pop("vectors")] for way, one in found.items()}
    apart = max(
        abs(a - b)
        for way in ("sequential", "at_once")
        for one, other in zip(vectors[way], vectors["together"], strict=True)
        for a, b in zip(one, other, strict=True)
    )
    return {**found, "apart": apart, "faster": found["sequential"]["seconds"] / found["at_once"]["seconds"]}


def floats(packed: bytes) -> list[float]:
    return array.array("f", packed).tolist()


def main() -> int:
    parser = common.options(__doc__.splitlines()[0], rounds=3)
    parser.add_argument("--calls", type=int, default=500, help="texts (default 500)")
    args = parser.parse_args()
    report = common.Report(args)
    cases = {SHORT: (1, 4, Client), "40 to 120": (40, 120, Client)}
    cases |= {f"4 to 12{words}": (4, 12, make) for words, make in CLIENTS.items()}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in cases}
    with tempfile.TemporaryDirectory(prefix="illama-bench-") as folder:
        home = Path(folder)
        made = ir(minilm())
        origin = Registry(made.parent)
        registry = Registry(home / "registry")
        staged = registry.staging()
        entry = origin.get("model")
        for path in entry.files:
            (staged / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(made / path, staged / path)
        registry.add(common.renamed(entry, MODEL), staged)
        with common.real_host(home) as host:
            asyncio.run(measure(Client, host, ["warm", "up"]))
            for number in range(args.rounds):
                for name, (low, high, make) in cases.items():
                    rng = random.Random(f"{number} {low}")
                    texts = [" ".join(rng.choices(common.WORDS, k=rng.randint(low, high))) for _ in range(args.calls)]
                    found[name].append(asyncio.run(measure(make, host, texts)))
                print(f"round {number + 1} of {args.rounds}", file=sys.stderr)
    show(report, found, args.calls)
    return report.finish()


def show(report: common.Report, found: dict[str, list[dict[str, Any]]], calls: int) -> None:
    rows, costs = [], []
    for name, rounds in found.items():
        seconds = [common.spread([one[way]["seconds"] for one in rounds], ".2f") for way in WAYS]
        faster = common.spread([one["faster"] for one in rounds], ".1f")
        rows.append((name, *seconds, faster, f"{max(one['apart'] for one in rounds):.1e}"))
        for way, words in WAYS.items():
            used = [common.median([one[way]["cpu"][who] for one in rounds]) / calls * 1000 for who in PROCESSES]
            costs.append((f"{name}, {words}", *(f"{each:.2f}" for each in used)))
    common.table(COLUMNS, rows)
    print("Median (lowest to highest).")
    common.table(("CPU ms a text", *PROCESSES), costs)
    faster = {name: common.summary([one["faster"] for one in rounds]) for name, rounds in found.items()}
    report.aim("times faster at once than one after another, short texts", faster[SHORT]["median"], least=5)
    apart = max(one["apart"] for rounds in found.values() for one in rounds)
    report.aim("largest difference of a number in a vector, by its company in the batch", apart, under=1e-5)
    report.body["figures"] = {name: {"faster": faster[name], "rounds": rounds} for name, rounds in found.items()}


if __name__ == "__main__":
    sys.exit(main())
