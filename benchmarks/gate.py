"""What the way through Jupyter adds: the unmodified openai SDK at the host and through the gate, asked in turn.

    python benchmarks/gate.py [--rounds 50] [--json FILE] [--check]

A real Jupyter server in token mode before a real host; the fake engine answers with the same text after the same time,
so that what differs is the way. Each round asks both, in alternating order: first for the first token of a stream, then
for the list of models.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import common
import openai
from support_gate import TOKEN, jupyter_server
from support_host import fake_model, running_host

MODEL = "echo"
QUESTION = '/fake {"step_sec": 0.02, "tokens": 20, "text": "word"}'


def first_token(client: openai.OpenAI) -> float:
    """Milliseconds until a stream's first piece of text."""
    began = time.perf_counter()
    with client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": QUESTION}], stream=True
    ) as chunks:
        for chunk in chunks:
            if chunk.choices and chunk.choices[0].delta.content:
                return (time.perf_counter() - began) * 1000
    raise AssertionError("an answer without text")


def models(client: openai.OpenAI) -> float:
    """Milliseconds of the shortest request: the list of models."""
    began = time.perf_counter()
    client.models.list()
    return (time.perf_counter() - began) * 1000


def main() -> int:
    args = common.options("What the way through Jupyter adds.", rounds=50).parse_args()
    report = common.Report(args)
    with tempfile.TemporaryDirectory(prefix="illama-bench-") as folder:
        home = Path(folder) / "home"
        home.mkdir(mode=0o700)
        fake_model(home, MODEL)
        with running_host(home, ILLAMA_IDLE_TTL_SEC="-1") as host, jupyter_server(home) as jupyter:
            clients = {
                "the host": openai.OpenAI(base_url=f"{host.url}/v1", api_key=host.key),
                "through Jupyter": openai.OpenAI(base_url=f"{jupyter.gate}/v1", api_key=TOKEN),
            }
            found: dict[str, list[float]] = {}
            for what, measure in (("first token", first_token), ("list of models", models)):
                for client in clients.values():  # connections, the load, the gate's first look for the host
                    measure(client)
                for number in range(args.rounds):
                    for name in clients if number % 2 == 0 else reversed(clients):
                        found.setdefault(f"{what}, {name}", []).append(measure(clients[name]))
            for client in clients.values():
                client.close()
    common.table(("ms", "median (lowest to highest)"), [(name, common.spread(v)) for name, v in found.items()])
    added = common.median(found["first token, through Jupyter"]) - common.median(found["first token, the host"])
    report.aim("first token through Jupyter beyond the host's own, ms", added, under=20)
    report.body["figures"] = {name: common.summary(values) for name, values in found.items()}
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
