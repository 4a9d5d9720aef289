"""Wears down the scheduler on the real model: three models in one slot, many clients, leavers, killed engines.

    python tests/long/stress.py [--quick] [--seed N] [--requests 500] [--clients 40]

500 requests from 40 clients for three models (one model under three names), streamed and whole; a third of the clients
leave at random moments, and twice the engine is killed while it answers. About three minutes on two cores; `--quick`
is 120 requests from 12 clients, half of that. Exit code 1 if one of these does not hold:

- Every client that stays gets its whole answer, by the model it asked for, or an error with one of illama's codes.
  Errors are expected of the killed engines alone, no more than ran in them.
- Nothing is left running or queued when all clients are done.
- Memory is flat within 10 MB, like with like (PSS, with the pages of files counted in full: see `Memory`). Twice, when
  the 50th request and the last are done, the load pauses, all connections are closed and every model is unloaded: the
  tree is now the host alone (the first figure). Then the same model is loaded anew and answers one fixed request (the
  second). The host's own use under load is sampled all the time, and is judged too.
- The host has as many file descriptors at the second pause as at the first, no more threads than its pool, and no
  process but itself.
- When the host has ended, none of the processes that it ever started lives, and its state file is gone.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks"), str(ROOT / "tests")]

import common  # noqa: E402 - found by the path above
import httpx  # noqa: E402
import psutil  # noqa: E402
from support_host import RunningHost, eventually  # noqa: E402

from illama.errors import BY_CODE  # noqa: E402

MODELS = ("model-a", "model-b", "model-c")
FIRST_LOOK = 50  # requests after which the memory counts
FLAT = 10 * 2**20
PATIENCE = 600.0  # seconds until an answer is taken for lost
QUESTIONS = ("Name three colours.", "Tell me a story about a dragon.", "Why is the sky blue?", "Count to fifty.")


@dataclass(frozen=True)
class Plan:
    """One request: what to ask for, and after how many seconds to leave, if at all."""

    number: int
    model: str
    streamed: bool
    content: str
    tokens: int
    leave: float | None


def plan(number: int, rng: random.Random) -> Plan:
    leave = rng.choice((rng.uniform(0, 0.3), rng.uniform(0, 4), rng.uniform(0, 20))) if rng.random() < 1 / 3 else None
    return Plan(
        number,
        rng.choice(MODELS),
        rng.random() < 0.5,
        f"{rng.choice(QUESTIONS)} {'word ' * rng.choice((0, 0, 20, 400))}",
        rng.choice((4, 16, 48)),
        leave,
    )


class Watch:
    """Sees every process that the host starts, and how much memory the host itself takes."""

    def __init__(self, pid: int) -> None:
        self.host = psutil.Process(pid)
        self.seen: set[psutil.Process] = set()
        self.samples: list[tuple[int, int]] = []  # requests done, bytes
        self.done = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._end.wait(0.1):
            try:
                self.seen.update(self.host.children(recursive=True))
                self.samples.append((self.done, Memory.of(self.host).held))
            except psutil.Error:
                return

    def close(self) -> None:
        self._end.set()
        self._thread.join()


@dataclass(frozen=True)
class Memory:
    """Bytes of one process, or of several together. `pss`: its own pages, and its share of those that it shares.

    Pages of files (libraries, weights) are shared with whatever else on the machine has mapped them, so the share goes
    up and down with strangers: 80 MB when another program that uses OpenVINO ends. `held` counts them in full.
    """

    pss: int
    held: int

    @classmethod
    def of(cls, *processes: psutil.Process) -> Memory:
        """What these processes have now; one that has ended has nothing."""
        pss = held = 0
        for process in processes:
            try:
                lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
            except OSError:
                continue
            pairs = (line.split() for line in lines if line.endswith(" kB"))
            found = {name: int(value) * 1024 for name, value, _ in pairs}
            pss += found["Pss:"]
            held += found["Pss_Anon:"] + found["Rss:"] - found["Anonymous:"]
        return cls(pss, held)


class Stress:
    """The load, and what came of it."""

    def __init__(self, host: RunningHost, watch: Watch, args: argparse.Namespace) -> None:
        self.host, self.watch, self.args = host, watch, args
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.wrong: list[str] = []
        self.killed_with = 0  # requests that ran in the engines that were killed

    async def requests(self, plans: Iterator[Plan], http: httpx.AsyncClient) -> None:
        for each in plans:
            try:
                outcome = await self._one(each, http)
            except httpx.HTTPError as problem:
                outcome = f"WRONG: {problem!r}"
            self.outcomes[outcome] += 1
            if outcome.startswith("WRONG"):
                self.wrong.append(f"{each}: {outcome}")
            self.watch.done += 1

    async def _one(self, each: Plan, http: httpx.AsyncClient) -> str:
        work = asyncio.ensure_future(self._streamed(each, http) if each.streamed else self._whole(each, http))
        done, _ = await asyncio.wait({work}, timeout=PATIENCE if each.leave is None else each.leave)
        if done:
            return work.result()
        work.cancel()  # closes the connection
        await asyncio.wait({work})
        return "left" if each.leave is not None else "WRONG: neither answer nor error"

    def _body(self, each: Plan) -> dict[str, Any]:
        message = {"role": "user", "content": each.content}
        return {"model": each.model, "messages": [message], "max_tokens": each.tokens, "stream": each.streamed}

    async def _whole(self, each: Plan, http: httpx.AsyncClient) -> str:
        response = await http.post("/v1/chat/completions", json=self._body(each))
        if response.status_code != 200:
            return _error(response.json(), "whole")
        answer = response.json()
        choice = answer["choices"][0]
        sound = answer["model"] == each.model and choice["finish_reason"] in ("stop", "length")
        return "answered, whole" if sound and answer["usage"]["completion_tokens"] else f"WRONG: {answer}"

    async def _streamed(self, each: Plan, http: httpx.AsyncClient) -> str:
        frames: list[Any] = []
        async with http.stream("POST", "/v1/chat/completions", json=self._body(each)) as response:
            if response.status_code != 200:
                return _error(json.loads(await response.aread()), "streamed")
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    frames.append(line[6:])
        if not frames or frames[-1] != "[DONE]":
            return f"WRONG: the stream broke off after {len(frames)} frames"
        last = json.loads(frames[-2])
        if "error" in last:
            return _error(last, "streamed")
        choice = last["choices"][0]
        sound = last["model"] == each.model and choice["finish_reason"] in ("stop", "length")
        return "answered, streamed" if sound and last["timings"]["predicted_n"] else f"WRONG: {last}"

    async def kill(self, after: int) -> None:
        """kill -9 the engine while it answers, once so many requests are done."""
        async with self._client() as http:
            while True:
                if self.watch.done >= after:
                    for model in (await http.get("/api/ps")).json()["models"]:
                        if model["state"] == "ready" and model["running"]:
                            os.kill(model["pid"], signal.SIGKILL)
                            # What was granted between the look and the kill dies with it: at most all clients'.
                            self.killed_with += self.args.clients
                            print(f"  killed the engine of {model['name']} with {model['running']} running")
                            return
                await asyncio.sleep(0.02)

    def _client(self) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=self.args.clients)
        headers = {"Authorization": f"Bearer {self.host.key}"}
        return httpx.AsyncClient(base_url=self.host.url, headers=headers, timeout=PATIENCE, limits=limits)

    async def load(self, plans: list[Plan], kills: list[int]) -> None:
        """All these requests, by all clients, and the kills among them."""
        shared = iter(plans)
        async with self._client() as http:
            killers = [asyncio.ensure_future(self.kill(after)) for after in kills]
            await asyncio.gather(*(self.requests(shared, http) for _ in range(self.args.clients)))
            for killer in killers:
                if not killer.done():
                    self.wrong.append("an engine was to be killed, but never ran")
                    killer.cancel()

    def look(self) -> dict[str, Any]:
        """Pause: everything unloaded, then one model loaded anew with one fixed answer. Returns the figures of both."""
        process = self.watch.host
        http = self.host.http
        eventually(lambda: not any(m["running"] or m["queued"] for m in self.host.ps()), "nothing runs or waits", 5)
        for model in MODELS:
            http.post("/api/generate", json={"model": model, "keep_alive": 0}).raise_for_status()
        eventually(lambda: self.host.ps() == [], "all is unloaded", 5)
        eventually(lambda: process.children(recursive=True) == [], "the host has no child left", 5)
        # The host sees that a connection was closed when its loop comes to it.
        eventually(lambda: len(process.net_connections()) <= 2, "the clients' connections are closed", 10)
        found: dict[str, Any] = {"bare": Memory.of(process), "fds": process.num_fds(), "threads": process.num_threads()}
        answer = self.host.chat(MODELS[0], "Count to fifty.", max_tokens=32, temperature=0, ignore_eos=True)
        answer.raise_for_status()
        found["loaded"] = Memory.of(*common.tree(process.pid))
        return found


def _error(body: Any, how: str) -> str:
    error = body.get("error")
    code = error.get("code") if isinstance(error, dict) else None
    return f"error {code}, {how}" if code in BY_CODE else f"WRONG: an error without a known code: {body}"


@contextmanager
def stage(seed: int) -> Iterator[tuple[RunningHost, Watch]]:
    with (
        common.real_home(MODELS) as home,
        # Rivals take turns often: with the default rules the minutes that this takes would see few switches.
        common.real_host(home, ILLAMA_MAX_WAIT_SEC="3", ILLAMA_MIN_RESIDENCY_SEC="1") as host,
    ):
        watch = Watch(host.process.pid)
        try:
            yield host, watch
        except BaseException:
            kept = Path(tempfile.gettempdir()) / f"illama-stress-{seed}.log"
            kept.write_text(host.log())
            print(f"the host's log is kept in {kept}")
            raise
        finally:
            watch.close()


def main() -> int:
    parser = argparse.ArgumentParser(description="Many clients, three models in one slot, killed engines.")
    parser.add_argument("--quick", action="store_true", help="120 requests from 12 clients")
    parser.add_argument("--requests", type=int)
    parser.add_argument("--clients", type=int)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    args = parser.parse_args()
    args.requests = args.requests or (120 if args.quick else 500)
    args.clients = args.clients or (12 if args.quick else 40)
    print(f"seed {args.seed}: {args.requests} requests from {args.clients} clients")
    rng = random.Random(args.seed)
    plans = [plan(number, rng) for number in range(args.requests)]
    problems: list[str] = []

    with stage(args.seed) as (host, watch):
        stress = Stress(host, watch, args)
        began = time.monotonic()
        asyncio.run(stress.load(plans[:FIRST_LOOK], []))
        first = stress.look()
        asyncio.run(stress.load(plans[FIRST_LOOK:], [args.requests // 3, args.requests * 2 // 3]))
        last = stress.look()
        seconds = time.monotonic() - began
        log, children = host.log(), set(watch.seen)
        watch.close()
        host.process.send_signal(signal.SIGTERM)
        if code := host.process.wait(60):
            problems.append(f"the host ended with exit code {code}")
        alive = [each for each in children if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
        if alive:
            problems.append(f"processes are left over: {alive}")
        if (host.home / "run" / "host.json").exists():
            problems.append("the state file is left over")

    print(f"{sum(stress.outcomes.values())} of {args.requests} requests came to an end in {seconds:.0f} s:")
    for outcome, count in sorted(stress.outcomes.items()):
        print(f"  {count:4}  {outcome}")
    print(f"  {log.count(': loaded model-')} loads, {len(children)} processes were started")
    problems += stress.wrong
    problems += judge_errors(stress)
    problems += judge_memory(first, last, watch)
    for line in log.splitlines():
        if "Traceback" in line or " ERROR " in line:
            problems.append(f"the host's log: {line}")
    for problem in problems:
        print(f"PROBLEM: {problem}")
    if problems:
        kept = Path(tempfile.gettempdir()) / f"illama-stress-{args.seed}.log"
        kept.write_text(log)
        print(f"the host's log is kept in {kept}")
    print("all held" if not problems else f"{len(problems)} did not hold (seed {args.seed})")
    return 1 if problems else 0


def judge_errors(stress: Stress) -> Iterator[str]:
    if sum(stress.outcomes.values()) != stress.args.requests:
        yield "not every request came to an end"
    died = sum(count for outcome, count in stress.outcomes.items() if outcome.startswith("error engine_died"))
    if died > stress.killed_with:
        yield f"{died} requests failed of engines that died, but at most {stress.killed_with} ran in those killed"
    for outcome in stress.outcomes:
        if outcome.startswith("error") and "engine_died" not in outcome:
            yield f"nothing should have led to: {outcome}"


def judge_memory(first: dict[str, Any], last: dict[str, Any], watch: Watch) -> Iterator[str]:
    for what, where in (("bare", "nothing loaded"), ("loaded", "one model loaded anew, one answer")):
        grown = last[what].held - first[what].held
        print(f"  memory of the tree, {where}: {megabytes(first[what])}, then {megabytes(last[what])}")
        if abs(grown) > FLAT:
            yield f"memory is not flat ({where}): {grown / 2**20:+.1f} MB"
    under_load = [size for done, size in watch.samples if done >= FIRST_LOOK and size]
    if max(under_load) - min(under_load) > FLAT:
        yield "the host's own memory is not flat under load"
    print(f"  memory of the host under load: {min(under_load) / 2**20:.1f} to {max(under_load) / 2**20:.1f} MB")
    # asyncio's own pool, in which memory is looked at, grows to its size (its default: cores + 4) and stays there.
    pool = min(32, (os.cpu_count() or 1) + 4)
    for what, allowed in (("fds", first["fds"]), ("threads", 1 + pool)):
        print(f"  {what} of the host: {first[what]}, then {last[what]} (at most {allowed})")
        if last[what] > allowed:
            yield f"{what} are left over: {last[what] - allowed}"


def megabytes(memory: Memory) -> str:
    return f"{memory.held / 2**20:.1f} MB (PSS {memory.pss / 2**20:.1f})"


if __name__ == "__main__":
    sys.exit(main())
