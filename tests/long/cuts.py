"""Wears down pulls: cut at random places by everything that can cut them, and taken up again.

    python tests/long/cuts.py [--quick] [--cuts 20] [--kills 9] [--seed N]

About ten minutes. It serves the real small model (98 MB) from a hub of its own. Exit code 1 if one of these does not
hold:

- A download is cut at a random place, in turn by the server closing and staying away, by `kill -9` of the host, by
  `kill -9` of the pull's process, and by a disk that fills up (a small tmpfs; only as root). Each time there is a clear
  message, nothing is listed, and the next pull finishes: under 10 % of the bytes fetched again, every sha256 right.
- A pull of a GGUF file is killed in each phase after the download: conversion, proof, registration; its process, the
  host, or the process that converts. Nothing half-made is listed, and the next pull finishes and fetches nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import psutil  # noqa: E402 - found by the path above
from support_host import RunningHost, running_host  # noqa: E402
from support_hub import PlayHub, Repo, playing, repo_of  # noqa: E402
from support_models import real_model_cache  # noqa: E402

from illama.client import Client  # noqa: E402
from illama.config import Settings  # noqa: E402
from illama.errors import IllamaError  # noqa: E402
from illama.pull import CATALOGUE  # noqa: E402
from illama.registry import Registry  # noqa: E402

REPO, GGUF = "OpenVINO/SmolLM2-135M-Instruct-int4-ov", "some/SmolLM2-GGUF"
# What a user is told, by what has cut the pull.
TOLD = {
    "server": ("cannot be reached", "is kept"),
    "host": ("broke off in the middle of the pull", "Pull again"),
    "process": ("ended unexpectedly (exit code -9)", "goes on from what is there"),
    "disk": ("disk is full", "Free some space"),
}
AGAIN = 0.10
PACE = 0.0005  # seconds for each 64 KiB: a download takes a second or two
FILLER = 40_000_000  # bytes: what is left of the small disk beside the model


def client_of(home: Path) -> Client:
    """A client of the host with this home."""
    return Client(settings=Settings.load({"ILLAMA_HOME": str(home)}), start=False)


def pull_processes(host: RunningHost) -> list[psutil.Process]:
    """The pulls of a host."""
    with contextlib.suppress(psutil.Error):
        family = psutil.Process(host.process.pid).children(recursive=True)
        return [each for each in family if each.is_running() and "illama.pull" in _command(each)]
    return []


def _command(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


def kill_host(host: RunningHost) -> None:
    """End the host by kill -9, and wait until its pulls have noticed."""
    pulls = pull_processes(host)
    host.process.kill()
    host.process.wait()
    psutil.wait_procs(pulls, timeout=30)


def kill_pull(host: RunningHost) -> None:
    """End the pull's process by kill -9, without its children."""
    for process in pull_processes(host):
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGKILL)


def kill_converter(host: RunningHost) -> None:
    """End what the pull's process has started."""
    for process in pull_processes(host):
        for child in process.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.send_signal(signal.SIGKILL)


def said(client: Client, source: str, on_line: Callable[[dict[str, object]], None]) -> IllamaError | None:
    """Pull, and return the error that it ends with, if any."""
    try:
        with client.pull(source) as events:
            for line in events:
                on_line(line)
    except IllamaError as error:
        return error
    return None


VICTIMS = {"process": kill_pull, "host": kill_host, "converter": kill_converter}
# The longest time in seconds from the beginning of a phase to the blow.
DELAYS = {"convert": 3.0, "prove": 1.0, "register": 0.01}


class Checks:
    """What did not hold."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def __call__(self, good: bool, what: str) -> None:
        if not good:
            self.problems.append(what)
            print(f"      WRONG: {what}")


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """A filesystem of its own in a folder."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def may_mount() -> bool:
    """Whether this user may have a small disk."""
    if os.name == "nt" or os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as scratch:
        try:
            with small_disk(Path(scratch) / "disk", 2**20):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False


