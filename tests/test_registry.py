from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

import pytest
from support_models import many_models, tiny_ir

from illama.errors import (
    BrokenModelError,
    InvalidNameError,
    ModelExistsError,
    ModelNotFoundError,
    RegistryError,
)
from illama.registry import Entry, Registry

DIGEST = "d" * 64


def entry_of(name="Phi-4", **changes):
    values = {"source": {"kind": "ir", "sha256": DIGEST}, "digest": DIGEST, "created": "2026-01-01T00:00:00+00:00"}
    return Entry(name=name, **{**values, **changes})


def install(registry, name="Phi-4", **changes):
    staged = registry.staging()
    (staged / "openvino_model.bin").write_bytes(b"weights of " + name.encode())
    (staged / "openvino_model.xml").write_bytes(b"<net></net>")
    return registry.add(entry_of(name, **changes), staged)


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path / "registry")


def listed(registry):
    """What a process that starts now sees."""
    return [entry.name for entry in Registry(registry.root).entries()]


def test_a_registry_that_is_not_there_yet_is_empty_and_reading_does_not_make_it(registry):
    assert registry.entries() == []
    assert not registry.root.exists()


def test_what_was_added_is_found_whole_by_this_object_and_by_a_new_one(registry):
    registry.entries()
    entry = install(registry, context_length=2048, aliases=("phi4",), options={"pipeline": "stateful"})
    assert entry.files == {"openvino_model.bin": 16, "openvino_model.xml": 11}
    assert entry.size == 27
    assert registry.entries() == [entry] == Registry(registry.root).entries()
    assert registry.check(entry) == registry.root / "Phi-4"


def test_the_index_and_the_folder_tell_the_same(registry):
    entry = install(registry, "Phi-4:int8")
    index = json.loads((registry.root / "index.json").read_bytes())
    own = json.loads((registry.root / "Phi-4--int8" / "illama.json").read_bytes())
    assert index == {"version": 1, "models": {"Phi-4:int8": entry.to_json()}}
    assert own == {"version": 1, **entry.to_json()}


def test_another_objects_change_is_seen_at_once(registry):
    assert registry.entries() == []
    install(Registry(registry.root), "a")
    assert [entry.name for entry in registry.entries()] == ["a"]
    Registry(registry.root).remove("a")
    assert registry.entries() == []


def test_the_token_changes_with_what_is_registered_and_not_otherwise(registry):
    empty = registry.token()
    assert registry.token() == empty
    install(Registry(registry.root), "a")
    one = registry.token()
    assert registry.token() == Registry(registry.root).token() == one != empty
    Registry(registry.root).update("a", lambda entry: dataclasses.replace(entry, device="CPU"))
    changed = registry.token()
    Registry(registry.root).remove("a")
    assert len({empty, one, changed, registry.token()}) == 4


def test_an_unchanged_index_is_read_once(registry, monkeypatch):
    install(registry)
    registry.entries()
    monkeypatch.setattr(Registry, "_load", lambda self: pytest.fail("read again"))
    assert registry.entries()


@pytest.mark.parametrize("name", ["Phi-4", "phi4", "PHI-4", "Microsoft/phi-4", "PHI4", "phi-4:latest"])
def test_a_model_is_found_by_name_and_alias_in_any_case_of_letters(registry, name):
    install(registry, aliases=("phi4", "microsoft/Phi-4"))
    assert registry.get(name).name == "Phi-4"


def test_a_shared_alias_belongs_to_the_model_that_was_made_first_and_then_to_the_next(registry):
    install(registry, "A-second", aliases=("it",), created="2026-01-02T00:00:00+00:00")
    install(registry, "B-first", aliases=("it",))
    assert registry.get("it").name == "B-first"
    registry.remove("B-first")
    assert registry.get("it").name == "A-second"


def test_an_unknown_name_gets_the_nearest_ones(registry):
    install(registry, "Qwen3-8B")
    with pytest.raises(ModelNotFoundError) as caught:
        registry.get("qwen-8b")
    assert "Qwen3-8B" in caught.value.hint


def test_an_unknown_name_in_an_empty_registry_gets_the_first_step(registry):
    with pytest.raises(ModelNotFoundError) as caught:
        registry.get("../../etc/passwd")
    assert "illama pull smollm2" in caught.value.hint


@pytest.mark.parametrize("name", ["Phi-4", "PHI-4", "phi4"])
def test_nothing_is_overwritten_by_a_name_that_is_taken_as_name_or_alias(registry, name):
    entry = install(registry, aliases=("phi4",))
    with pytest.raises(ModelExistsError) as caught:
        install(registry, name)
    assert "Phi-4" in str(caught.value)
    registry.check(entry)
    assert listed(registry) == ["Phi-4"]


