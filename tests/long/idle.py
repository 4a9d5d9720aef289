"""Wears down idle unloading: on time, whoever looks meanwhile, and no request lost in the moment of the eviction.

    python tests/long/idle.py [--quick] [--rounds 3] [--races 20] [--seed N]

About two minutes. Exit code 1 if one of these does not hold:

- With ILLAMA_IDLE_TTL_SEC=5 the real engine's process is gone between 5 and 6 seconds after the end of its last
  request, and its memory with it, while /api/ps, /v1/models and /health are called all the time.
- Requests that come in around the moment of the eviction, from 30 ms before it to 30 ms after, are all served: some by
  the engine that was about to go, others by a new one (the fake engine; both must occur).
- So are ten that come at once in that moment, and they share one engine.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks"), str(ROOT / "tests")]

import common  # noqa: E402 - found by the path above
import httpx  # noqa: E402
import psutil  # noqa: E402
from stress import FLAT, Memory, megabytes  # noqa: E402
from support_host import RunningHost, fake_model, running_host  # noqa: E402

TTL = 5.0
SHORT_TTL = 0.5
CROWD = 10


class Looker:
    """Calls what must not keep a model loaded, all the time."""

    def __init__(self, host: RunningHost) -> None:
        self._host = host
        self._end = threading.Event()
        self.looks = 0
        self.wrong: list[str] = []
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        with httpx.Client(base_url=self._host.url, headers={"Authorization": f"Bearer {self._host.key}"}) as http:
            while not self._end.wait(0.01):
                for path in ("/api/ps", "/v1/models", "/health"):
                    status = http.get(path).status_code
                    if status != 200:
                        self.wrong.append(f"{path} answered {status}")
                    self.looks += 1

    def __enter__(self) -> Looker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


def on_time(rounds: int, problems: list[str]) -> None:
    """The real engine goes when its time has come, and its memory with it."""
    with common.real_home() as home, common.real_host(home, ILLAMA_IDLE_TTL_SEC=f"{TTL:g}") as host:
        process = psutil.Process(host.process.pid)
        host.chat(common.MODEL, "hi", max_tokens=2).raise_for_status()
        host.http.post("/api/generate", json={"model": common.MODEL, "keep_alive": 0}).raise_for_status()
        before = Memory.of(process)
        with Looker(host) as looker:
            for number in range(rounds):
                host.chat(common.MODEL, "Name three colours.", max_tokens=20).raise_for_status()
                ended = time.monotonic()
                engine = psutil.Process(host.loaded()["pid"])
                held = Memory.of(*common.tree(process.pid))
                while engine.is_running() and time.monotonic() - ended < 3 * TTL:
                    time.sleep(0.005)
                took = time.monotonic() - ended
                left = [each.pid for each in process.children(recursive=True)]
                after = Memory.of(process)
                print(
                    f"  {number + 1}: gone {took:.2f} s after the last answer; "
                    f"memory of the tree {megabytes(held)}, then {megabytes(after)}"
                )
                # The answer's last byte is here a little after the engine was done: hence the tenth.
                if not TTL - 0.1 <= took <= TTL + 1:
                    problems.append(f"the engine went after {took:.2f} s, not {TTL:g}")
                if left:
                    problems.append(f"processes are left over: {left}")
                if abs(after.held - before.held) > FLAT:
                    problems.append(f"memory is not back: {(after.held - before.held) / 2**20:+.1f} MB")
        print(f"  {looker.looks} looks at the host meanwhile")
        problems += looker.wrong


def races(count: int, rng: random.Random, problems: list[str]) -> None:
    """A request in the moment of the eviction is served."""
    with tempfile.TemporaryDirectory(prefix="illama-idle-") as folder:
        home = Path(folder)
        fake_model(home, "fake")
        with running_host(home, ILLAMA_IDLE_TTL_SEC=f"{SHORT_TTL:g}") as host, Looker(host) as looker:
            kept = renewed = 0
            for number in range(count):
                # Half of the requests spread over the moment, half at what may be the very millisecond.
                offset = rng.uniform(-0.03, 0.03) if number % 2 else rng.uniform(-0.004, 0.004)
                before, after = at_deadline(host, offset, lambda: [host.chat("fake", "still there?")], problems)
                kept, renewed = kept + (before == after), renewed + (before != after)
            print(f"  {count} requests around the eviction: {kept} by the old engine, {renewed} by a new one")
            if not kept or not renewed:
                problems.append("the requests did not meet the moment of the eviction: all fell on one side")
            with concurrent.futures.ThreadPoolExecutor(CROWD) as pool:
                for _ in range(max(count // 4, 2)):
                    began = host.log().count(": loaded fake")
                    at_deadline(
                        host,
                        rng.uniform(-0.004, 0.004),
                        lambda: list(pool.map(lambda i: host.chat("fake", f"client {i}"), range(CROWD))),
                        problems,
                    )
                    loads = host.log().count(": loaded fake") - began
                    if loads > 2:  # the one before the moment, and one after it
                        problems.append(f"{CROWD} requests at once took {loads - 1} loads")
            print(f"  {max(count // 4, 2)} times {CROWD} requests at once: served")
        problems += looker.wrong


def at_deadline(
    host: RunningHost, offset: float, ask: Callable[[], list[httpx.Response]], problems: list[str]
) -> tuple[int, int]:
    """Load, let the idle time run, ask `offset` seconds from its end; the engine's pid before and after."""
    host.chat("fake", "hello").raise_for_status()
    # The host's own figure is rounded to a tenth, so the clock is ours: it starts when the answer is here.
    end = time.monotonic() + SHORT_TTL + offset
    before = int(host.loaded()["pid"])
    time.sleep(max(end - time.monotonic(), 0))
    for response in ask():
        if response.status_code != 200 or not response.json()["choices"][0]["message"]["content"]:
            problems.append(f"{offset * 1000:+.1f} ms from the eviction: {response.status_code} {response.text}")
    models = host.ps()
    return before, int(models[0]["pid"]) if models else -1


def main() -> int:
    parser = argparse.ArgumentParser(description="Idle unloading, on time and without a request lost.")
    parser.add_argument("--quick", action="store_true", help="one round with the real engine, ten races")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--races", type=int)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    args = parser.parse_args()
    problems: list[str] = []
    print(f"seed {args.seed}")
    on_time(args.rounds or (1 if args.quick else 3), problems)
    races(args.races or (10 if args.quick else 20), random.Random(args.seed), problems)
    for problem in problems:
        print(f"PROBLEM: {problem}")
    print("all held" if not problems else f"{len(problems)} did not hold (seed {args.seed})")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
