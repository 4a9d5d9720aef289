"""Has the real small model call tools, 50 times whole and 50 times streamed, and looks whether all arguments fit.

    python tests/long/tool_calls.py [--calls 50] [--clients 4]

SmolLM2 has 135 million parameters, and its template knows no tools: that its calls fit is the doing of the schema which
guides them. The schemas are bounded (lengths, ranges, choices), of the kinds that pydantic and zod make. Exit code 1 if
a call is missing, has other arguments than its schema allows, or is not one of the tools that were offered.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support_host import RunningHost, events, running_host  # noqa: E402 - found by the path above
from support_models import real_model_cache  # noqa: E402
from support_schema import misfit  # noqa: E402

MODEL = "SmolLM2-135M-Instruct"
TOOLS: list[dict[str, Any]] = [
    {
        "name": "get_weather",
        "description": "Tells the weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 24},
                "unit": {"enum": ["celsius", "fahrenheit"]},
                "days": {"type": "integer", "minimum": 1, "maximum": 14},
            },
            "required": ["city", "unit", "days"],
            "additionalProperties": False,
        },
    },
    {
        "name": "add_event",
        "description": "Puts an event into the calendar.",
        "parameters": {
            "$defs": {
                "Person": {
                    "type": "object",
                    "properties": {
                        "name": {"type": "string", "maxLength": 16},
                        "email": {"anyOf": [{"type": "string", "maxLength": 24}, {"type": "null"}]},
                    },
                    "required": ["name", "email"],
                    "additionalProperties": False,
                }
            },
            "type": "object",
            "properties": {
                "title": {"type": "string", "maxLength": 30},
                "date": {"type": "string", "pattern": "^20[0-9]{2}-[01][0-9]-[0-3][0-9]$"},
                "people": {"type": "array", "items": {"$ref": "#/$defs/Person"}, "maxItems": 2},
                "private": {"type": "boolean"},
            },
            "required": ["title", "date", "people", "private"],
            "additionalProperties": False,
        },
    },
    {
        "name": "set_light",
        "description": "Sets a lamp's brightness and colour.",
        "parameters": {
            "type": "object",
            "properties": {
                "room": {"type": "string", "enum": ["kitchen", "hall", "bedroom"]},
                "colour": {
                    "type": "array",
                    "items": {"type": "integer", "minimum": 0, "maximum": 255},
                    "minItems": 3,
                    "maxItems": 3,
                },
                "on": {"type": "boolean"},
            },
            "required": ["room", "colour", "on"],
            "additionalProperties": False,
        },
    },
]
QUESTIONS = (
    "What is the weather in Paris for the next three days?",
    "Meet Ada and Bob on Friday at noon.",
    "Make the kitchen red.",
    "Tell me a story about a dragon.",
    "Will it rain in Tokyo tomorrow? 東京",
)


def ask(host: RunningHost, number: int, *, stream: bool) -> str:
    """One required call, as a whole or streamed. Returns what is wrong with it, or nothing."""
    named = TOOLS[number % len(TOOLS)]["name"]
    choice: Any = "required" if number % 2 else {"type": "function", "function": {"name": named}}
    body = {
        "tools": [{"type": "function", "function": tool} for tool in TOOLS],
        "tool_choice": choice,
        "temperature": 0.8,
        "seed": number,
        "max_tokens": 400,
    }
    question = QUESTIONS[number % len(QUESTIONS)]
    if stream:
        with host.stream(MODEL, question, **body) as response:
            calls = _streamed(response)
    else:
        answer = host.chat(MODEL, question, **body).json()
        if "error" in answer:
            return str(answer["error"]["message"])
        message = answer["choices"][0]["message"]
        calls = [(c["function"]["name"], c["function"]["arguments"]) for c in message["tool_calls"]]
    if isinstance(calls, str):
        return calls
    if len(calls) != 1:
        return f"{len(calls)} calls"
    ((name, arguments),) = calls
    if choice != "required" and name != named:
        return f"a call of {name} instead of {named}"
    schema = next((tool["parameters"] for tool in TOOLS if tool["name"] == name), None)
    if schema is None:
        return f"a call of {name}, which is no tool"
    try:
        wrong = misfit(json.loads(arguments), schema)
    except ValueError as error:
        return f"no JSON ({error}): {arguments}"
    return f"{wrong}: {arguments}" if wrong else ""


def _streamed(response: Any) -> list[tuple[str, str]] | str:
    calls: dict[int, list[str]] = {}
    for frame in events(response):
        if "error" in frame:
            return str(frame["error"]["message"])
        for part in frame["choices"][0]["delta"].get("tool_calls") or ():
            if "id" in part:
                if not re.fullmatch(r"call_\w+", part["id"]) or part["index"] in calls:
                    return f"an id that is none, or comes twice: {part}"
                calls[part["index"]] = [part["function"]["name"], ""]
            calls[part["index"]][1] += part["function"]["arguments"]
    return [(name, arguments) for name, arguments in calls.values()]


def check(host: RunningHost, calls: int, clients: int) -> list[str]:
    """All calls, whole and streamed. Returns what was wrong."""
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        jobs = [(number, stream) for number in range(calls) for stream in (False, True)]
        found = list(pool.map(lambda job: ask(host, job[0], stream=job[1]), jobs))
    return [f"call {n}, {'streamed' if s else 'whole'}: {w}" for (n, s), w in zip(jobs, found, strict=True) if w]


def main() -> int:
    """Run, and tell how it went."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--calls", type=int, default=50)
    parser.add_argument("--clients", type=int, default=4)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        registry = str(real_model_cache() / "registry")
        with running_host(Path(home), ILLAMA_ENGINE="openvino", ILLAMA_REGISTRY_DIR=registry) as host:
            wrong = check(host, args.calls, args.clients)
    print(*wrong, sep="\n")
    print(f"{2 * args.calls - len(wrong)} of {2 * args.calls} calls fit")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
