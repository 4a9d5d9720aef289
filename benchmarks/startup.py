"""How long people wait before anything happens: the import, a command, the host, the extension in a notebook.

    python benchmarks/startup.py [--rounds 11] [--json FILE]

Each is compared with the same process without illama, in turns.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import httpx
from support_host import running_host

IPYTHON = "from IPython.core.interactiveshell import InteractiveShell as S; shell = S()"


def wall(arguments: list[str], **environment: str) -> float:
    """Milliseconds of a Python process."""
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )
    return (time.perf_counter() - began) * 1000


def imported(code: str) -> float:
    """Milliseconds that the import of illama takes by Python's own count, all that it imports included."""
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", code], check=True, capture_output=True, text=True)
    lines = [line.split("|") for line in done.stderr.splitlines() if line.startswith("import time:")]
    return next(int(total) for _, total, name in lines if name.strip() == "illama") / 1000


def host_ready(home: Path) -> float:
    """Milliseconds until a host, just started, answers."""
    began = time.perf_counter()
    with running_host(home) as host:
        httpx.get(f"{host.url}/health").raise_for_status()
        return (time.perf_counter() - began) * 1000


def main() -> int:
    parser = common.options("What people wait for before anything happens.", rounds=11)
    args = parser.parse_args()
    report = common.Report(args)
    with tempfile.TemporaryDirectory(prefix="illama-bench-") as folder, common.real_home() as home:
        own = {"ILLAMA_HOME": str(home), "IPYTHONDIR": folder}
        variants: dict[str, Callable[[], float]] = {
            "a bare start": lambda: wall(["-c", "pass"]),
            "import illama": lambda: wall(["-c", "import illama"]),
            "import illama, by -X importtime": lambda: imported("import illama"),
            "illama --help": lambda: wall(["-m", "illama.cli", "--help"], **own),
            "illama list": lambda: wall(["-m", "illama.cli", "list"], **own),
            "IPython's shell": lambda: wall(["-c", IPYTHON], **own),
            "IPython's shell, %load_ext illama": lambda: wall(
                ["-c", f"{IPYTHON}; shell.run_line_magic('load_ext', 'illama')"], **own
            ),
            "import tornado.web, httpx": lambda: wall(["-c", "import asyncio, tornado.web, httpx"]),
            "a host, until it answers": lambda: host_ready(home),
        }
        for variant in variants.values():
            variant()
        found: dict[str, list[float]] = {name: [] for name in variants}
        for number in range(args.rounds):
            for name in variants if number % 2 == 0 else reversed(variants):
                found[name].append(variants[name]())
    common.table(("ms", "median (lowest to highest)"), [(name, common.spread(v, ".0f")) for name, v in found.items()])

    def beyond(what: str, without: str) -> float:
        return common.median(found[what]) - common.median(found[without])

    bare = "a bare start"
    report.aim("import illama beyond a bare start, ms", beyond("import illama", bare), under=60)
    report.aim("import illama by -X importtime, ms", common.median(found["import illama, by -X importtime"]), under=60)
    figures: dict[str, Any] = {name: common.summary(values) for name, values in found.items()}
    for what, without in [
        ("illama list", bare),
        ("IPython's shell, %load_ext illama", "IPython's shell"),
        ("a host, until it answers", "import tornado.web, httpx"),
    ]:
        print(f"        {what}, beyond {without}: {beyond(what, without):.0f} ms")
        figures[f"{what}, beyond {without}"] = beyond(what, without)
    report.body["figures"] = figures
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
