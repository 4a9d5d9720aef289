"""What guessing the next tokens brings: plain, prompt lookup and a draft, on text that is copied and on free text.

    python benchmarks/guessing.py [--rounds 5] [--tokens 96] [--json FILE]

One model under three names, all loaded, one request at a time, in turns. The draft is the model itself, as no smaller
one of the same tokens is at hand: every guess is right and costs as much as a token, so this shows what drafting costs
and not what a good small draft brings. The rate is by the engine's own clock, without the reading of the prompt.
"""

from __future__ import annotations

import asyncio
import random
import sys

import common

from illama.registry import Registry
from illama.registry.options import changed

WAYS = {"plain": {}, "prompt_lookup": {"prompt_lookup": "1"}, "draft": {"draft": common.MODEL}}
TEXTS = ("copied", "free")


def question(text: str, rng: random.Random) -> str:
    """A prompt that no cache has seen: a list to be said once more, or a story to be told."""
    words = rng.sample([f"{first} {second}" for first in common.WORDS for second in common.WORDS], 30)
    if text == "copied":
        items = "\n".join(f"{number}. {word}" for number, word in enumerate(words, 1))
        return f"Repeat this list exactly, with nothing before it:\n{items}"
    return f"Write a story of a {words[0]} and a {words[1]}."


def main() -> int:
    parser = common.options("What guessing the next tokens brings.")
    parser.add_argument("--tokens", type=int, default=96, help="tokens of an answer (default 96)")
    args = parser.parse_args()
    report = common.Report(args)
    rates: dict[tuple[str, str], list[float]] = {(way, text): [] for way in WAYS for text in TEXTS}

    with common.real_home(list(WAYS)) as home:
        registry = Registry(home / "registry")
        for way, wanted in WAYS.items():
            registry.update(way, lambda entry, wanted=wanted: changed(entry, wanted, registry.get))
        with common.real_host(home, ILLAMA_ONE_MODEL="0") as host:
            where = common.Where(host.url, host.key)

            def rate(way: str, text: str, seed: str) -> float:
                asked = question(text, random.Random(seed))
                answer = asyncio.run(common.stream(where, way, asked, args.tokens))
                return float(answer.timings["predicted_per_second"])

            for way in WAYS:  # load and compile
                rate(way, "copied", f"warm-up {way}")
            for number in range(args.rounds):
                # The same prompts for all, in an order that turns from round to round.
                order = [(way, text) for text in TEXTS for way in WAYS]
                for way, text in order if number % 2 == 0 else reversed(order):
                    rates[way, text].append(rate(way, text, f"{number} {text}"))
                print(f"round {number + 1} of {args.rounds}", file=sys.stderr)

    show(report, rates)
    return report.finish()


def show(report: common.Report, rates: dict[tuple[str, str], list[float]]) -> None:
    rows, figures = [], {}
    for way in WAYS:
        row = [way]
        for text in TEXTS:
            gains = [each / plain for each, plain in zip(rates[way, text], rates["plain", text], strict=True)]
            row += [common.spread(rates[way, text]), common.spread(gains, ".2f")]
            figures[f"{way}_{text}"] = {"rate": common.summary(rates[way, text]), "gain": common.summary(gains)}
        rows.append(row)
    common.table(("", "copied: tokens/s", "of plain", "free: tokens/s", "of plain"), rows)
    print(f"Median (lowest to highest) of {len(rates['plain', 'free'])} rounds.")
    report.body["figures"] = figures
    copied = common.median(figures["prompt_lookup_copied"]["gain"]["values"])
    report.aim("tokens/s with prompt lookup over plain, copied text", copied, least=1.2)


if __name__ == "__main__":
    sys.exit(main())
