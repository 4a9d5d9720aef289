"""What a switch from one model to another costs beyond what any process needs to load the second.

    python benchmarks/switch.py [--rounds 5] [--json FILE]

Three names for the same model. In turns: a bare process starts, imports GenAI and loads (bare.py, with the engine's own
settings); the host, with one model loaded and idle, is asked for another, A to B to A. Once until the model is ready,
once until the first token of an answer. Then ten requests at once for a model that is not loaded: they share one load.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time

import common

A, B, C = "model-a", "model-b", "model-c"
WAITERS = 10


def main() -> int:
    parser = common.options("The cost of a switch of models.")
    args = parser.parse_args()
    report = common.Report(args)
    found: dict[str, list[float]] = {}

    def note(what: str, seconds: float) -> None:
        found.setdefault(what, []).append(seconds)

    with common.real_home([A, B, C]) as home, common.real_host(home) as host:
        where = common.Where(host.url, host.key)

        def ready(model: str) -> float:
            began = time.monotonic()
            asyncio.run(common.post(where, "/api/generate", {"model": model}))
            return time.monotonic() - began

        def first_token(model: str) -> float:
            return asyncio.run(common.stream(where, model, common.prompt(random.Random()), 1)).ttft

        def bare() -> tuple[float, float]:
            with common.Bare(home, B) as process:
                asked = process.run([[common.prompt(random.Random())]], 1)
                return process.start_seconds, process.start_seconds + asked["ttft"][0]

        bare()  # warm-up: the files are in memory from now on
        ready(A)
        ready(C)
        for number in range(args.rounds):
            for kind in ("bare", "host") if number % 2 == 0 else ("host", "bare"):
                if kind == "bare":
                    loaded, first = bare()
                    note("bare: ready", loaded)
                    note("bare: first token", first)
                else:
                    ready(A)
                    note("host: ready", ready(B))
                    note("host: ready", ready(A))
                    note("host: first token", first_token(B))
                    note("host: first token", first_token(A))
            print(f"round {number + 1} of {args.rounds}", file=sys.stderr)

        before = host.log().count(f"loaded {C} ")
        waiters = asyncio.run(waiting(where))
        loads = host.log().count(f"loaded {C} ") - before

    common.table(
        ("seconds", "median (lowest to highest)"), [(what, common.spread(v, ".2f")) for what, v in found.items()]
    )
    late = common.median(found["bare: first token"]) - common.median(found["bare: ready"])
    print(
        f"        A bare process pays {late:.2f} s more at its first token (what GenAI compiles late, and the prompt);"
    )
    print("        the host pays the most of that in its warm-up, before it says that the model is ready.")
    for what in ("ready", "first token"):
        beyond = common.median(found[f"host: {what}"]) - common.median(found[f"bare: {what}"])
        report.aim(f"a switch beyond a bare start, until {what}, s", beyond, under=0.3)
    report.aim(f"loads that {WAITERS} waiters for one model took", loads, under=1.5)
    load = [each.timings["load_ms"] / 1000 for each in waiters]
    print(
        f"        they waited {common.spread(load, '.2f')} s for it, and had their first token after "
        f"{common.spread([each.ttft for each in waiters], '.2f')} s"
    )
    report.body["figures"] = {what: common.summary(values) for what, values in found.items()}
    report.body["figures"]["shared_loads"] = loads
    return report.finish()


async def waiting(where: common.Where) -> list[common.Streamed]:
    """Requests for a model that is not loaded, all at once."""
    prompts = [common.prompt(random.Random()) for _ in range(WAITERS)]
    return await asyncio.gather(*(common.stream(where, C, content, 8) for content in prompts))


if __name__ == "__main__":
    sys.exit(main())
