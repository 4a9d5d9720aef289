"""An answer that lasts over five minutes comes through Jupyter whole, streamed and not, by the unmodified openai SDK.

    python tests/long/five_minutes.py [--minutes 5.5]

The fake engine takes half a second for a token. Proxies between a client and a model like to cut what takes 60 or 300
seconds. At the same time a 20-MB prompt goes through. Exit code 1 if one of these does not hold:

- Both long answers are whole; between two pieces of the streamed one there are never more than five seconds.
- A 20-MB prompt is refused in the host's own words, as at the host itself, with the same status.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "server_ext")]

import openai  # noqa: E402 - found by the path above
from support_gate import TOKEN, Jupyter, jupyter_server  # noqa: E402
from support_host import RunningHost, fake_model, running_host  # noqa: E402

STEP = 0.5  # seconds
TWENTY_MB = 20_000_000


def order(tokens: int, step: float = STEP, text: str = "word") -> list[dict[str, str]]:
    """A question that the fake engine takes as an order."""
    what = json.dumps({"step_sec": step, "tokens": tokens, "text": text})
    return [{"role": "user", "content": f"/fake {what}"}]


def long_stream(client: openai.OpenAI, tokens: int) -> str:
    """A streamed answer; what was wrong with it, or nothing."""
    begun = last = time.monotonic()
    longest, text = 0.0, ""
    chunks = client.chat.completions.create(model="echo", messages=order(tokens), stream=True, max_tokens=tokens)  # type: ignore[arg-type]
    for chunk in chunks:
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
        text += chunk.choices[0].delta.content or "" if chunk.choices else ""
    print(f"streamed: {len(text)} characters in {last - begun:.0f} s, at most {longest:.1f} s between two pieces")
    return "" if text == "word" * tokens and longest < 5 else "the streamed answer is not whole, or it stood still"


def long_answer(client: openai.OpenAI, tokens: int) -> str:
    """An answer in one piece."""
    begun = time.monotonic()
    answer = client.chat.completions.create(model="echo", messages=order(tokens), max_tokens=tokens)  # type: ignore[arg-type]
    text = answer.choices[0].message.content
    print(f"whole: {len(text or '')} characters after {time.monotonic() - begun:.0f} s")
    return "" if text == "word" * tokens else "the answer in one piece is not whole"


def large_prompt(host: RunningHost, jupyter: Jupyter) -> str:
    """A prompt of 20 MB, at the host and through the gate."""
    body = {"model": "echo", "messages": [{"role": "user", "content": "x" * TWENTY_MB}]}
    theirs = host.http.post("/v1/chat/completions", json=body)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    ours = jupyter.cookieless("POST", "/v1/chat/completions", json=body, headers=headers)
    print(f"large prompt: {theirs.status_code} at the host, {ours.status_code} through the gate")
    same = (theirs.status_code, theirs.json()["error"]) == (ours.status_code, ours.json()["error"])
    return "" if same else f"the large prompt is answered otherwise: {ours.text[:200]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.5)
    tokens = int(parser.parse_args().minutes * 60 / STEP)
    with tempfile.TemporaryDirectory(prefix="illama-long-") as scratch:
        home = Path(scratch) / "home"
        home.mkdir(mode=0o700)
        fake_model(home, "echo", slots=8)
        with running_host(home) as host, jupyter_server(home) as jupyter, ThreadPoolExecutor(3) as threads:
            client = openai.OpenAI(base_url=f"{jupyter.gate}/v1", api_key=TOKEN, max_retries=0, timeout=3600)
            running = [
                threads.submit(long_stream, client, tokens),
                threads.submit(long_answer, client, tokens),
                threads.submit(large_prompt, host, jupyter),
            ]
            wrong = [said for said in (each.result() for each in running) if said]
            client.close()
    for said in wrong:
        print(f"FAILED: {said}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
