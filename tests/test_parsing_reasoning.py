"""Reasoning is told from the answer, wherever the stream is cut."""

from __future__ import annotations

import pytest
from support_parsing import parse_everywhere

from illama.host.parsing import Reasoning, Text, Thought, style_of


def reasoning(text: str, *, opened: bool = False) -> list[object]:
    return list(parse_everywhere(lambda: Reasoning(opened=opened), text))


@pytest.mark.parametrize("text", ["<think>\nHm, 2 < 3.\n\n</think>\n\nYes.", "\n<think>Hm, 2 < 3.</think>Yes."])
def test_the_reasoning_and_the_answer_are_two_parts_without_the_white_space_between(text: str) -> None:
    assert reasoning(text) == [Thought("Hm, 2 < 3."), Text("Yes.")]


def test_a_prompt_that_opened_the_reasoning_needs_no_tag() -> None:
    assert reasoning("Hm.\n</think>\n\nYes.", opened=True) == [Thought("Hm."), Text("Yes.")]


def test_a_tag_that_repeats_the_prompts_is_no_reasoning() -> None:
    assert reasoning("<think>\nHm.</think>Yes.", opened=True) == [Thought("Hm."), Text("Yes.")]


def test_an_answer_without_reasoning_is_text_to_the_last_character() -> None:
    for text in ("Yes.", "  Yes <think>no</think> ", "<thin", "<thinking> is hard", "\n\n", ""):
        assert reasoning(text) == ([Text(text)] if text else [])


def test_a_tag_in_the_middle_of_the_answer_is_text() -> None:
    text = "<think>a</think>Write <think>b</think>."
    assert reasoning(text) == [Thought("a"), Text("Write <think>b</think>.")]


def test_empty_reasoning_is_none() -> None:
    assert reasoning("<think>\n\n</think>\n\nYes.") == [Text("Yes.")]


def test_reasoning_that_was_cut_by_the_limit_stays_reasoning() -> None:
    assert reasoning("<think>Let me see: 1 < 2 </th") == [Thought("Let me see: 1 < 2 </th")]
    assert reasoning("Let me", opened=True) == [Thought("Let me")]


def test_white_space_inside_of_the_reasoning_is_kept() -> None:
    assert reasoning("<think>a\n\n b </think>c") == [Thought("a\n\n b"), Text("c")]


def test_a_template_tells_whether_its_model_reasons_and_whether_its_prompt_opened_it() -> None:
    assert style_of("{{ messages }}", None).think is None
    style = style_of("{{ content.split('</think>')[-1] }}", None)
    assert style.think == ("<think>", "</think>")
    assert style.opened("<|assistant|><think>\n")
    assert not style.opened("<think>\n\n</think>\n\n")
