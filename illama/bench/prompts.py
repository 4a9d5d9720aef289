"""The texts that are asked: plain English, of so many tokens, and never the same twice.

Knows: words. Does not know: tokenizers; how many tokens a word takes is found by asking (`Sizes`).
"""

from __future__ import annotations

import random
import secrets
from dataclasses import dataclass

_SENTENCES = (
    "The harbour lay quiet under a low sky, and the boats moved only a little on the slack tide.",
    "She had kept the letters in a tin box, sorted by year, and never shown them to anyone.",
    "Copper conducts heat far better than steel, which is why the old kettles were made of it.",
    "In the spring the river carried whole trees past the mill, roots and all.",
    "He counted the steps to the lighthouse twice and came to a different number each time.",
    "A committee of seven was asked to review the budget, and it met every second Tuesday.",
    "The museum's oldest clock loses about four minutes in a week, and nobody is allowed to mend it.",
    "When the market closed, the traders folded their tables and shared what fruit was left.",
    "Most of the traffic now takes the northern road, since the bridge can bear no heavy trucks.",
    "They planted beans between the rows of maize, as their neighbours had done for generations.",
    "The train was late again, but the conductor told stories that made the hour pass quickly.",
    "Glass is made from sand, soda and lime, melted together at a very high temperature.",
    "On clear nights one can see the lamps of the fishing fleet far beyond the reef.",
    "The teacher wrote three questions on the board and left the room without a word.",
    "Our measurements agree with the earlier study, although the samples were taken in winter.",
    "A small library grew out of the books that travellers had left behind in the inn.",
    "The baker starts at two in the morning, and by six the whole street smells of bread.",
    "Nobody remembered who had planted the walnut tree, but everyone had climbed it once.",
    "The engineers lowered the instrument through the ice and waited for the first signal.",
    "It rained for nine days, and on the tenth the children went out to look for snails.",
    "Her grandfather repaired violins in a workshop that was hardly wider than its door.",
    "The council voted to keep the tram, with two voices against and one abstention.",
    "Salt was once so dear in the mountains that it was handed down like silver.",
    "The map showed a path along the cliff, but most of it had fallen into the sea.",
)
QUESTION = "\n\nGo on with this text for as long as you can."
SECOND_QUESTION = "And what would you leave out of it?"


@dataclass(frozen=True)
class Sizes:
    """How many tokens a text has: `fixed` for what stands around it, and `each` for every word."""

    fixed: float = 40.0
    each: float = 1.3

    @classmethod
    def of(cls, few: tuple[int, int], many: tuple[int, int]) -> Sizes:
        """From two texts' words and tokens."""
        each = (many[1] - few[1]) / (many[0] - few[0])
        return cls(few[1] - few[0] * each, each)

    def words(self, tokens: int) -> int:
        """The number of words that make so many tokens, as near as can be told."""
        return max(1, round((tokens - self.fixed) / self.each))


def text(seed: str, words: int) -> str:
    """A text of so many words. The same seed gives the same text behind a beginning that no cache has seen.

    So what is asked of two servers in one round differs by a number and has the same length.
    """
    rng = random.Random(seed)  # noqa: S311 - nobody's secret depends on it
    body: list[str] = []
    while len(body) < words:
        body += rng.choice(_SENTENCES).split()
    number = " ".join(f"{secrets.randbelow(9000) + 1000}" for _ in range(3))
    return f"Note {number}. " + " ".join(body[:words]) + QUESTION


def first_turn(content: str) -> list[dict[str, str]]:
    """A conversation that begins."""
    return [{"role": "user", "content": content}]


def second_turn(content: str) -> list[dict[str, str]]:
    """The same conversation one answer and one question later."""
    return [
        *first_turn(content),
        {"role": "assistant", "content": "I would be glad to."},
        {"role": "user", "content": SECOND_QUESTION},
    ]
