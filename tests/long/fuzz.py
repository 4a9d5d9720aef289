"""Wears down the requests' parsing: thousands of made-up requests, valid and not, to every path of /openapi.json.

    python tests/long/fuzz.py [--cases 200] [--seed N] [--quick]

A real host with the fake engine, Schemathesis in an environment of its own. `--cases` is the number for each operation,
some thousands for all; about ten minutes. Exit code 1 if one of these does not hold:

- No answer is a 500 or any other status that means a fault of the host's own.
- Every answer, an error too, has the content type and the shape that /openapi.json says.
- Every answer comes: none takes longer than the time limit, and the host serves as before afterwards.

`model` is made to be an installed one half of the time, since nobody guesses a name; paths that are not served here
(they answer 501 to everything) and pulls, each a process of its own, are sent fewer requests.
"""

from __future__ import annotations

import argparse
import collections
import json
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support_host import RunningHost, fake_model, running_host  # noqa: E402 - found by the path above
from support_venvs import environment  # noqa: E402

SCHEMATHESIS = "schemathesis>=4.10,<5"
# Seconds for one answer. What is made up asks for no more than a few thousand tokens of the fake engine.
PATIENCE = 60
SHAPE = "status_code_conformance,content_type_conformance,response_schema_conformance"
NOT_SERVED = ("/api/create", "/api/push", "/api/blobs/{digest}")
# What a request may name in `model`: the first two are installed.
MODELS = ["talker", "talker:latest", "nobody", ""]
# No pull reaches anything: the hub is a port that nobody listens to.
NO_HUB = {"HF_ENDPOINT": "http://127.0.0.1:9"}


def narrowed(document: dict[str, Any]) -> dict[str, Any]:
    """The same description with names of models that may exist."""
    for name, found in document["components"]["schemas"].items():
        if not name.endswith("Request"):
            continue
        names = ["victim", "nobody"] if name.endswith("DeleteRequest") else MODELS
        for field in {"model", "name", "source", "destination"} & found.get("properties", {}).keys():
            found["properties"][field] = {"type": "string", "enum": names}
    for path, methods in document["paths"].items():
        for parameter in methods.get("parameters", ()):
            if parameter["name"] == "model":
                parameter["schema"] = {"type": "string", "enum": ["talker", "nobody"]}
        assert path.startswith("/")
    return document


def fuzz(host: RunningHost, description: Path, cases: int, seed: int, *more: str) -> bool:
    """One run of Schemathesis; True if all held."""
    command = [
        environment(SCHEMATHESIS) / "schemathesis",
        *("run", str(description), "--url", host.url, "--header", f"Authorization: Bearer {host.key}"),
        *("--max-examples", str(cases), "--seed", str(seed), "--request-timeout", str(PATIENCE)),
        *("--phases", "examples,coverage,fuzzing", "--continue-on-failure", "--warnings", "off", "--no-color"),
        *("--suppress-health-check", "all"),
        *more,
    ]
    with tempfile.TemporaryDirectory() as scratch:
        return subprocess.run(command, cwd=scratch).returncode == 0


def main() -> int:
    """Run it all; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=200, help="made-up requests for each operation")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--quick", action="store_true", help="ten requests for each operation")
    args = parser.parse_args()
    cases = 10 if args.quick else args.cases
    print(f"seed {args.seed}, {cases} cases for each operation", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        home.mkdir(mode=0o700)
        fake_model(home, "talker")
        with running_host(home, **NO_HUB) as host:
            description = Path(folder) / "openapi.json"
            description.write_text(json.dumps(narrowed(host.http.get("/openapi.json").json())))
            elsewhere = [argument for path in (*NOT_SERVED, "/api/pull") for argument in ("--exclude-path", path)]
            rest = [argument for path in (*NOT_SERVED, "/api/pull") for argument in ("--include-path", path)]
            held = fuzz(host, description, cases, args.seed, "--checks", f"not_a_server_error,{SHAPE}", *elsewhere)
            held &= fuzz(host, description, min(cases, 5), args.seed, "--checks", SHAPE, *rest)
            served = host.chat("talker", "still there?").text
            reached = collections.Counter(re.findall(r"\b(\d{3} (?:POST|DELETE) /\S+) \d+ ms", host.log()))
            print(
                "answers, as the host's log has them:",
                *(f"{count:6} {what}" for what, count in sorted(reached.items())),
                sep="\n",
            )
            if '"content":"still there?"' not in served or "Traceback" in host.log():
                print(f"the host did not come through: {served!r}; its log:\n{host.log()[-4000:]}")
                held = False
    print("held" if held else "DID NOT HOLD")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
