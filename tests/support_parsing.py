"""What tests of parsers share: a text is parsed cut everywhere, and must come out the same."""

from __future__ import annotations

from collections.abc import Callable

from illama.host.parsing import Parser, Part
from illama.host.parsing.parts import joined


def parse(make: Callable[[], Parser], *pieces: str) -> list[Part]:
    """The parts of a text that comes in these pieces."""
    parser = make()
    parts = [part for piece in pieces for part in parser.feed(piece)]
    return joined([*parts, *parser.finish()])


def parse_everywhere(make: Callable[[], Parser], text: str) -> list[Part]:
    """The parts of a text, seen to be the same wherever it is cut in two, and cut into single characters."""
    whole = parse(make, text)
    for at in range(len(text) + 1):
        assert parse(make, text[:at], text[at:]) == whole, f"cut at {at}: {text[:at]!r} | {text[at:]!r}"
    assert parse(make, *text) == whole
    assert parse(make, *[text[at : at + 3] for at in range(0, len(text), 3)]) == whole
    return whole
