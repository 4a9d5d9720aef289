from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from illama.errors import InvalidNameError
from illama.registry import names, store

GOOD = ["Phi-4", "Qwen3-8B", "Phi-4:int8", "SmolLM2-135M-Instruct", "a", "a.b_c-d", "3b:q4_k_m", "con-cat"]
BAD = [
    "",
    ".",
    "..",
    "../x",
    "a/../b",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "C:\\x",
    "c:/x",
    ".hidden",
    "-dash",
    "a-",
    "a.",
    "a b",
    "a\nb",
    "a\0b",
    "a\x7f",
    "a--b",
    "a:",
    ":a",
    "a:b:c",
    "a:-b",
    "a-:b",
    "a:latest",
    "CON",
    "nul.txt",
    "Com1:int8",
    "lpt9",
    "index.json",
    "Index.json.lock",
    "ä",
    "a\N{FULLWIDTH SOLIDUS}b",
    "x" * 129,
]


@pytest.mark.parametrize("name", GOOD)
def test_a_good_name_is_itself_and_its_folder_leads_back_to_it(name):
    assert names.validate(name) == name
    assert names.from_folder(names.folder_name(name)) == name


@pytest.mark.parametrize("name", BAD)
def test_a_bad_name_is_refused_with_a_hint_and_without_its_control_characters(name):
    with pytest.raises(InvalidNameError) as caught:
        names.folder_name(name)
    assert caught.value.hint
    assert caught.value.message.isprintable()


@given(st.text(max_size=40))
def test_whatever_is_accepted_stays_one_plain_component_of_a_path(text):
    try:
        folder = names.folder_name(text)
    except InvalidNameError:
        return
    assert not set(folder) & set('/\\:*?"<>|\0')
    assert folder.strip(". ") == folder
    assert names.from_folder(folder) == text


@given(st.text(alphabet="ab-:._", max_size=8), st.text(alphabet="ab-:._", max_size=8))
def test_two_names_never_share_a_folder(first, second):
    try:
        folders = names.folder_name(first), names.folder_name(second)
    except InvalidNameError:
        return
    assert (folders[0] == folders[1]) == (first == second)


@given(st.text(max_size=200))
def test_any_text_suggests_a_valid_name(text):
    assert names.validate(names.suggest(text))


@pytest.mark.parametrize("folder", ["a--", "--a", "a--b--c", ".staging", "index.json", "a:b"])
def test_a_folder_that_no_name_has_is_nobodys(folder):
    assert names.from_folder(folder) is None


def test_latest_and_the_case_of_letters_make_no_difference_between_names():
    assert names.fold("Phi-4:latest") == names.fold("phi-4") == names.fold(" PHI-4 ")
    assert names.fold("Phi-4:int8") != names.fold("Phi-4")


def test_a_new_model_tries_its_bare_name_first_and_its_organisation_last():
    tried = [name for name, _ in names.candidates("Phi-4", "int8", "unsloth")]
    assert tried == ["Phi-4", "Phi-4:int8", "unsloth-Phi-4", "unsloth-Phi-4:int8"]


@pytest.mark.parametrize("module", [names, store])
def test_the_examples_in_the_docstrings_are_true(module):
    failed, tried = doctest.testmod(module)
    assert tried
    assert not failed
