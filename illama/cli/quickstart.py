"""`quickstart`: from nothing to a first answer.

Knows: the order of things, and what to try next. Does not know: how any of it is done.
"""

from __future__ import annotations

import argparse
import sys

from illama.cli import text
from illama.cli.run import answer, installed
from illama.config import Settings
from illama.errors import EngineError

MODEL = "smollm2"
QUESTION = "What is the capital of France?"


def quickstart(args: argparse.Namespace, settings: Settings) -> int:
    """`illama quickstart`."""
    from illama.client import Client

    with Client(settings=settings) as client:
        client.connect()
        text.warn(client.warnings)
        print(f"The model host is at {client.base_url}.", file=sys.stderr)
        model = installed(client, MODEL)
        print(f">>> {QUESTION}")
        reply = answer(client, QUESTION, model=model, max_tokens=64, temperature=0)
        if not reply.text.strip():
            raise EngineError("The model gave no answer.", hint=f"See the log in {settings.log_dir}, then try again.")
        print(
            f"\nThat came from {reply.model or model} on {reply.timings.get('device', 'this machine')}. Next:\n"
            f"- In a terminal, `illama run {MODEL}` is a conversation.\n"
            f"- In a notebook, `%load_ext illama`, then `%%illama` in front of a question.\n"
            f"- OpenAI clients take {client.base_url}/v1 and the key in {settings.key_file}."
        )
    return 0
