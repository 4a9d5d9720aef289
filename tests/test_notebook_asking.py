"""What a question's options do: shapes, variables, code, stamps, seeds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest
from IPython.core.error import UsageError
from support_notebook import Host, asked, frame, make_shell, piece, shown

from illama.errors import AnswerError, RequestError

ORIGIN = {
    "source": {"kind": "gguf", "file": "model.gguf"},
    "recipe": {"converter": "openvino_genai", "openvino": "2026.4.1"},
    "digest": "ab" * 32,
}


@dataclass
class City:
    name: str
    people: int


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def shell(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    yield from make_shell(host, tmp_path, monkeypatch)


def answer(text: str, reason: str = "stop", **last: Any) -> Any:
    end = frame(choices=[{"index": 0, "delta": {}, "finish_reason": reason}]) + frame(
        choices=[], usage={"completion_tokens": 2}, timings={"device": "CPU"}, **last
    )
    return lambda: iter([piece(text), end + b"data: [DONE]\n\n"])


def test_json_guides_the_model_and_gives_back_the_type(shell: Any, host: Host):
    host.answer = answer('{"name": "Rome", "people": 3}')
    shell.user_ns["City"] = City
    shell.run_cell_magic("illama", "--json City -o city", "Rome?")
    sent = asked(host)["response_format"]["json_schema"]["schema"]
    assert sent["$defs"]["City"]["required"] == ["name", "people"]
    assert shell.user_ns["city"].parsed == City("Rome", 3)


def test_json_takes_a_list_of_a_type(shell: Any, host: Host):
    host.answer = answer('[{"name": "Rome", "people": 3}]')
    shell.user_ns["City"] = City
    shell.run_cell_magic("illama", "--json list[City] -o cities", "Cities?")
    assert shell.user_ns["cities"].parsed == [City("Rome", 3)]


def test_json_is_shown_as_a_tree_and_the_line_below_it(shell: Any, host: Host):
    host.answer = answer('{"name": "Rome", "people": 3}')
    shell.user_ns["City"] = City
    shell.run_cell_magic("illama", "--json City", "Rome?")
    tree, line = shell.display_pub.outputs[-2:]
    assert tree["data"]["application/json"] == {"name": "Rome", "people": 3}
    assert "SmolLM2 on CPU" in line["data"]["text/plain"]


def test_format_json_alone_asks_for_any_object(shell: Any, host: Host):
    host.answer = answer('{"a": [1]}')
    shell.run_cell_magic("illama", "-f json -o r", "Something?")
    assert asked(host)["response_format"] == {"type": "json_object"}
    assert shell.user_ns["r"].parsed == {"a": [1]}


def test_an_answer_cut_by_its_limit_fails_the_cell_and_is_kept(shell: Any, host: Host):
    host.answer = answer('{"name": "Ro', "length")
    shell.user_ns["City"] = City
    with pytest.raises(AnswerError, match="cut at its limit of tokens"):
        shell.run_cell_magic("illama", "--json City -o city -n 5", "Rome?")
    assert shell.user_ns["city"].text == '{"name": "Ro'


@pytest.mark.parametrize("schema", ["Nothing", "City.nothing"])
def test_a_schema_that_is_not_there_is_a_usage_error(shell: Any, host: Host, schema: str):
    shell.user_ns["City"] = City
    with pytest.raises(UsageError, match=schema):
        shell.run_cell_magic("illama", f"--json {schema}", "Rome?")
    assert host.requests == []


def test_a_variable_that_is_no_schema_is_an_error_that_says_what_is(shell: Any, host: Host):
    shell.user_ns["x"] = 3
    with pytest.raises(RequestError, match="a TypedDict"):
        shell.run_cell_magic("illama", "--json x", "Rome?")
    assert host.requests == []


def test_var_puts_in_just_the_variables_that_are_named(shell: Any, host: Host):
    shell.user_ns.update(rows=[1, 2], other="no")
    shell.run_cell_magic("illama", "--var rows", 'Sum {rows}, not {other}, not {"a": {}}')
    assert asked(host)["messages"][-1]["content"] == 'Sum [1,2], not {other}, not {"a": {}}'


def test_a_variable_that_is_not_there_is_a_usage_error(shell: Any, host: Host):
    with pytest.raises(UsageError, match="no variable nothing"):
        shell.run_cell_magic("illama", "--var nothing", "Hello?")
    assert host.requests == []


def test_images_of_variables_and_files_follow_the_words(shell: Any, host: Host, tmp_path: Path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nrest")
    shell.user_ns["photo"] = b"\xff\xd8\xffrest"
    shell.run_cell_magic("illama", f"--image photo --image '{tmp_path}/a.png' --thread t", "What is it?")
    words, *images = asked(host)["messages"][-1]["content"]
    assert words == {"type": "text", "text": "What is it?"}
    assert [each["image_url"]["url"].partition(";")[0] for each in images] == ["data:image/jpeg", "data:image/png"]
    assert "What is it?\n[image_url]" in repr(shell.run_line_magic("illama", "thread show t"))


def test_an_image_that_is_not_there_is_an_error_that_asks_nobody(shell: Any, host: Host):
    with pytest.raises(RequestError, match="nothing"):
        shell.run_cell_magic("illama", "--image nothing", "What is it?")
    assert host.requests == []


def test_format_code_puts_the_code_into_the_next_cell(shell: Any, host: Host, monkeypatch: pytest.MonkeyPatch):
    put: list[str] = []
    monkeypatch.setattr(shell, "set_next_input", put.append)
    host.answer = answer("Here:\n\n```python\nprint(1)\n```\n")
    shell.run_cell_magic("illama", "-f code", "Code?")
    assert put == ["print(1)"]
    assert "```python" in shell.display_pub.outputs[-1]["data"]["text/markdown"]


def test_an_answer_without_code_says_so(shell: Any, host: Host, capsys: pytest.CaptureFixture[str]):
    host.answer = answer("There is none.")
    shell.run_cell_magic("illama", "-f code", "Code?")
    assert "no code in the answer" in capsys.readouterr().err


def test_a_random_answer_has_a_seed_in_its_reply(shell: Any, host: Host):
    shell.run_cell_magic("illama", "-t 0.7 -o r", "Hello?")
    assert shell.user_ns["r"].seed == asked(host)["seed"]
    assert shell.user_ns["r"].sampling == {"temperature": 0.7, "seed": asked(host)["seed"]}


def test_the_likeliest_answer_needs_no_seed(shell: Any, host: Host):
    shell.run_cell_magic("illama", "-t 0 -o r", "Hello?")
    assert "seed" not in asked(host)
    assert shell.user_ns["r"].seed is None


def test_a_stamp_is_in_the_outputs_metadata_when_it_is_wanted(shell: Any, host: Host):
    host.answer = answer("Hello.", origin=ORIGIN)
    shell.run_cell_magic("illama", "", "Hello?")
    assert shell.display_pub.outputs[-1]["metadata"] == {}
    shell.run_line_magic("config", "Illama.stamp = True")
    shell.run_cell_magic("illama", "--seed 7", "Hello?")
    output = shell.display_pub.outputs[-1]
    stamp = output["metadata"]["illama"]
    assert (stamp["model"], stamp["device"], stamp["sampling"]) == ("SmolLM2", "CPU", {"seed": 7})
    assert (stamp["recipe"], stamp["digest"]) == (ORIGIN["recipe"], ORIGIN["digest"])
    nbformat.validate(
        nbformat.v4.new_notebook(
            cells=[
                nbformat.v4.new_code_cell(
                    outputs=[nbformat.v4.new_output("display_data", output["data"], metadata=output["metadata"])]
                )
            ]
        )
    )


def test_a_reply_shows_its_text_and_what_made_it(shell: Any, host: Host):
    host.answer = answer("It is **Rome** <script>alert(1)</script>", origin=ORIGIN)
    shell.run_cell_magic("illama", "-o r --seed 7", "Capital?")
    reply = shell.user_ns["r"]
    assert repr(reply).startswith("It is **Rome** <script>")
    assert repr(reply).endswith("[2 tokens · SmolLM2 on CPU]")
    assert reply._repr_markdown_().startswith("It is **Rome** &lt;script>")
    html = reply._repr_html_()
    assert "<script>" not in html
    assert all(word in html for word in ("seed 7", "openvino 2026.4.1", "file model.gguf", "abababababab"))
    shell.run_cell("r", store_history=False)
    assert "text/html" not in shell.display_pub.outputs[-1]["data"]
    assert shown(shell)[-1] == repr(reply)


@pytest.mark.parametrize(
    "body",
    [
        "{} {x} {{x}} {x!r} %s %(a)d $HOME ${x}",
        "a\\nb \\ \"\"\" ''' `x`",
        "中文 😀 \u2028 é\u0301 \x00",
        "def f(x):\n\treturn {x: f'{x}'}\n" * 3000,
    ],
    ids=["braces", "quotes", "characters", "100 kB of code"],
)
def test_whatever_is_in_a_cell_is_sent_to_the_letter(shell: Any, host: Host, body: str):
    shell.user_ns["x"] = "EXPANDED"
    shell.run_cell(f"%%illama\n{body}\n", store_history=False)
    assert asked(host)["messages"][-1]["content"] == body