def cut(hub: PlayHub, kind: str, place: int, home: Path, check: Checks) -> tuple[int, float]:
    """One download, cut at a place and taken up. Returns the bytes sent in all, and the seconds that the rest took."""
    hub.sent.clear()
    cache = home / "cache"
    reached = threading.Event()
    error: IllamaError | None = None

    def pass_on(name: str, start: int, length: int) -> int | None:
        left = place - hub.bytes_sent()
        if left >= length:
            return None
        reached.set()
        return max(left, 0)

    with running_host(home, HF_ENDPOINT=hub.url, ILLAMA_ENGINE="openvino", ILLAMA_DEVICE="CPU") as host:
        with client_of(home) as client:
            if kind == "server":
                hub.cut = pass_on
                error = said(client, REPO, lambda line: None)
            else:
                strike = {"host": kill_host, "process": kill_pull, "disk": lambda host: fill(cache)}[kind]

                def wait_and_strike() -> None:
                    while hub.bytes_sent() < place:
                        time.sleep(0.0002)
                    strike(host)

                striker = threading.Thread(target=wait_and_strike)
                striker.start()
                error = said(client, REPO, lambda line: None)
                striker.join()
        hub.cut = lambda name, start, length: None
        check(error is not None, f"{kind}: the pull ended as if nothing had happened")
        if error:
            check(TOLD[kind][0] in error.message, f"{kind}: the message was: {error.message}")
            check(TOLD[kind][1] in error.hint, f"{kind}: the hint was: {error.hint}")
        check(Registry(home / "registry").entries() == [], f"{kind}: something half-done is listed")
        (cache / "filler").unlink(missing_ok=True)
        if kind != "host":
            return hub.bytes_sent(), finish(home, check, kind)
    with running_host(home, HF_ENDPOINT=hub.url, ILLAMA_ENGINE="openvino", ILLAMA_DEVICE="CPU"):
        return hub.bytes_sent(), finish(home, check, kind)


def fill(folder: Path) -> None:
    """Another program that needs all of a disk."""
    with (folder / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 2**16)


def finish(home: Path, check: Checks, kind: str, source: str = REPO) -> float:
    """The next pull, which must succeed. Returns the seconds that it took."""
    begun = time.monotonic()
    with client_of(home) as client:
        error = said(client, source, lambda line: None)
        check(error is None, f"{kind}: the next pull failed: {error}")
        check(len(client.list()) == 1, f"{kind}: after the next pull there is {client.list()}")
    return time.monotonic() - begun


def right(home: Path, repo: Repo) -> bool:
    """Whether every file of the repository has arrived as it is."""
    registry = Registry(home / "registry")
    folder = registry.check(registry.entries()[0])
    return all(
        hashlib.sha256((folder / name).read_bytes()).digest() == hashlib.sha256(Path(given).read_bytes()).digest()
        for name, given in repo.files.items()
        if isinstance(given, Path)
    )


def cuts(hub: PlayHub, repo: Repo, count: int, chance: random.Random, check: Checks) -> None:
    """Downloads that are cut, one after another."""
    kinds = ["server", "host", "process", *(["disk"] if may_mount() else [])]
    if "disk" not in kinds:
        print("  (no full disks: this user may not mount a small one)")
    whole = sum(path.stat().st_size for path in repo.files.values() if isinstance(path, Path))
    whole += sum(len(data) for data in repo.files.values() if isinstance(data, bytes))
    worst: dict[str, float] = {}
    for number in range(count):
        kind, place = kinds[number % len(kinds)], chance.randrange(1_000_000, whole - 1_000_000)
        with tempfile.TemporaryDirectory(prefix="illama-cuts-") as scratch, contextlib.ExitStack() as disk:
            home = Path(scratch)
            if kind == "disk":
                disk.enter_context(small_disk(home / "cache", whole + FILLER))
            sent_before = len(check.problems)
            _, seconds = cut(hub, kind, place, home, check)
            again = hub.bytes_sent() / whole - 1
            worst[kind] = max(worst.get(kind, 0.0), again)
            check(again < AGAIN, f"{kind}: {100 * again:.1f} % were fetched again")
            if len(check.problems) == sent_before:
                check(right(home, repo), f"{kind}: a file is not what the hub has")
            print(
                f"  {number + 1:2}: {kind:8} at {100 * place / whole:3.0f} %: "
                f"fetched again {100 * again:5.2f} %, the rest took {seconds:.1f} s"
            )
    for kind, share in worst.items():
        print(f"  {kind}: at most {100 * share:.2f} % fetched again")


