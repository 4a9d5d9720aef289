from __future__ import annotations

from types import SimpleNamespace

import pytest

from illama.client import Reply
from illama.notebook.display import Area, CellAnswer, TerminalAnswer, answer, in_notebook
from illama.notebook.replies import summary


class Page:
    """A display publisher that keeps what it was given, in order."""

    def __init__(self) -> None:
        self.messages: list[SimpleNamespace] = []

    def publish(
        self, data: dict[str, str], metadata: dict[str, object], transient: dict[str, str], update: bool
    ) -> None:
        self.messages.append(SimpleNamespace(data=data, id=transient["display_id"], update=update))


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def page() -> Page:
    return Page()


def cell(page: Page, form: str = "md", *, live: bool = True, clock: Clock | None = None) -> CellAnswer:
    return CellAnswer(Area(SimpleNamespace(display_pub=page)), form, live=live, clock=clock or Clock())


def test_an_answer_is_one_display_that_is_updated(page: Page):
    clock = Clock()
    place = cell(page, clock=clock)
    for piece in ("The ", "capital"):
        place.add(piece)
        clock.now += 1
    place.done("2 tokens")
    assert [message.update for message in page.messages] == [False, True, True]
    assert len({message.id for message in page.messages}) == 1
    assert page.messages[-1].data["text/plain"] == "The capital\n\n[2 tokens]"


def test_pieces_that_come_fast_are_drawn_at_a_steady_rate(page: Page):
    clock = Clock()
    place = cell(page, clock=clock)
    for _ in range(1000):
        place.add("x")
        clock.now += 0.001
    assert 10 <= len(page.messages) <= 14


def test_the_last_piece_is_always_shown(page: Page):
    place = cell(page)
    place.add("first")
    place.add(" last")
    place.done("")
    assert page.messages[-1].data == {"text/markdown": "first last", "text/plain": "first last"}


def test_without_streaming_there_is_one_display_and_no_update(page: Page):
    place = cell(page, live=False)
    place.note("loading")
    place.add("a")
    place.add("b")
    place.done("")
    assert [(message.update, message.data["text/plain"]) for message in page.messages] == [(False, "ab")]


def test_the_first_piece_replaces_the_note(page: Page):
    clock = Clock()
    place = cell(page, clock=clock)
    place.note("loading SmolLM2 …")
    clock.now += 1
    place.add("Paris")
    assert [message.data["text/plain"] for message in page.messages] == ["[⏳ loading SmolLM2 …]", "Paris"]


def test_a_note_that_comes_late_changes_nothing(page: Page):
    place = cell(page)
    place.add("Paris")
    place.note("queued 3")
    assert len(page.messages) == 1


def test_html_in_an_answer_is_text_in_both_forms(page: Page):
    for form, mime in (("md", "text/markdown"), ("text", "text/html")):
        place = cell(page, form)
        place.add("<script>alert(1)</script>")
        place.done("by <b>")
        assert "<script" not in page.messages[-1].data[mime]
        assert "<b>" not in page.messages[-1].data[mime]


def test_a_stopped_answer_keeps_its_text_and_says_so(page: Page):
    place = cell(page)
    place.add("The cap")
    place.stopped("stopped")
    assert page.messages[-1].data["text/plain"] == "The cap\n\n[■ stopped]"


def test_an_answer_that_never_began_shows_nothing_when_it_is_stopped(page: Page):
    cell(page).stopped("stopped")
    assert page.messages == []


def test_a_terminal_gets_the_pieces_as_they_come(capsys: pytest.CaptureFixture[str]):
    place = TerminalAnswer()
    place.note("loading")
    place.note("loading")
    place.add("The \x1b[31mcapital")
    assert capsys.readouterr() == ("The [31mcapital", "(loading)\n")
    place.done("2 tokens")
    assert capsys.readouterr() == ("\n", "[2 tokens]\n")


def test_a_terminal_without_streaming_gets_the_whole_answer_at_the_end(capsys: pytest.CaptureFixture[str]):
    place = TerminalAnswer(live=False)
    place.note("loading")
    place.add("Par")
    place.add("is")
    assert capsys.readouterr() == ("", "")
    place.done("")
    assert capsys.readouterr() == ("Paris\n", "")


def test_a_kernels_shell_is_told_from_a_terminals():
    assert in_notebook(SimpleNamespace(kernel=object()))
    assert not in_notebook(SimpleNamespace())
    assert isinstance(answer(SimpleNamespace(), "md", live=True), TerminalAnswer)


def reply(**timings: object) -> Reply:
    return Reply("x", "SmolLM2", "stop", usage={"completion_tokens": 42}, timings=dict(timings))


def test_the_summary_names_tokens_speed_first_token_model_and_device():
    line = summary(reply(predicted_per_second=65.12, ttft_ms=180.4, load_ms=0, device="CPU"))
    assert line == "42 tokens · 65.1 tokens/s · first token after 0.18 s · SmolLM2 on CPU"


def test_the_summary_says_what_loading_took():
    assert "loaded in 12 s" in summary(reply(load_ms=12_345))


def test_the_summary_says_that_an_answer_was_cut():
    cut = Reply("x", "SmolLM2", "length", usage={"completion_tokens": 1})
    assert summary(cut) == "1 token · SmolLM2 · cut at its token limit"
