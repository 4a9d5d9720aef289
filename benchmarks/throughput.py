"""How much of the bare engine's speed is left when the host stands around it.

    python benchmarks/throughput.py [--clients 1,8] [--rounds 5] [--json FILE]

Bare GenAI (bare.py, a process of its own) and the host (HTTP, streamed) answer the same prompts in turns, in one run:
what this machine does besides hits both. Each client sends its requests one after the other.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from typing import Any

import common

COLUMNS = (
    "clients",
    "tokens/s bare",
    "tokens/s host",
    "host/bare",
    "TTFT bare ms",
    "TTFT host ms",
    "CPU ms/token bare",
    "host",
)


def main() -> int:
    parser = common.options("The host against the bare engine.")
    parser.add_argument("--clients", default="1,8", help="numbers of clients (default 1,8)")
    parser.add_argument("--tokens", type=int, default=64, help="tokens of an answer (default 64)")
    parser.add_argument("--requests", type=int, default=2, help="requests of each client in a round (default 2)")
    args = parser.parse_args()
    counts = [int(count) for count in args.clients.split(",")]
    report = common.Report(args)
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}

    with common.real_home() as home, common.real_host(home) as host, common.Bare(home) as bare:
        where = common.Where(host.url, host.key)

        def measure(kind: str, prompts: list[list[str]], tokens: int) -> dict[str, Any]:
            busy = common.busy_seconds()
            taken = once(kind, prompts, tokens)
            strangers = common.busy_seconds() - busy - taken["cpu"] - taken.get("client_cpu", 0.0)
            return {**taken, "strangers": max(strangers, 0.0) / taken["seconds"] / os.cpu_count()}

        def once(kind: str, prompts: list[list[str]], tokens: int) -> dict[str, Any]:
            if kind == "bare":
                return bare.run(prompts, tokens)
            cpu, own = common.cpu_seconds(host.process.pid), time.process_time()
            taken = asyncio.run(common.clients(where, common.MODEL, prompts, tokens))
            own = time.process_time() - own
            return {**taken, "cpu": common.cpu_seconds(host.process.pid) - cpu, "client_cpu": own}

        for kind in ("bare", "host"):  # warm-up: load, compile, first use of each batch size
            for count in counts:
                measure(kind, [[common.prompt(random.Random(f"{kind} {i}"))] for i in range(count)], 16)
        for number in range(args.rounds):
            # The same prompts for both, in an order that turns from round to round.
            order = [(kind, count) for count in counts for kind in ("bare", "host")]
            for kind, count in order if number % 2 == 0 else reversed(order):
                rng = random.Random(f"{number} {count}")
                prompts = [[common.prompt(rng) for _ in range(args.requests)] for _ in range(count)]
                found.setdefault((kind, count), []).append(measure(kind, prompts, args.tokens))
            print(f"round {number + 1} of {args.rounds}", file=sys.stderr)

    show(report, counts, found)
    return report.finish()


def show(report: common.Report, counts: list[int], found: dict[tuple[str, int], list[dict[str, Any]]]) -> None:
    def each(kind: str, count: int, what: str) -> list[float]:
        return {
            "rate": [one["tokens"] / one["seconds"] for one in found[kind, count]],
            "ttft": [common.median(one["ttft"]) * 1000 for one in found[kind, count]],
            "cpu": [one["cpu"] / one["tokens"] * 1000 for one in found[kind, count]],
        }[what]

    rows, figures, ratios = [], {}, {}
    for count in counts:
        ratios[count] = [h / b for h, b in zip(each("host", count, "rate"), each("bare", count, "rate"), strict=True)]
        rows.append(
            (
                str(count),
                *(common.spread(each(kind, count, "rate"), ".0f") for kind in ("bare", "host")),
                common.spread(ratios[count], ".2f"),
                *(common.spread(each(kind, count, "ttft"), ".0f") for kind in ("bare", "host")),
                *(common.spread(each(kind, count, "cpu"), ".1f") for kind in ("bare", "host")),
            )
        )
        figures[str(count)] = {
            "host_to_bare": common.summary(ratios[count]),
            **{
                f"{kind}_{what}": common.summary(each(kind, count, what))
                for kind in ("bare", "host")
                for what in ("rate", "ttft", "cpu")
            },
            "client_cpu": common.summary([one["client_cpu"] / one["tokens"] * 1000 for one in found["host", count]]),
        }
    common.table(COLUMNS, rows)
    client = ", ".join(f"{figures[str(count)]['client_cpu']['median']:.2f} at {count}" for count in counts)
    print(f"Median (lowest to highest) of {len(ratios[counts[0]])} rounds. The load's own CPU, ms a token: {client}.")
    strangers = [one["strangers"] for rounds in found.values() for one in rounds]
    figures["strangers"] = common.summary(strangers)
    print(
        f"Other programs took {common.spread(strangers, '.0%')} of the machine meanwhile: above a tenth, run it again."
    )
    for count in counts:
        report.aim(
            f"tokens/s of the host over the bare engine's, {count} at once", common.median(ratios[count]), least=0.97
        )
    for many in counts[1:]:
        for kind in ("host", "bare"):
            gains = [m / f for m, f in zip(each(kind, many, "rate"), each(kind, counts[0], "rate"), strict=True)]
            figures[f"{kind}_gain_{many}"] = common.summary(gains)
            if kind == "host":
                report.aim(f"tokens/s at {many} over {counts[0]}", common.median(gains), least=2.2)
            else:
                print(f"        the bare engine's: {common.spread(gains, '.2f')}")
    report.body["figures"] = figures


if __name__ == "__main__":
    sys.exit(main())
