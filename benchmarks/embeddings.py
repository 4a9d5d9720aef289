"""Embedding calls of one text each: all at once against one after another, and against one call with all of them.

Many programs send a library's pieces so, hundreds of calls at once. The host merges what waits into batches.

The client is aiohttp's, the same one for all three ways, and asks for base64, as the openai SDK does. Each call has a
connection of its own, as with programs that know no session (Open WebUI); for short texts also with what aiohttp does
otherwise: up to 100 connections, kept open and used again. The client's CPU time is shown apart, since it shares the
cores with the host and the engine.

    python benchmarks/embeddings.py --check
"""

from __future__ import annotations

import array
import asyncio
import base64
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import aiohttp
import common
import psutil
from support_checkpoints import ir, minilm
from support_host import RunningHost

from illama.registry import Registry

COLUMNS = ("words", "one after another, s", "at once, s", "one call, s", "times faster", "largest difference")
PROCESSES = ("host", "engine", "client")
MODEL = "all-MiniLM-L6-v2"
SHORT = "4 to 12"
WAYS = {"sequential": "one after another", "at_once": "at once", "together": "one call"}


def cpu(host: RunningHost) -> list[float]:
    """CPU seconds so far of the host, its engine and this process."""
    process = psutil.Process(host.process.pid)
    times = [process.cpu_times(), *(child.cpu_times() for child in process.children(recursive=True))]
    seconds = [each.user + each.system for each in times]
    return [seconds[0], sum(seconds[1:]), time.process_time()]


class Client:
    """Asks one host for vectors."""

    def __init__(self, host: RunningHost, *, keep: bool = False) -> None:
        connector = aiohttp.TCPConnector() if keep else aiohttp.TCPConnector(force_close=True, limit=0)
        headers = {"Authorization": f"Bearer {host.key}", "Content-Type": "application/json"}
        self._host = host
        self._http = aiohttp.ClientSession(host.url, connector=connector, headers=headers)

    async def post(self, texts: list[str]) -> list[bytes]:
        """One call: the vectors as little-endian float32."""
        body = json.dumps({"model": MODEL, "input": texts, "encoding_format": "base64"}).encode()
        async with self._http.post("/v1/embeddings", data=body) as response:
            answer = await response.read()
            assert response.status == 200, answer
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
        await self._http.close()


async def measure(host: RunningHost, texts: list[str], *, keep: bool = False) -> dict[str, Any]:
    """The three ways with the same texts: seconds, and how far the vectors are apart."""
    client = Client(host, keep=keep)
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
    cases = {SHORT: (4, 12, False), f"{SHORT}, kept connections": (4, 12, True), "40 to 120": (40, 120, False)}
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
            asyncio.run(measure(host, ["warm", "up"]))
            for number in range(args.rounds):
                for name, (low, high, keep) in cases.items():
                    rng = random.Random(f"{number} {low}")
                    texts = [" ".join(rng.choices(common.WORDS, k=rng.randint(low, high))) for _ in range(args.calls)]
                    found[name].append(asyncio.run(measure(host, texts, keep=keep)))
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
    print("Median (lowest to highest). Long texts fill the CPU one at a time, so there is little for batches to win.")
    common.table(("CPU ms a text", *PROCESSES), costs)
    faster = {name: common.summary([one["faster"] for one in rounds]) for name, rounds in found.items()}
    report.aim("times faster at once than one after another, short texts", faster[SHORT]["median"], least=5)
    apart = max(one["apart"] for rounds in found.values() for one in rounds)
    report.aim("largest difference of a number in a vector, by its company in the batch", apart, under=1e-5)
    report.body["figures"] = {name: {"faster": faster[name], "rounds": rounds} for name, rounds in found.items()}


if __name__ == "__main__":
    sys.exit(main())
