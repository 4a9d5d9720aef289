"""How long the host's small answers take while the engine is busy.

    python benchmarks/responsiveness.py [--rounds 5] [--json FILE]

GET /v1/models, /api/ps and /health in turns over one kept connection, every few milliseconds: while nothing happens,
while an engine loads, while it reads a long prompt, and while it runs 16 streams. `bare server` is a Tornado process
that answers a constant, asked in the same turns: what it takes is the machine's part (here the engine has all cores).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import multiprocessing
import random
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import common

from illama.bench.figures import percentile

PATHS = ("/v1/models", "/api/ps", "/health")
BARE = "bare server"
BARE_SERVER = """
import asyncio, os
from tornado import netutil, httpserver, web
class Constant(web.RequestHandler):
    def get(self): self.write({"status": "ok"})
async def main():
    sockets = netutil.bind_sockets(0, "127.0.0.1")
    httpserver.HTTPServer(web.Application([("/.*", Constant)])).add_sockets(sockets)
    print(sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
PAUSE = 0.004  # seconds between two probes, so that the probes themselves are no load


def load(where: common.Where) -> None:
    """Have the model loaded; it was not."""
    asyncio.run(common.post(where, "/api/generate", {"model": common.MODEL}))


def unload(where: common.Where) -> None:
    asyncio.run(common.post(where, "/api/generate", {"model": common.MODEL, "keep_alive": 0}))


def read_prompt(where: common.Where) -> None:
    """A prompt of about 6,000 tokens that nobody has seen, and one token of answer."""
    content = common.prompt(random.Random(), words=5000)
    asyncio.run(common.stream(where, common.MODEL, content, 1))


def run_streams(where: common.Where) -> None:
    """16 streams at once."""
    prompts = [[common.prompt(random.Random())] for _ in range(16)]
    asyncio.run(common.clients(where, common.MODEL, prompts, 100))


def rest(_: common.Where) -> None:
    time.sleep(1.0)


def main() -> int:
    parser = common.options("The host's small answers while the engine is busy.")
    args = parser.parse_args()
    report = common.Report(args)
    phases: dict[str, Callable[[common.Where], None]] = {
        "idle": rest,
        "loading": load,
        "long prompt": read_prompt,
        "16 streams": run_streams,
    }
    found: dict[tuple[str, str], list[float]] = {(p, what): [] for p in phases for what in (*PATHS, BARE)}
    server = subprocess.Popen([sys.executable, "-c", BARE_SERVER], stdout=subprocess.PIPE, text=True)
    context = multiprocessing.get_context("spawn")
    try:
        port = int(server.stdout.readline())
        with (
            common.real_home() as home,
            common.real_host(home) as host,
            # The load comes from a process of its own, so that the probes never wait for it.
            concurrent.futures.ProcessPoolExecutor(1, context) as pool,
        ):
            where = common.Where(host.url, host.key)
            mine, other = common.Probe(where), common.Probe(common.Where(f"http://127.0.0.1:{port}", ""))
            targets = [(path, lambda path=path: mine.get(path)) for path in PATHS]
            targets.append((BARE, lambda: other.get("/")))
            pool.submit(load, where).result()
            for number in range(args.rounds):
                for phase, work in phases.items():
                    if work is load:
                        pool.submit(unload, where).result()
                    probe(pool.submit(work, where), targets, found, phase)
                print(f"round {number + 1} of {args.rounds}", file=sys.stderr)
            mine.close()
            other.close()
    finally:
        server.terminate()
        server.wait(10)
    show(report, list(phases), found)
    return report.finish()


def probe(
    task: concurrent.futures.Future[None],
    targets: list[tuple[str, Callable[[], float]]],
    found: dict[tuple[str, str], list[float]],
    phase: str,
) -> None:
    """Ask all in turns for as long as the work goes on."""
    while not task.done():
        for what, ask in targets:
            took = ask()
            if not task.done():
                found[phase, what].append(took * 1000)
            time.sleep(PAUSE)
    task.result()


def show(report: common.Report, phases: list[str], found: dict[tuple[str, str], list[float]]) -> None:
    rows: list[tuple[str, ...]] = []
    figures: dict[str, Any] = {}
    for phase in phases:
        for what in (*PATHS, BARE):
            values = found[phase, what]
            middle, late, most = common.median(values), percentile(values, 0.99), max(values)
            rows.append((f"{phase}, {what}", str(len(values)), f"{middle:.1f}", f"{late:.1f}", f"{most:.1f}"))
            figures[f"{phase} {what}"] = {"n": len(values), "median_ms": middle, "p99_ms": late, "max_ms": most}
    common.table(("ms", "answers", "median", "99 %", "most"), rows)
    for phase in phases[1:]:
        own = [value for path in PATHS for value in found[phase, path]]
        report.aim(f"{phase}: median, ms", common.median(own), under=20)
        report.aim(f"{phase}: 99th percentile, ms", percentile(own, 0.99), under=100)
    report.body["figures"] = figures


if __name__ == "__main__":
    sys.exit(main())
