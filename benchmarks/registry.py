"""How long `illama list` takes with thousands of models: the whole command, and what of it is the registry.

    python benchmarks/registry.py [--models 5000] [--rounds 7]

It makes a registry of small models as pulls make them, each with its folder, its metadata and its files. The aim is
half a second for 5,000 of them, from the command to its last line.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support_models import many_models  # noqa: E402 - found by the path above

from illama.registry import Registry  # noqa: E402


def timed(command: list[str], home: Path, rounds: int) -> list[float]:
    """Seconds of a command in all, run after run."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ILLAMA_")}
    environment |= {"ILLAMA_HOME": str(home), "PYTHONPATH": str(ROOT)}
    found = []
    for _ in range(rounds):
        begun = time.perf_counter()
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        found.append(time.perf_counter() - begun)
    return found


def told(what: str, seconds: list[float]) -> None:
    """One line of figures."""
    print(f"{what:34} median {statistics.median(seconds):.3f} s, best {min(seconds):.3f}, worst {max(seconds):.3f}")


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="illama-registry-") as scratch:
        home = Path(scratch)
        many_models(home / "registry", options.models)
        print(f"{options.models} models")
        told("a bare Python", timed([sys.executable, "-c", "pass"], home, options.rounds))
        told("illama list", timed([sys.executable, "-m", "illama.cli", "list"], home, options.rounds))
        first, again = [], []
        for _ in range(options.rounds):
            registry = Registry(home / "registry")
            for kept in (first, again):
                begun = time.perf_counter()
                assert len(registry.entries()) == options.models
                kept.append(time.perf_counter() - begun)
        told("entries() of a new process", first)
        told("entries() when nothing has changed", again)
    return 0


if __name__ == "__main__":
    sys.exit(main())