def kills(hub: PlayHub, count: int, chance: random.Random, check: Checks) -> None:
    """Pulls that are killed when the download is there."""
    seen: set[str] = set()
    phases, victims = list(DELAYS), list(VICTIMS)
    for number in range(count):
        victim, phase = victims[number % len(victims)], phases[number // len(victims) % len(phases)]
        delay = chance.uniform(0, DELAYS[phase])
        with tempfile.TemporaryDirectory(prefix="illama-cuts-") as scratch:
            what, seconds = kill(hub, Path(scratch), victim, phase, delay, seen, check)
        print(f"  {number + 1:2}: {victim:9} in {phase:8}: {what[:70]}; the next took {seconds:.1f} s")
    print(f"  phases seen: {', '.join(sorted(seen))}")


def kill(
    hub: PlayHub, home: Path, victim: str, phase: str, delay: float, seen: set[str], check: Checks
) -> tuple[str, float]:
    """One pull, killed in a phase and taken up. Returns how it ended, and the seconds that the next one took."""
    hub.sent.clear()
    where, source, struck = f"{phase}, {victim}", f"{GGUF}:q4_1", threading.Event()
    variables = {"HF_ENDPOINT": hub.url, "ILLAMA_ENGINE": "openvino", "ILLAMA_DEVICE": "CPU"}
    with running_host(home, **variables) as host:

        def on_line(line: dict[str, object]) -> None:
            seen.add(str(line.get("phase") or "success"))
            if line.get("phase") == phase and not struck.is_set():
                struck.set()
                time.sleep(delay)
                VICTIMS[victim](host)

        with client_of(home) as client:
            error = said(client, source, on_line)
        installed = Registry(home / "registry").entries()
        # It may have been so near to its end that it came there: then it has to be whole.
        check(len(installed) <= 1, f"{where}: listed: {installed}")
        for entry in installed:
            Registry(home / "registry").check(entry)
        if victim != "host":
            seconds = finish(home, check, where, source)
    if victim == "host":
        with running_host(home, **variables):
            seconds = finish(home, check, where, source)
    again = hub.bytes_sent() / CATALOGUE[0].size - 1
    check(again < AGAIN, f"{where}: {100 * again:.0f} % were fetched again")
    left = [path for path in (home / "registry" / ".staging").glob("*") if path.is_dir()]
    check(not left, f"{where}: left behind: {left}")
    return error.message if error else "came to its end" if struck.is_set() else "no such phase", seconds


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuts", type=int, default=20, help="downloads that are cut")
    parser.add_argument("--kills", type=int, default=9, help="pulls that are killed after the download")
    parser.add_argument("--quick", action="store_true", help="four cuts and three kills")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    if options.quick:
        options.cuts, options.kills = 4, 3
    print(f"seed {options.seed}")
    check, chance = Checks(), random.Random(options.seed)
    cached = real_model_cache()
    registry = Registry(cached / "registry")
    with playing() as hub:
        hub.pace = PACE
        repo = hub.repos[REPO] = repo_of(registry.folder(registry.get("smollm2")))
        del repo.files["illama.json"]
        repo.files["config.json"] = b'{"model_type": "llama", "max_position_embeddings": 8192}'
        print(f"{options.cuts} downloads that are cut at random places")
        cuts(hub, repo, options.cuts, chance, check)
        file = cached / "cache" / "downloads" / CATALOGUE[0].file_name
        hub.repos[GGUF] = Repo({"SmolLM2-Q4_1.gguf": file})
        print(f"{options.kills} pulls that are killed after the download")
        kills(hub, options.kills, chance, check)
    print(f"{len(check.problems)} things did not hold" if check.problems else "all held")
    return 1 if check.problems else 0


if __name__ == "__main__":
    sys.exit(main())
