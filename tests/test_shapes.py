"""Types become the schemas that guide a model, and its text becomes these types again."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pytest

from illama.client.reply import Growing, Reply
from illama.client.shapes import Shape, shape_of
from illama.errors import AnswerError, RequestError


@dataclass
class City:
    name: str
    people: Annotated[int, msgspec.Meta(ge=0)] = 0


@dataclass
class Country:
    capital: City
    kind: Literal["kingdom", "republic"]


class Row(TypedDict):
    city: City
    score: float


def shape(wanted: Any) -> Shape:
    found = shape_of(wanted)
    assert found is not None
    return found


def schema(wanted: Any) -> dict[str, Any]:
    return dict(shape(wanted).response_format["json_schema"]["schema"])


def test_a_dataclass_within_a_dataclass_comes_back():
    text = '{"capital": {"name": "Paris", "people": 2}, "kind": "republic"}'
    assert shape(Country).value(text, "stop") == Country(City("Paris", 2), "republic")
    assert schema(Country)["$defs"]["City"]["properties"]["people"]["minimum"] == 0


def test_a_typed_dict_comes_back_as_a_dict_with_its_types():
    assert shape(Row).value('{"city": {"name": "Rome"}, "score": 1}', "stop") == {"city": City("Rome"), "score": 1.0}


def test_a_list_of_a_type_comes_back_as_a_list():
    assert shape(list[City]).value('[{"name": "Rome"}]', "stop") == [City("Rome")]


def test_a_pydantic_model_comes_back_as_itself():
    pydantic = pytest.importorskip("pydantic")

    class Inner(pydantic.BaseModel):
        n: int = pydantic.Field(ge=1, le=5)

    class Outer(pydantic.BaseModel):
        inner: Inner

    assert shape(Outer).value('{"inner": {"n": 3}}', "stop") == Outer(inner=Inner(n=3))
    assert schema(Outer)["$defs"]["Inner"]["properties"]["n"]["maximum"] == 5
    assert shape(list[Inner]).value('[{"n": 1}]', "stop") == [Inner(n=1)]
    with pytest.raises(AnswerError, match="no Outer"):
        shape(Outer).value('{"inner": {"n": 9}}', "stop")


def test_a_dataclass_of_pydantics_keeps_its_rules():
    pydantic = pytest.importorskip("pydantic")

    @pydantic.dataclasses.dataclass
    class Bounded:
        n: Annotated[int, pydantic.Field(le=5)]

    assert schema(Bounded)["properties"]["n"]["maximum"] == 5
    assert shape(Bounded).value('{"n": 5}', "stop") == Bounded(5)
    with pytest.raises(AnswerError):
        shape(Bounded).value('{"n": 6}', "stop")


def test_a_json_schema_gives_jsons_own_types():
    wanted = {"type": "object", "properties": {"n": {"type": "integer"}}}
    assert schema(wanted) == wanted
    assert shape(wanted).value('{"n": 1}', "stop") == {"n": 1}


def test_json_alone_is_any_object():
    assert shape("json").response_format == {"type": "json_object"}
    assert shape("json").value('{"a": []}', "stop") == {"a": []}


def test_plain_text_has_no_shape():
    assert shape_of(None) is None
    assert shape_of({"type": "text"}) is None


@pytest.mark.parametrize("wanted", ["xml", 3, object, lambda: None])
def test_what_is_no_schema_is_refused_before_anything_is_sent(wanted: Any):
    with pytest.raises(RequestError, match="a TypedDict"):
        shape_of(wanted)


def test_an_answer_cut_at_its_limit_says_so_instead_of_showing_broken_json():
    with pytest.raises(AnswerError, match="cut at its limit of tokens, so it is no whole City") as caught:
        shape(City).value('{"name": "Pa', "length")
    assert "-n" in caught.value.hint


@pytest.mark.parametrize("text", ["", "{", '{"name": 3}', '{"name": "x", "people": -1}'])
def test_an_answer_that_does_not_fit_names_the_type(text: str):
    with pytest.raises(AnswerError, match="The answer is no City"):
        shape(City).value(text, "stop")


def test_a_reply_is_read_as_its_shape_when_somebody_asks():
    answer = {"choices": [{"message": {"content": '{"name": "Rome"}'}, "finish_reason": "stop"}]}
    assert Reply.of(answer, {}, shape(City)).parsed == City("Rome")
    assert Reply.of(answer, {}).parsed is None


def test_a_streamed_answer_has_its_value_at_the_end():
    growing = Growing({}, shape(City))
    for line in ('data: {"choices": [{"delta": {"content": "{\\"name\\": \\"Rome\\"}"}}]}', "", "data: [DONE]", ""):
        growing.feed(line)
    growing.end()
    assert growing.reply().parsed == City("Rome")


def test_shapes_import_neither_pydantic_nor_numpy():
    code = (
        "import sys, dataclasses; from illama.client.shapes import shape_of\n"
        "shape_of(dataclasses.make_dataclass('A', [('x', int)]))\n"
        "print([m for m in ('pydantic', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
