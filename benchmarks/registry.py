"""How long `illama list` takes with thousands of models: the whole command, and what of it is the registry.

    python benchmarks/registry.py [--models 5000] [--rounds 7] [--json FILE]

It makes a registry of small models as pulls make them, each with its folder, its metadata and its files.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import common
from support_models import many_models

from illama.registry import Registry


def command(home: Path, *arguments: str) -> tuple[float, float]:
    """Milliseconds of a Python process: by the clock, and of CPU time, which strangers on the machine lengthen less."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ILLAMA_")}
    before, begun = _cpu(), time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments],
        env={**environment, "ILLAMA_HOME": str(home), "PYTHONPATH": str(Path(__file__).resolve().parent.parent)},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return (time.perf_counter() - begun) * 1000, (_cpu() - before) * 1000


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def timed(call: Callable[[], object]) -> float:
    """Milliseconds of a call."""
    begun = time.perf_counter()
    call()
    return (time.perf_counter() - begun) * 1000


def main() -> int:
    parser = common.options("How long a list of thousands of models takes.", rounds=7)
    parser.add_argument("--models", type=int, default=5000)
    args = parser.parse_args()
    report = common.Report(args)
    names = ["a bare start", "illama list", "illama list, CPU time", "entries(), first", "entries(), nothing changed"]
    found: dict[str, list[float]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory(prefix="illama-bench-") as folder:
        home = Path(folder)
        many_models(home / "registry", args.models)
        for _ in range(args.rounds):
            found["a bare start"].append(command(home, "-c", "pass")[0])
            wall, cpu = command(home, "-m", "illama.cli", "list")
            found["illama list"].append(wall)
            found["illama list, CPU time"].append(cpu)
            registry = Registry(home / "registry")
            found["entries(), first"].append(timed(registry.entries))
            found["entries(), nothing changed"].append(timed(registry.entries))
    rows = [(name, common.spread(values, ".1f")) for name, values in found.items()]
    common.table(("ms", "median (lowest to highest)"), rows)
    report.aim(f"illama list with {args.models} models, ms", common.median(found["illama list"]), under=500)
    report.body["figures"] = {name: common.summary(values) for name, values in found.items()}
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
