"""Variables that go into a question, and code that comes out of an answer."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from illama.notebook.code import code_of
from illama.notebook.values import LIMIT, put, text_of


def test_only_what_is_named_is_put_in():
    question = 'Is {x} in {"x": 1} or {{y}} or {y}? f"{x!r}" $x'
    assert put(question, {"x": "A"}) == 'Is A in {"x": 1} or {{y}} or {y}? f"{x!r}" $x'


def test_what_the_question_does_not_mention_follows_below():
    assert put("Sum up.", {"notes": "One.", "x": 2}) == "Sum up.\n\nnotes:\nOne.\n\nx:\n2"


def test_a_value_is_not_looked_into():
    assert put("{a} {b}", {"a": "{b}", "b": "{a}"}) == "{b} {a}"


def test_a_question_without_variables_is_as_it_was():
    assert put("{a} {{b}}", {}) == "{a} {{b}}"


def test_a_text_is_put_in_whole():
    assert text_of("x" * (3 * LIMIT)) == "x" * (3 * LIMIT)


@dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, None, "é"]}, '{"a":[1,null,"é"]}'),
        ([Point(1), Point(2)], '[{"x":1},{"x":2}]'),
        (3.5, "3.5"),
        ({(1, 2): {3}}, '{"(1, 2)":[3]}'),
    ],
)
def test_other_values_are_json_or_what_python_shows(value: object, text: str):
    assert text_of(value) == text


def test_a_long_value_is_cut_and_says_so():
    text = text_of(list(range(10_000)))
    assert len(text) < LIMIT + 100
    assert text.endswith("… the first 8,000 of 48,891 characters")


def test_a_dataframe_is_csv_with_its_columns():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"city": ["Rome", "Paris"], "people": [2.8, 2.1]})
    assert text_of(frame) == (
        f"DataFrame of 2 rows: city ({frame.dtypes['city']}), people (float64)\ncity,people\nRome,2.8\nParis,2.1"
    )
    assert text_of(frame["people"]).startswith("Series of 2 rows: people (float64)\npeople\n2.8")


def test_a_long_dataframe_stops_at_a_whole_row_and_says_so():
    pandas = pytest.importorskip("pandas")
    text = text_of(pandas.DataFrame({"n": range(100_000)}, index=[f"r{i}" for i in range(100_000)]))
    *_, last, note = text.splitlines()
    assert last.startswith("r")
    assert "," in last
    assert note.startswith("… the first ")
    assert note.endswith(" of 100,000 rows")
    assert len(text) < LIMIT + 200


def test_an_array_has_its_shape_and_is_shortened_in_the_middle():
    numpy = pytest.importorskip("numpy")
    assert text_of(numpy.eye(2)) == "array of shape (2, 2), float64:\n[[1., 0.],\n [0., 1.]]"
    assert len(text_of(numpy.zeros(10**6))) < 200
    assert text_of({"a": numpy.int64(3)}) == '{"a":3}'


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("Here:\n\n```python\nx = 1\n```\nDone.", "x = 1"),
        ("```\na\n```\ntext\n~~~py\nb\n~~~", "a\n\nb"),
        ("1. So:\n   ```python\n   if x:\n       y\n   ```", "if x:\n    y"),
        ("````\n```\ninner\n```\n````", "```\ninner\n```"),
        ("cut:\n```python\nx = 1\ny =", "x = 1\ny ="),
        ("x = 1\nprint(x)\n", "x = 1\nprint(x)"),
        ("There is no code here.", ""),
    ],
)
def test_the_code_of_an_answer(answer: str, code: str):
    assert code_of(answer) == code
