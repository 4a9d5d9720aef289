"""Embedding calls of one text each: all at once against one after another, and against one call with all of them.

Many programs send a library's pieces so, hundreds of calls at once. The host merges what waits into batches.

    python benchmarks/embeddings.py --check
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import common
from support_checkpoints import ir, minilm
from support_host import RunningHost

from illama.registry import Registry

COLUMNS = ("words", "one after another, s", "at once, s", "one call, s", "times faster", "largest difference")
MODEL = "all-MiniLM-L6-v2"


async def post(host: RunningHost, texts: list[str]) -> list[list[float]]:
    """One call on a connection of its own."""
    where = urlsplit(host.url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    body = json.dumps({"model": MODEL, "input": texts}).encode()
    head = (
        f"POST /v1/embeddings HTTP/1.1\r\nHost: {where.netloc}\r\nAuthorization: Bearer {host.key}\r\n"
        f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    answer = await reader.read()
    writer.close()
    status, _, rest = answer.partition(b"\r\n\r\n")
    assert b" 200 " in status[:20], answer[:500]
    return [each["embedding"] for each in json.loads(rest)["data"]]


async def measure(host: RunningHost, texts: list[str]) -> dict[str, Any]:
    """The three ways with the same texts: seconds, and how far the vectors are apart."""
    began = time.perf_counter()
    alone = [(await post(host, [text]))[0] for text in texts]
    sequential = time.perf_counter() - began
    began = time.perf_counter()
    at_once = [found[0] for found in await asyncio.gather(*(post(host, [text]) for text in texts))]
    merged = time.perf_counter() - began
    began = time.perf_counter()
    batch = await post(host, texts)
    together = time.perf_counter() - began
    apart = max(
        abs(a - b)
        for found in (alone, at_once)
        for one, other in zip(found, batch, strict=True)
        for a, b in zip(one, other, strict=True)
    )
    return {"sequential": sequential, "at_once": merged, "together": together, "apart": apart}


def main() -> int:
    parser = common.options(__doc__.splitlines()[0], rounds=3)
    parser.add_argument("--calls", type=int, default=500, help="texts (default 500)")
    args = parser.parse_args()
    report = common.Report(args)
    lengths = {"4 to 12": (4, 12), "40 to 120": (40, 120)}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in lengths}
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
                for name, (low, high) in lengths.items():
                    rng = random.Random(f"{number} {name}")
                    texts = [" ".join(rng.choices(common.WORDS, k=rng.randint(low, high))) for _ in range(args.calls)]
                    found[name].append(asyncio.run(measure(host, texts)))
                print(f"round {number + 1} of {args.rounds}", file=sys.stderr)
    show(report, found)
    return report.finish()


def show(report: common.Report, found: dict[str, list[dict[str, Any]]]) -> None:
    rows, figures = [], {}
    for name, rounds in found.items():
        faster = [one["sequential"] / one["at_once"] for one in rounds]
        seconds = [common.spread([one[how] for one in rounds], ".2f") for how in ("sequential", "at_once", "together")]
        rows.append((name, *seconds, common.spread(faster, ".1f"), f"{max(one['apart'] for one in rounds):.1e}"))
        figures[name] = {"faster": common.summary(faster), "rounds": rounds}
    common.table(COLUMNS, rows)
    print("Median (lowest to highest). Long texts fill the CPU one at a time, so there is little for batches to win.")
    report.aim(
        "times faster at once than one after another, short texts", figures["4 to 12"]["faster"]["median"], least=5
    )
    apart = max(one["apart"] for rounds in found.values() for one in rounds)
    report.aim("largest difference of a number in a vector, by its company in the batch", apart, under=1e-5)
    report.body["figures"] = figures


if __name__ == "__main__":
    sys.exit(main())
