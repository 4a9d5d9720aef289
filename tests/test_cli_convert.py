"""What the verb `pull` asks for, and the question before an environment is made."""

from __future__ import annotations

import io

import pytest

from illama.cli import parser
from illama.cli import pull as verb
from illama.client.pulling import Pulling
from illama.errors import ConverterNeededError


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Pulls:
    """A client whose host needs the converter's environment."""

    def __init__(self):
        self.asked = []

    def pull(self, source, **wanted):
        self.asked.append(wanted)
        return Pulling(source, self._lines(wanted), lambda: None)

    def _lines(self, wanted):
        if not wanted.get("make_environment"):
            raise ConverterNeededError("Phi-4 is a checkpoint.", hint="Pull it with --yes.")
        yield {"status": "success", "name": "Phi-4"}


@pytest.fixture
def answer(monkeypatch):
    def do(text):
        monkeypatch.setattr(verb.sys, "stdin", Terminal(text))
        shown = Terminal()
        monkeypatch.setattr(verb.sys, "stderr", shown)
        return shown

    return do


def test_on_a_terminal_it_asks_and_goes_on_when_told_so(answer):
    shown, client = answer("y\n"), Pulls()
    assert verb.fetch(client, "a/b", weight_format="int4")["name"] == "Phi-4"
    assert [each.get("make_environment", False) for each in client.asked] == [False, True]
    assert client.asked[1]["weight_format"] == "int4"
    assert "Phi-4 is a checkpoint." in shown.getvalue()
    assert "[y/N]" in shown.getvalue()


@pytest.mark.parametrize("text", ["\n", "n\n", ""])
def test_anything_but_yes_leaves_it(answer, text):
    answer(text)
    client = Pulls()
    with pytest.raises(ConverterNeededError):
        verb.fetch(client, "a/b")
    assert len(client.asked) == 1


def test_in_a_pipe_it_never_asks(answer, monkeypatch):
    answer("y\n")
    monkeypatch.setattr(verb.sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(ConverterNeededError):
        verb.fetch(Pulls(), "a/b")


def test_the_verbs_options_reach_the_request():
    words = ["pull", "a/b", "--weight-format", "int8", "--trust-remote-code", "--yes"]
    args = parser.build().parse_args(words)
    assert (args.weight_format, args.trust_remote_code, args.yes) == ("int8", True, True)