@pytest.mark.parametrize("name", ["../evil", "/evil", "a\\b", ".staging", "index.json", "a--b"])
def test_a_hostile_name_is_never_added_or_copied_to(registry, name):
    entry = install(registry)
    with pytest.raises(InvalidNameError):
        install(registry, name)
    with pytest.raises(InvalidNameError):
        registry.copy("Phi-4", name)
    with pytest.raises(InvalidNameError):
        registry.folder(dataclasses.replace(entry, name=name))


def test_a_folder_that_is_no_model_is_left_alone_and_its_name_is_taken(registry):
    install(registry, "a")
    stray = registry.root / "Phi-4"
    stray.mkdir()
    (stray / "thesis.txt").write_text("ten years of work")
    assert listed(registry) == ["a"]
    with pytest.raises(ModelExistsError):
        install(registry)
    assert (stray / "thesis.txt").read_text() == "ten years of work"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"null",
        b"[]",
        b'{"version": 1}',
        b'{"version": 99, "models": {}}',
        b'{"version": 1, "models": {"Phi-4": {"name": "Phi-4"}}}',
        b'{"version": 1, "models": {"x": 3}}',
        b"[" * 100_000,
    ],
)
def test_a_broken_index_is_made_again_and_kept_aside(registry, content):
    entry = install(registry)
    (registry.root / "index.json").write_bytes(content)
    assert Registry(registry.root).entries() == [entry]
    aside = list(registry.root.glob("index.json.broken-*"))
    assert [each.read_bytes() for each in aside] == [content]
    assert json.loads((registry.root / "index.json").read_bytes())["models"]["Phi-4"] == entry.to_json()


def test_a_lost_index_is_made_again(registry):
    entry = install(registry)
    (registry.root / "index.json").unlink()
    assert registry.entries() == [entry]
    assert (registry.root / "index.json").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../../evil"},
        {"name": "another"},
        {"files": {"../../../etc/passwd": 1}},
        {"files": {"/etc/passwd": 1}},
        {"files": {"a\\..\\b": 1}},
        {"files": {"x": -1}},
        {"aliases": [1]},
        {"size": "big"},
        {"digest": None},
        {"version": 2},
    ],
)
def test_a_folder_with_hostile_or_broken_metadata_is_no_model_and_stays(registry, change):
    install(registry)
    metadata = registry.root / "Phi-4" / "illama.json"
    metadata.write_text(json.dumps({**json.loads(metadata.read_bytes()), **change}))
    (registry.root / "index.json").unlink()
    assert listed(registry) == []
    assert (registry.root / "Phi-4" / "openvino_model.bin").exists()


def test_what_a_newer_version_adds_to_an_entry_does_no_harm(registry):
    entry = install(registry)
    assert Entry.from_json({**entry.to_json(), "mood": "sunny"}) == entry


def test_a_folder_that_was_deleted_or_brought_by_hand_is_seen(registry):
    install(registry, "a")
    install(registry, "b")
    shutil.move(registry.root / "a", registry.root.parent / "a")
    assert [entry.name for entry in registry.entries()] == ["b"]
    shutil.move(registry.root.parent / "a", registry.root / "a")
    assert [entry.name for entry in registry.entries()] == ["a", "b"]


def test_a_missing_file_is_named_with_what_to_do(registry):
    entry = install(registry)
    (registry.root / "Phi-4" / "openvino_model.bin").unlink()
    with pytest.raises(BrokenModelError, match=r"openvino_model\.bin is missing") as caught:
        registry.check(entry)
    assert "illama rm Phi-4" in caught.value.hint


def test_a_cut_file_is_named_with_both_sizes(registry):
    entry = install(registry)
    os.truncate(registry.root / "Phi-4" / "openvino_model.bin", 5)
    with pytest.raises(BrokenModelError, match=r"openvino_model\.bin has 5 bytes and should have 16"):
        registry.check(entry)


def test_a_file_that_became_a_link_is_not_served(registry, tmp_path):
    entry = install(registry)
    secret = tmp_path / "secret"
    secret.write_bytes(b"x" * 16)
    (registry.root / "Phi-4" / "openvino_model.bin").unlink()
    (registry.root / "Phi-4" / "openvino_model.bin").symlink_to(secret)
    with pytest.raises(BrokenModelError, match="plain file"):
        registry.check(entry)


def test_removing_frees_the_bytes_and_leaves_nothing(registry):
    entry = install(registry)
    metadata = (registry.root / "Phi-4" / "illama.json").stat().st_size
    removed, freed = registry.remove("phi-4")
    assert removed == entry
    assert freed == entry.size + metadata
    assert listed(registry) == []
    assert not (registry.root / "Phi-4").exists()
    assert list((registry.root / ".trash").iterdir()) == []


def test_removing_follows_no_link_out_of_the_registry(registry, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "thesis.txt").write_text("ten years of work")
    install(registry)
    (registry.root / "Phi-4" / "folder").symlink_to(outside, target_is_directory=True)
    (registry.root / "Phi-4" / "file").symlink_to(outside / "thesis.txt")
    registry.remove("Phi-4")
    assert (outside / "thesis.txt").read_text() == "ten years of work"


