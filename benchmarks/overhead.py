"""The CPU time that each token costs beyond the bare engine's: in the engine's process, in the host, in the gate.

    python benchmarks/overhead.py [--clients 1,16] [--rounds 6] [--tokens 96] [--json FILE] [--check]

The same prompts are answered by bare GenAI (bare.py), by the host, and by the host through a real Jupyter server, in
turns. CPU time is by process, so that a machine with other work on it tells it nearly as well as a quiet one; the load
generator's is not counted. What the engine's process takes beyond the bare one is a small difference of large figures,
so it is told with its spread; the host's and the gate's own are exact.
"""

from __future__ import annotations

import asyncio
import random
import sys

import common
import psutil
from support_gate import TOKEN, jupyter_server

AIMS = {("host", 1): 1.0, ("host", 16): 0.6, ("Jupyter", 1): 1.6, ("Jupyter", 16): 0.9}
PARTS = ("engine beyond bare", "host", "gate", "in all")


def own(process: psutil.Process) -> float:
    """CPU seconds of one process, without its children's."""
    times = process.cpu_times()
    return float(times.user + times.system)


def main() -> int:
    parser = common.options("The CPU time of a token beyond the bare engine's.", rounds=6)
    parser.add_argument("--clients", default="1,16", help="numbers of clients (default 1,16)")
    parser.add_argument("--tokens", type=int, default=96, help="tokens of an answer (default 96)")
    args = parser.parse_args()
    counts = [int(count) for count in args.clients.split(",")]
    report = common.Report(args)
    found: dict[tuple[str, int], dict[str, list[float]]] = {}

    with (
        common.real_home() as home,
        common.real_host(home) as host,
        jupyter_server(home, ILLAMA_ENGINE="openvino", ILLAMA_DEVICE="CPU") as jupyter,
        common.Bare(home) as bare,
    ):
        ways = {"host": common.Where(host.url, host.key), "Jupyter": common.Where(jupyter.gate, TOKEN)}
        for where in ways.values():
            asyncio.run(common.clients(where, common.MODEL, [[common.prompt(random.Random())]], 4))
        engine = psutil.Process(host.loaded()["pid"])
        processes = {
            "engine": engine,
            "host": psutil.Process(host.process.pid),
            "gate": psutil.Process(jupyter.process.pid),
        }

        def measure(way: str, prompts: list[list[str]]) -> dict[str, float]:
            """Milliseconds of CPU a token, by process."""
            if way == "bare":
                taken = bare.run(prompts, args.tokens)
                return {"engine": taken["cpu"] / taken["tokens"] * 1000, "ttft": common.median(taken["ttft"]) * 1000}
            before = {name: own(process) for name, process in processes.items()}
            taken = asyncio.run(common.clients(ways[way], common.MODEL, prompts, args.tokens))
            spent = {
                name: (own(process) - before[name]) / taken["tokens"] * 1000 for name, process in processes.items()
            }
            return {**spent, "ttft": common.median(taken["ttft"]) * 1000}

        for number in range(-1, args.rounds):  # the first is the warm-up
            order = [(way, count) for count in counts for way in ("bare", *ways)]
            taken: dict[tuple[str, int], dict[str, float]] = {}
            for way, count in order if number % 2 == 0 else reversed(order):
                rng = random.Random(f"{number} {count} {way}")
                taken[way, count] = measure(
                    way, [[common.prompt(rng) for _ in range(2 if count > 1 else 4)] for _ in range(count)]
                )
            if number < 0:
                continue
            for count in counts:
                raw = taken["bare", count]
                for way in ways:
                    spent = taken[way, count]
                    beyond = spent["engine"] - raw["engine"]
                    parts = {
                        "engine beyond bare": beyond,
                        "host": spent["host"],
                        "gate": spent["gate"],
                        "in all": beyond + spent["host"] + spent["gate"],
                        "bare": raw["engine"],
                        "TTFT": spent["ttft"],
                        "TTFT bare": raw["ttft"],
                    }
                    for part, value in parts.items():
                        found.setdefault((way, count), {}).setdefault(part, []).append(value)
            print(f"round {number + 1} of {args.rounds}", file=sys.stderr)

    rows, figures = [], {}
    for (way, count), parts in found.items():
        rows.append(
            (f"{way}, {count}", *(common.spread(parts[part], ".2f") for part in PARTS), common.spread(parts["bare"]))
        )
        rows.append(("TTFT ms", common.spread(parts["TTFT"]), common.spread(parts["TTFT bare"]), "", "", ""))
        figures[f"{way} {count}"] = {part: common.summary(values) for part, values in parts.items()}
    common.table(("CPU ms a token", *PARTS, "the bare engine", "TTFT ms", "TTFT bare"), rows)
    for (way, count), least in AIMS.items():
        if (way, count) in found:
            report.aim(
                f"CPU ms a token beyond bare, {way}, {count} at once",
                common.median(found[way, count]["in all"]),
                under=least,
            )
    report.body["figures"] = figures
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
