from __future__ import annotations

import json
import pickle
import re

import pytest

from illama import errors
from illama.errors import BY_CODE, ContextLengthError, IllamaError, ModelNotFoundError, RequestError, from_wire

CLASSES = sorted(BY_CODE.values(), key=lambda cls: cls.__name__)


def test_every_error_has_a_code_of_its_own():
    names = {cls.__name__ for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, IllamaError)}
    assert {cls.__name__ for cls in CLASSES} == names


@pytest.mark.parametrize("cls", CLASSES)
def test_the_tree_at_the_top_of_the_module_is_the_tree(cls: type[IllamaError]):
    (line,) = [line for line in errors.__doc__.splitlines() if re.fullmatch(rf"[│├└─ ]*{cls.__name__}( .*)?", line)]
    depth = len(cls.__mro__) - len(IllamaError.__mro__)
    assert line.find(cls.__name__) == 4 * depth


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_arrives_over_v1_as_what_it_was(cls: type[IllamaError]):
    sent = cls("It broke.", hint="Mend it.", param="model")
    came = from_wire(sent.status, json.loads(json.dumps(sent.to_openai())))
    assert type(came) is cls
    assert (came.message, came.hint, came.param, came.status, came.code) == (
        ("It broke.", "Mend it.", "model", sent.status, sent.code)
    )


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_arrives_over_api_as_what_it_was(cls: type[IllamaError]):
    sent = cls("It broke.", hint="Mend it.")
    came = from_wire(sent.status, json.loads(json.dumps(sent.to_ollama())))
    assert type(came) is cls
    assert (came.message, came.hint) == ("It broke.", "Mend it.")


def test_the_error_object_has_openais_four_keys_even_when_empty():
    assert RequestError("It broke.").to_openai() == {
        "error": {"message": "It broke.", "type": "invalid_request_error", "param": None, "code": "invalid_request"}
    }


def test_an_error_of_api_is_one_string():
    assert ModelNotFoundError("No x.", hint="Pull it.").to_ollama()["error"] == "No x. Pull it."


def test_an_overflow_is_worded_as_openai_words_it():
    problem = ContextLengthError.of(8192, 9000)
    assert problem.message.startswith("This model's maximum context length is 8192 tokens.")
    assert (problem.status, problem.code, problem.param) == (400, "context_length_exceeded", "messages")


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_survives_pickling(cls: type[IllamaError]):
    problem = pickle.loads(pickle.dumps(cls("It broke.", hint="Mend it.", param="x", code="own", status=418)))
    assert (problem.message, problem.hint, problem.param) == ("It broke.", "Mend it.", "x")
    assert (problem.code, problem.status) == ("own", 418)


def test_an_error_is_two_lines_in_a_cell():
    assert ModelNotFoundError("No x.", hint="Pull it.")._render_traceback_() == [
        "ModelNotFoundError: No x.",
        "Pull it.",
    ]


def test_an_error_without_a_hint_is_one_line():
    assert IllamaError("It broke.")._render_traceback_() == ["IllamaError: It broke."]
    assert str(IllamaError("It broke.")) == "It broke."


@pytest.mark.parametrize("body", [None, [], "text", {}, {"error": None}, {"error": {}}, {"detail": "x"}])
def test_an_answer_that_explains_nothing_becomes_an_error_that_says_so(body: object):
    problem = from_wire(502, body)
    assert problem.status == 502
    assert "502" in problem.message


def test_an_unknown_code_falls_back_to_the_status():
    problem = from_wire(404, {"error": {"message": "gone", "code": "other_servers_code"}})
    assert type(problem) is errors.NotFoundError
    assert problem.code == "other_servers_code"
