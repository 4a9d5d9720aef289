"""OpenVINO GenAI alone, in a process of its own: what everything around the engine is measured against.

    python benchmarks/bare.py MODEL_FOLDER CONTEXT_LENGTH

Loads the model with the settings that illama's engine uses, says {"ready": true}, then reads a JSON line for each task,
{"prompts": [[...], ...], "tokens": 64}, one list of prompts for each client, and prints a JSON line of what it took.
Knows: `add_request`, `step`, `read`. Does not know: text, pipes, HTTP; nothing is detokenized.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

sys.modules["openvino_telemetry"] = None  # as in illama's engine: no usage data is sent

import openvino_genai as genai  # noqa: E402

from illama.engine.settings import BLOCK_TOKENS, MAX_BATCHED_TOKENS, SLOTS  # noqa: E402


def load(folder: str, context: int) -> Any:
    scheduler = genai.SchedulerConfig()
    scheduler.max_num_batched_tokens = MAX_BATCHED_TOKENS
    scheduler.max_num_seqs = SLOTS
    scheduler.enable_prefix_caching = True
    scheduler.num_kv_blocks = SLOTS * -(-context // BLOCK_TOKENS["CPU"])
    return genai.ContinuousBatchingPipeline(folder, scheduler, "CPU")


def run(pipe: Any, tokenizer: Any, clients: list[list[str]], limit: int) -> dict[str, Any]:
    """Answer each client's prompts one after the other, all clients at once."""
    began, cpu = time.monotonic(), sum(os.times()[:2])
    queues = [iter(prompts) for prompts in clients]
    running: dict[int, tuple[Any, float, int]] = {}  # handle, when it came, whose it is
    ttft: list[float] = []
    tokens, number = 0, 0

    def begin(client: int) -> None:
        nonlocal number
        prompt = next(queues[client], None)
        if prompt is None:
            return
        came = time.monotonic()
        text = tokenizer.apply_chat_template([{"role": "user", "content": prompt}], True)
        ids = tokenizer.encode(text, add_special_tokens=False).input_ids
        config = genai.GenerationConfig(max_new_tokens=limit, ignore_eos=True, do_sample=False)
        running[number] = (pipe.add_request(number, ids, config), came, client)
        number += 1

    for client in range(len(clients)):
        begin(client)
    seen: set[int] = set()
    while running:
        pipe.step()
        for id, (handle, came, client) in list(running.items()):
            finished = False
            while handle.can_read():
                for part in handle.read().values():
                    tokens += len(part.generated_ids)
                    finished = finished or part.finish_reason != genai.GenerationFinishReason.NONE
                    if id not in seen:
                        seen.add(id)
                        ttft.append(time.monotonic() - came)
            if finished:
                del running[id]
                begin(client)
    seconds = time.monotonic() - began
    return {"tokens": tokens, "seconds": seconds, "ttft": ttft, "cpu": sum(os.times()[:2]) - cpu}


def main() -> None:
    pipe = load(sys.argv[1], int(sys.argv[2]))
    tokenizer = pipe.get_tokenizer()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        task = json.loads(line)
        print(json.dumps(run(pipe, tokenizer, task["prompts"], task["tokens"])), flush=True)


if __name__ == "__main__":
    main()