def test_a_linked_folder_is_no_model_of_this_registry(registry, tmp_path):
    install(registry)
    shutil.move(registry.root / "Phi-4", tmp_path / "Phi-4")
    (registry.root / "Phi-4").symlink_to(tmp_path / "Phi-4", target_is_directory=True)
    assert listed(registry) == []
    with pytest.raises(ModelNotFoundError):
        registry.remove("Phi-4")
    assert (tmp_path / "Phi-4" / "openvino_model.bin").exists()


def test_a_copy_shares_its_bytes_until_the_last_one_goes(registry):
    entry = install(registry, aliases=("phi4",))
    copy = registry.copy("phi4", "mine")
    assert (copy.digest, copy.files, copy.aliases) == (entry.digest, entry.files, ())
    weights = registry.root / "mine" / "openvino_model.bin"
    assert weights.samefile(registry.root / "Phi-4" / "openvino_model.bin")
    own = (registry.root / "Phi-4" / "illama.json").stat().st_size
    assert registry.remove("Phi-4")[1] == own
    registry.check(copy)
    assert registry.remove("mine")[1] > entry.size


def test_a_copy_needs_a_name_of_its_own(registry):
    install(registry, aliases=("phi4",))
    for name in ("phi4", "PHI-4"):
        with pytest.raises(ModelExistsError, match="is Phi-4 itself") as error:
            registry.copy("Phi-4", name)
        assert "rm" not in error.value.hint


def test_a_copy_is_made_where_no_hard_links_are_possible(registry, monkeypatch):
    install(registry)

    def refuse(*args, **kwargs):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    copy = registry.copy("Phi-4", "mine")
    assert registry.check(copy)
    assert not (registry.root / "mine" / "openvino_model.bin").samefile(registry.root / "Phi-4" / "openvino_model.bin")


def test_a_damaged_model_is_not_copied(registry):
    install(registry)
    (registry.root / "Phi-4" / "openvino_model.bin").unlink()
    with pytest.raises(BrokenModelError):
        registry.copy("Phi-4", "mine")
    assert listed(registry) == ["Phi-4"]


def test_a_staged_link_is_refused(registry, tmp_path):
    staged = registry.staging()
    (tmp_path / "secret").write_text("x")
    (staged / "openvino_model.bin").symlink_to(tmp_path / "secret")
    with pytest.raises(RegistryError, match="link"):
        registry.add(entry_of(), staged)
    assert listed(registry) == []


def test_an_empty_staged_folder_makes_no_model(registry):
    with pytest.raises(RegistryError, match="no files"):
        registry.add(entry_of(), registry.staging())


def test_staging_is_on_the_models_filesystem_and_not_among_them(registry):
    staged = registry.staging()
    tiny_ir(staged / "x")
    assert staged.stat().st_dev == registry.root.stat().st_dev
    assert listed(registry) == []
    registry.discard(staged)
    assert list((registry.root / ".staging").iterdir()) == []


def test_the_bare_name_stays_with_the_first_and_the_same_model_is_recognised(registry):
    def place(digest, weight_format, repo, name="Phi-4"):
        chosen, existing = registry.free_name(name, digest=digest, weight_format=weight_format, repo=repo)
        if existing is None:
            install(registry, chosen, digest=digest, weight_format=weight_format, source={"kind": "hf", "repo": repo})
        return chosen, existing is not None

    assert place("1", "int4", "microsoft/Phi-4") == ("Phi-4", False)
    assert place("1", "int4", "microsoft/Phi-4") == ("Phi-4", True)
    assert place("2", "int8", "microsoft/Phi-4") == ("Phi-4:int8", False)
    assert place("2", "int8", "microsoft/Phi-4") == ("Phi-4:int8", True)
    assert place("3", "int4", "unsloth/Phi-4") == ("unsloth-Phi-4", False)
    assert place("4", "int8", "unsloth/Phi-4") == ("unsloth-Phi-4:int8", False)
    with pytest.raises(ModelExistsError):
        place("5", "int8", "unsloth/Phi-4")


def test_a_name_that_was_asked_for_is_given_or_refused(registry):
    install(registry, weight_format="int4")
    assert registry.free_name("phi-4", digest=DIGEST, weight_format="int4", fixed=True)[1]
    with pytest.raises(ModelExistsError):
        registry.free_name("phi-4", digest="other", weight_format="int8", fixed=True)


def test_a_list_of_thousands_reads_the_index_and_no_models_file(tmp_path, monkeypatch):
    many_models(tmp_path / "registry", 300)
    opened = []
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: (opened.append(path.name), read(path))[1])
    registry = Registry(tmp_path / "registry")
    assert len(registry.entries()) == 300
    assert registry.get("Model-00042-Instruct").aliases
    assert opened == ["index.json"]
    assert len(registry.entries()) == 300
    assert opened == ["index.json"]
