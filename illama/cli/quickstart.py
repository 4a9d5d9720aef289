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
            f"  illama run {model}           a conversation\n"
            f"  %load_ext illama             in a notebook; then %%illama in front of a question\n"
            f"  {client.base_url}/v1   for OpenAI clients; the key is in {settings.key_file}"
        )
    return 0
