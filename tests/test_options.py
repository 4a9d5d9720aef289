"""A model's options: which can be set, what is refused, and that they are kept and reach the engine."""

from __future__ import annotations

from pathlib import Path

import pytest
from support_host import fake_model, running_host

from illama.cli import main
from illama.errors import ModelNotFoundError, RequestError
from illama.registry import Registry
from illama.registry.options import OPTIONS, changed


@pytest.fixture
def registry(home: Path) -> Registry:
    for name in ("Big", "Small"):
        fake_model(home, name)
    fake_model(home, "Embed", task="embedding", stored={"pooling": "mean"})
    return Registry(home / "registry")


def change(registry: Registry, name: str, **changes: str) -> dict[str, object]:
    return dict(registry.update(name, lambda entry: changed(entry, changes, registry.get)).options)


def test_options_are_kept_by_the_folder_and_by_the_index(registry):
    assert change(registry, "big", draft="small", draft_tokens="6") == {"draft": "Small", "draft_tokens": 6}
    assert Registry(registry.root).get("Big").options["draft"] == "Small"
    (registry.root / "index.json").unlink()
    again = Registry(registry.root).get("Big")
    assert (again.options["draft"], again.files) == ("Small", registry.get("Big").files)
    assert change(registry, "Big", draft="", draft_tokens="") == {}


def test_a_copys_options_are_its_own(registry):
    registry.copy("Big", "Other")
    change(registry, "Other", prompt_lookup="1")
    assert registry.get("Other").options == {"prompt_lookup": True}
    assert registry.get("Big").options == {}


def test_what_the_engine_is_to_load_with_is_kept_in_its_own_kind(registry):
    given = {"threads": "4", "pinning": "0", "cores": "performance", "hyper_threading": "1", "kv_precision": "f16"}
    kept = {"threads": 4, "pinning": False, "cores": "performance", "hyper_threading": True, "kv_precision": "f16"}
    assert change(registry, "Big", **given, max_batched_tokens="512") == {**kept, "max_batched_tokens": 512}
    assert change(registry, "Embed", threads="1", pinning="0") == {"pooling": "mean", "threads": 1, "pinning": False}


def test_a_device_is_pinned_and_released(registry):
    change(registry, "Big", device="gpu.1")
    assert registry.get("Big").device == "GPU.1"
    change(registry, "Big", device="")
    assert registry.get("Big").device is None


@pytest.mark.parametrize(
    ("model", "changes", "why"),
    [
        ("Big", {"draft": "Big"}, "cannot be its own draft"),
        ("Big", {"draft": "Embed"}, "cannot draft text"),
        ("Big", {"draft": "Small", "prompt_lookup": "1"}, "cannot be used together"),
        ("Big", {"draft": "Small", "pipeline": "stateful"}, "need the paged pipeline"),
        ("Big", {"pipeline": "magic"}, "must be paged or stateful"),
        ("Big", {"draft_tokens": "99"}, "from 1 to 16"),
        ("Big", {"device": "TPU"}, "must be CPU, GPU"),
        ("Big", {"threads": "0"}, "from 1 to 1024"),
        ("Big", {"pinning": "perhaps"}, "must be 0 or 1"),
        ("Big", {"cores": "fast"}, "all or performance or efficient"),
        ("Big", {"kv_precision": "u2"}, "u8 or f16 or bf16"),
        ("Big", {"kv_gib": "0"}, "a number above 0"),
        ("Big", {"max_batched_tokens": "8"}, "from 32 to 65536"),
        ("Big", {"pooling": "mean"}, "it is for other models"),
        ("Embed", {"max_batched_tokens": "512"}, "it is for other models"),
        ("Embed", {"draft": "Small"}, "it is for other models"),
        ("Embed", {"pooling": "max"}, "mean or cls or last"),
        ("Embed", {"colour": "red"}, "there is no such option"),
    ],
)
def test_what_cannot_be_set_is_refused_and_nothing_changes(registry, model, changes, why):
    before = registry.get(model)
    with pytest.raises(RequestError, match=why):
        change(registry, model, **changes)
    assert registry.get(model) == before


def test_a_draft_that_is_not_installed_is_named(registry):
    with pytest.raises(ModelNotFoundError, match="Tiny"):
        change(registry, "Big", draft="Tiny")


def test_every_option_says_what_it_means():
    assert all(option.meaning and option.tasks for option in OPTIONS.values())


def test_the_command_shows_what_it_has_set(home, registry, monkeypatch, capsys):
    monkeypatch.setenv("ILLAMA_HOME", str(home))
    assert main(["set", "embed", "pooling=cls", "query_instruction=search for: a=b"]) == 0
    shown = capsys.readouterr().out
    assert registry.get("Embed").options == {"pooling": "cls", "query_instruction": "search for: a=b"}
    assert "search for: a=b" in shown
    assert main(["set", "Embed"]) == 0
    assert capsys.readouterr().out == shown
    assert main(["set", "Embed", "pooling"]) == 2
    assert main(["set", "Embed", "pooling=max"]) == 1


def test_options_reach_the_engine_at_the_next_load(home, registry):
    with running_host(home) as host:

        def vector(**more: str) -> list[float]:
            body = {"model": "Embed", "input": "cats", **more}
            found: list[float] = host.http.post("/v1/embeddings", json=body).json()["data"][0]["embedding"]
            return found

        before = vector(input_type="query")
        change(registry, "Embed", query_instruction="search: ")
        host.http.post("/api/generate", json={"model": "Embed", "keep_alive": 0})
        assert vector(input_type="query") != before == vector()


def test_a_model_whose_draft_was_removed_says_so(home, registry):
    change(registry, "Big", draft="Small")
    registry.remove("Small")
    with running_host(home) as host:
        error = host.chat("Big", "hi").json()["error"]
        assert "Small, which drafts for Big, is not installed" in error["message"]
        change(registry, "Big", draft="")
        assert host.chat("Big", "hi").status_code == 200
