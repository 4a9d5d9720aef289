"""Text from ids: no character cut in two, no stop string let through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from illama.engine.text import Detokenizer, StopScanner

TEXTS = ["plain words", "Grüße, 世界 and 😀👩‍👩‍👧!", "ทดสอบ עברית العربية", "\ufffd stays", "a\u0301e\u0301", ""]


def run(pieces: list[bytes], errors: str, cut: int | None = None, times: int = 1) -> tuple[str, list[str]]:
    """Feed tokens one by one, as the engine's loop does; a decoder puts U+FFFD for broken bytes, or drops them.

    Equal pieces are one token. With several `times` the text is made again, by who has met its tokens before.
    """
    vocabulary = sorted(set(pieces))
    tokens = [vocabulary.index(piece) for piece in pieces[:cut]]
    known: dict[int, str] = {}

    def decode(rows: list[list[int]]) -> list[str]:
        return [b"".join(vocabulary[i] for i in ids).decode("utf-8", errors) for ids in rows]

    for _ in range(times):
        detokenizer, sent = Detokenizer(known), []
        for token in tokens:
            piece = detokenizer.push([token])
            sent.append(detokenizer.take(decode(detokenizer.rows())) if piece is None else piece)
        if detokenizer.pending:
            sent.append(detokenizer.finish(decode(detokenizer.rows())))
    return b"".join(pieces[:cut]).decode("utf-8", "ignore"), sent


@pytest.mark.parametrize("errors", ["replace", "ignore"])
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("width", [1, 2, 3, 4, 5])
def test_streamed_text_is_the_whole_text_however_the_bytes_are_cut(text: str, width: int, errors: str) -> None:
    data = text.encode()
    whole, sent = run([data[at : at + width] for at in range(0, len(data), width)], errors, times=2)
    assert "".join(sent) == whole == text


@pytest.mark.parametrize("errors", ["replace", "ignore"])
def test_a_character_that_the_token_limit_cut_is_dropped(errors: str) -> None:
    data = "ab😀".encode()
    for cut in range(3, 6):
        _, sent = run([bytes([byte]) for byte in data], errors, cut=cut)
        assert "".join(sent) == "ab"


@given(
    st.text(max_size=40), st.lists(st.integers(1, 6), min_size=1, max_size=60), st.sampled_from(["replace", "ignore"])
)
def test_any_text_cut_in_any_way_arrives_whole(text: str, widths: list[int], errors: str) -> None:
    text = text.replace("\ufffd", "")
    data, pieces = text.encode(), []
    while data:
        width = widths[len(pieces) % len(widths)]
        pieces.append(data[:width])
        data = data[width:]
    _, sent = run(pieces, errors, times=2)
    assert "".join(sent) == text


def test_a_token_whose_text_was_seen_is_not_decoded_again() -> None:
    known: dict[int, str] = {}
    first = Detokenizer(known)
    assert first.push([1]) is None
    assert first.take(["one", "", "one"]) == "one"
    assert first.push([2]) is None
    assert first.take(["one two", "one", "two"]) == " two"  # a tokenizer that writes the space only in company
    assert first.push([2, 2]) == " two two"
    second = Detokenizer(known)
    assert second.push([2]) is None, "the first of an answer has no company"


def test_a_text_that_depends_on_the_token_before_is_not_remembered() -> None:
    known: dict[int, str] = {}
    detokenizer = Detokenizer(known)
    detokenizer.push([1])
    detokenizer.take([" ", "", " "])
    detokenizer.push([2])
    assert detokenizer.take([" \u201c", " ", ""]) == "\u201c"  # the second half of a character, of a decoder that drops
    detokenizer.push([3])
    detokenizer.take(["\u201c n't", "\u201c", "'t"])  # a decoder that mends contractions
    assert known == {}


def scan(stops: list[str], pieces: list[str]) -> tuple[str, bool]:
    scanner = StopScanner(stops)
    sent = "".join(scanner.feed(piece) for piece in pieces)
    return sent + scanner.flush(), scanner.hit


def test_a_stop_string_that_spans_pieces_never_leaks() -> None:
    scanner = StopScanner(["END"])
    assert [scanner.feed(piece) for piece in ["one E", "N", "D two"]] == ["one ", "", ""]
    assert scanner.hit


def test_what_only_began_like_a_stop_string_is_sent_after_all() -> None:
    assert scan(["END"], ["one E", "N", "tirely"]) == ("one ENtirely", False)


def test_what_is_held_back_at_the_end_is_sent() -> None:
    assert scan(["END"], ["one EN"]) == ("one EN", False)


def test_the_first_of_several_stop_strings_counts() -> None:
    assert scan(["b", "ab"], ["xxab"]) == ("xx", True)


@given(st.text("abc", max_size=30), st.lists(st.text("abc", min_size=1, max_size=4), max_size=3), st.integers(1, 4))
def test_scanning_in_pieces_gives_what_cutting_the_whole_gives(text: str, stops: list[str], width: int) -> None:
    ends = [text.find(stop) for stop in stops if stop in text]
    sent, hit = scan(stops, [text[at : at + width] for at in range(0, len(text), width)])
    if not ends:
        assert (sent, hit) == (text, False)
    else:
        # Nothing from the first stop string on is sent; of two that overlap, the one complete first may cut earlier.
        assert hit
        assert text.startswith(sent)
        assert not any(stop in sent for stop in stops)
