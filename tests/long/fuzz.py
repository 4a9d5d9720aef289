"""Wears down the requests' parsing: thousands of made-up requests, valid and not, to every path of /openapi.json.

    python tests/long/fuzz.py [--cases 200] [--seed N] [--quick]

A real host with the fake engine, Schemathesis in an environment of its own. `--cases` is the number for each
operation, of requests with likely values and again of requests with any; some thousands for all, in about ten minutes.
Exit code 1 if one of these does not hold:

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
# What a request may name in `model`: the first one is installed; the second one too, in Ollama's dialect.
MODELS = ["talker", "talker:latest", "nobody", ""]
OTHERS = {
    "Embed": ["embedder", "embedder", "talker", "nobody"],
    "Rerank": ["ranker", "ranker", "talker", "nobody"],
    "Delete": ["victim", "nobody"],
}
# Values that are in range, for the half of the requests that are to get further than the checks; what is seldom served,
# or takes long, is left out there.
LIKELY: dict[str, dict[str, Any]] = {
    **{name: {"type": "integer", "minimum": 1, "maximum": 40} for name in ("max_tokens", "max_completion_tokens")},
    **{name: {"type": "integer", "minimum": 1, "maximum": 40} for name in ("max_output_tokens", "top_k", "min_tokens")},
    **{name: {"type": "number", "minimum": -2, "maximum": 2} for name in ("presence_penalty", "frequency_penalty")},
    **{name: {"type": "integer", "minimum": 0, "maximum": 1} for name in ("top_logprobs", "seed")},
    "temperature": {"type": "number", "minimum": 0, "maximum": 2},
    "top_p": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
    "min_p": {"type": "number", "minimum": 0, "maximum": 1},
    "repetition_penalty": {"type": "number", "exclusiveMinimum": 0, "maximum": 2},
    "n": {"type": "integer", "minimum": 1, "maximum": 3},
    "keep_alive": {"enum": [-1, 0, 30, "5m", "-1m"]},
    "device": {"enum": ["CPU"]},
    "think": {"enum": [True, False, "low", "high"]},
    "format": {"enum": ["", "json", {"type": "object"}]},
    "prompt": {"type": "string", "minLength": 1},
}
NOT_LIKELY = {
    *("suffix", "logit_bias", "best_of", "no_repeat_ngram_size", "header_wait", "modalities", "function_call"),
    *("structured_outputs", "guided_json", "guided_regex", "guided_choice", "guided_grammar", "regex", "grammar"),
    *("json_schema", "images", "template", "context", "raw", "background", "previous_response_id", "conversation"),
    *("tools", "tool_choice", "reasoning_effort", "truncate", "dimensions"),
}
# No pull reaches anything: the hub is a port that nobody listens to.
NO_HUB = {"HF_ENDPOINT": "http://127.0.0.1:9"}


def narrowed(document: dict[str, Any], *, likely: bool) -> dict[str, Any]:
    """The same description with names of models that may exist; `likely`: and with values that are in range."""
    for name, found in document["components"]["schemas"].items():
        if not name.endswith("Request"):
            continue
        kind = next((models for part, models in OTHERS.items() if part in name), MODELS)
        fields = found.get("properties", {})
        for field in {"model", "name", "source", "destination"} & fields.keys():
            fields[field] = {"type": "string", "enum": kind}
        if likely:
            for field in NOT_LIKELY & fields.keys():
                del fields[field]
            for field in LIKELY.keys() & fields.keys():
                fields[field] = LIKELY[field]
    for methods in document["paths"].values():
        for parameter in methods.get("parameters", ()):
            if parameter["name"] == "model":
                parameter["schema"] = {"type": "string", "enum": ["talker", "nobody"]}
    return document


def tracebacks(log: str) -> list[str]:
    """Each different traceback of a log, with the line before it, which says at what, and the error's own line."""
    # What is indented belongs to a traceback, and so does the first line behind it.
    found = re.findall(r"(.*\n)?(^.*Traceback \(most recent call last\):\n(?:[ \t].*\n)+.*)", log, re.MULTILINE)
    return list({trace: before + trace for before, trace in found}.values())


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
    parser.add_argument("--cases", type=int, default=200, help="made-up requests for each operation, twice")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--quick", action="store_true", help="ten requests for each operation")
    args = parser.parse_args()
    cases = 10 if args.quick else args.cases
    print(f"seed {args.seed}, {cases} cases for each operation", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        home.mkdir(mode=0o700)
        fake_model(home, "talker")
        fake_model(home, "embedder", task="embedding")
        fake_model(home, "ranker", task="rerank")
        with running_host(home, **NO_HUB) as host:
            description = Path(folder) / "openapi.json"
            few = [argument for path in (*NOT_SERVED, "/api/pull") for argument in ("--include-path", path)]
            many = [argument.replace("include", "exclude") for argument in few]
            held = True
            for likely in (True, False):
                document = host.http.get("/openapi.json").json()
                description.write_text(json.dumps(narrowed(document, likely=likely)))
                checks = ("--checks", f"not_a_server_error,{SHAPE}")
                held &= fuzz(host, description, cases, args.seed, *checks, *many)
            held &= fuzz(host, description, min(cases, 5), args.seed, "--checks", SHAPE, *few)
            served = host.chat("talker", "still there?").text
            reached = collections.Counter(re.findall(r"\b(\d{3} (?:POST|DELETE) /\S+) \d+ ms", host.log()))
            print(
                "answers, as the host's log has them:",
                *(f"{count:6} {what}" for what, count in sorted(reached.items())),
                sep="\n",
            )
            faults = tracebacks(host.log())
            if '"content":"still there?"' not in served or faults:
                told = "\n\n".join(faults) or host.log()[-4000:]
                print(f"the host did not come through: {served!r}; from its log:\n{told}")
                held = False
    print("held" if held else "DID NOT HOLD")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
