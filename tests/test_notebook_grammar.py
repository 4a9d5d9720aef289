from __future__ import annotations

import pytest

from illama.notebook.arguments import GrammarError, HelpAsked
from illama.notebook.commands import Ask, Chat, List, Logs, Ps, Pull, Remove, Show, Stop, Thread, Use
from illama.notebook.grammar import VERBS, parse_cell, parse_line


def test_a_bare_cell_magic_asks_the_default_model():
    assert parse_cell("", "Hello?\n") == Ask(prompt="Hello?")


def test_all_options_of_the_cell_magic_are_read():
    line = "Phi-4 -s 'Be brief.' -n 20 -t 0.5 --seed 7 -o answer -f text --thread t --no-stream"
    assert parse_cell(line, "Hello?") == Ask(
        prompt="Hello?",
        model="Phi-4",
        system="Be brief.",
        max_tokens=20,
        temperature=0.5,
        seed=7,
        out="answer",
        format="text",
        thread="t",
        stream=False,
    )


@pytest.mark.parametrize(
    "body", ['{"a": 1} {b}', "$HOME `x` \\n", "it's \"quoted", "  indented\n\n\ttabs", "%illama ps"]
)
def test_the_body_of_a_cell_is_taken_to_the_letter(body: str):
    assert parse_cell("", body).prompt == body


@pytest.mark.parametrize(
    "line",
    [
        "a b",
        "-n 0",
        "-n x",
        "-t hot",
        "-t 3",
        "-t nan",
        "-o 1x",
        "-o class",
        "-f html",
        "--seed x",
        "--unknown",
        "-s 'open",
    ],
)
def test_a_wrong_line_is_an_error_that_shows_the_usage(line: str):
    with pytest.raises(GrammarError, match="usage: %%illama "):
        parse_cell(line, "Hello?")


def test_an_empty_cell_is_an_error():
    with pytest.raises(GrammarError, match="the cell is empty"):
        parse_cell("Phi-4", " \n")


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("pull smollm2", Pull("smollm2")),
        ("pull 'a b' --name x --device CPU", Pull("a b", name="x", device="CPU")),
        ("list", List()),
        ("ps", Ps()),
        ("stop", Stop()),
        ("stop Phi-4 --force", Stop("Phi-4", force=True)),
        ("show Phi-4", Show("Phi-4")),
        ("rm a b --force", Remove(["a", "b"], force=True)),
        ("use", Use()),
        ("use Phi-4 --device gpu.1", Use("Phi-4", device="gpu.1")),
        ("use --default", Use(default=True)),
        ("chat Phi-4 -s 'Be brief.' --thread t", Chat("Phi-4", "Be brief.", "t")),
        ("thread", Thread()),
        ("thread show t", Thread("show", "t")),
        ("thread clear", Thread("clear")),
        ("logs engine -n 5", Logs("engine", 5)),
    ],
)
def test_each_verb_becomes_a_command(line: str, command: object):
    assert parse_line(line) == command


@pytest.mark.parametrize(
    ("rest", "ask"),
    [
        ("Phi-4 What's up?", Ask("What's up?", model="Phi-4")),
        ('Phi-4 "What is up?"', Ask("What is up?", model="Phi-4")),
        ("Phi-4 'a' or 'b'?", Ask("'a' or 'b'?", model="Phi-4")),
        ("-n 5 Phi-4 -t 0 Hello  there", Ask("Hello  there", model="Phi-4", max_tokens=5, temperature=0.0)),
        ("Phi-4 -n5 Hello", Ask("Hello", model="Phi-4", max_tokens=5)),
        ("Phi-4 --no-stream Hello -n 5", Ask("Hello -n 5", model="Phi-4", stream=False)),
        ('-s "two words" Phi-4 Hello {x} $y \\z', Ask("Hello {x} $y \\z", model="Phi-4", system="two words")),
        ("Phi-4 line one\nline two", Ask("line one\nline two", model="Phi-4")),
        ('Phi-4 "What\'s -n?" -n 5 --seed 1', Ask("What's -n?", model="Phi-4", max_tokens=5, seed=1)),
        ('Phi-4 "a" - "b" is?', Ask('"a" - "b" is?', model="Phi-4")),
        ('Phi-4 "quoted" -ly', Ask('"quoted" -ly', model="Phi-4")),
    ],
)
def test_run_takes_the_rest_of_the_line_as_the_prompt(rest: str, ask: Ask):
    assert parse_line(f"run {rest}") == ask


def test_a_wrong_option_behind_a_quoted_prompt_is_not_read_as_text():
    with pytest.raises(GrammarError, match="max-tokens"):
        parse_line('run Phi-4 "Hello" -n lots')


def test_a_misspelt_verb_gets_the_one_that_is_like_it():
    with pytest.raises(GrammarError, match=r"no verb 'lst'\. Did you mean list\?"):
        parse_line("lst")
    assert parse_line("ls") == parse_line("list")


@pytest.mark.parametrize("rest", ["", "Phi-4", "Phi-4 -n 5", "Phi-4 -n", "-x Phi-4 Hello"])
def test_run_without_a_model_or_a_prompt_shows_its_usage(rest: str):
    with pytest.raises(GrammarError, match="usage: %illama run "):
        parse_line(f"run {rest}")


@pytest.mark.parametrize("line", ["thread show", "thread list t", "thread drop t", "use --default x", "logs it", "rm"])
def test_what_a_verb_cannot_do_shows_its_usage(line: str):
    with pytest.raises(GrammarError, match=f"usage: %illama {line.split()[0]} "):
        parse_line(line)


def test_an_unknown_verb_lists_the_verbs():
    with pytest.raises(GrammarError) as caught:
        parse_line("fetch x")
    assert "'fetch'" in str(caught.value)
    assert all(verb in str(caught.value) for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_each_verb_has_help(verb: str, flag: str):
    with pytest.raises(HelpAsked, match=f"usage: %illama {verb}"):
        parse_line(f"{verb} {flag}")


@pytest.mark.parametrize("line", ["", "--help", "help"])
def test_help_without_a_verb_lists_the_verbs(line: str):
    with pytest.raises(HelpAsked) as caught:
        parse_line(line)
    assert all(verb in str(caught.value) for verb in VERBS)


def test_the_cell_magic_has_help_that_names_every_option():
    with pytest.raises(HelpAsked) as caught:
        parse_cell("--help", "")
    assert all(option in str(caught.value) for option in ("-s", "-n", "-t", "--seed", "-o", "-f", "--no-stream"))
    assert "%%%%" not in str(caught.value)
