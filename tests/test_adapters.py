"""A model's LoRA adapter: what is taken for one, its copy in the registry, and what becomes of it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support_adapters import GRAPH, save, write
from support_host import fake_model

from illama.cli import main
from illama.registry import Registry

Q = "layers.0.self_attn.q_proj"
KEY = f"base_model.model.model.{Q}.lora_"


@pytest.fixture
def registry(home: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.setenv("ILLAMA_HOME", str(home))
    fake_model(home, "Big")
    fake_model(home, "Small")
    registry = Registry(home / "registry")
    graph(registry, GRAPH)
    return registry


def graph(registry: Registry, text: str) -> None:
    """Give the model Big a graph."""
    file = registry.folder(registry.get("Big")) / "openvino_model.xml"
    file.write_text(text)
    with_it = {**registry.get("Big").files, file.name: len(text)}
    registry.update("Big", lambda entry: dataclasses.replace(entry, files=with_it))


def adapters(registry: Registry, name: str = "Big") -> list[str]:
    return [path for path in registry.get(name).files if path.startswith("adapters/")]


def test_an_adapter_is_copied_and_counted_and_goes_with_its_model(registry, tmp_path, capsys):
    before = registry.get("Big")
    made = save(tmp_path / "pirate", {Q: (8, 8)}, lora_alpha=16)
    assert main(["set", "big", f"adapter={made}"]) == 0
    (path,) = adapters(registry)
    assert path in capsys.readouterr().out
    shutil.rmtree(made)
    entry = registry.get("Big")
    assert entry.options == {"adapter": path, "adapter_scale": 4.0}
    assert path.startswith("adapters/pirate-")
    assert entry.size == before.size + (registry.check(entry) / path).stat().st_size
    (registry.root / "index.json").unlink()
    assert Registry(registry.root).get("Big").files == entry.files
    registry.remove("Big")
    assert not registry.folder(entry).exists()


def test_another_adapter_replaces_it_and_none_takes_it_away(registry, tmp_path):
    before = registry.get("Big")
    main(["set", "Big", f"adapter={save(tmp_path / 'a', {Q: (8, 8)}, lora_alpha=16)}"])
    (first,) = adapters(registry)
    other = save(tmp_path / "b", {Q: (8, 8)}, seed=2) / "adapter_model.safetensors"
    assert main(["set", "Big", f"adapter={other}", "adapter_scale=0.5"]) == 0
    (second,) = adapters(registry)
    folder = registry.check(registry.get("Big"))
    assert [each.name for each in (folder / "adapters").iterdir()] == [Path(second).name] != [Path(first).name]
    assert registry.get("Big").options["adapter_scale"] == 0.5
    assert main(["set", "Big", f"adapter={other}"]) == 0
    registry.check(registry.get("Big"))
    assert registry.get("Big").options == {"adapter": second}
    assert main(["set", "Big", "adapter="]) == 0
    assert registry.get("Big") == before
    assert list((folder / "adapters").iterdir()) == []


def test_a_copys_adapter_is_its_own_and_the_plain_model_stays_plain(registry, tmp_path):
    registry.copy("Big", "Big-pirate")
    main(["set", "Big-pirate", f"adapter={save(tmp_path / 'pirate', {Q: (8, 8)})}"])
    assert adapters(registry) == []
    registry.copy("Big-pirate", "Third")
    assert adapters(registry, "Third") == adapters(registry, "Big-pirate") != []
    main(["set", "Big-pirate", "adapter="])
    registry.check(registry.get("Third"))


def _cut(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-4])


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (_cut, "no whole safetensors file"),
        (lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"PK\x03\x04 a pickle"), "no whole safet"),
        (lambda folder: (folder / "adapter_model.safetensors").unlink(), "No such file"),
        (lambda folder: write(folder / "adapter_model.safetensors", {}), "holds no matrices"),
        (lambda folder: write(folder / "adapter_model.safetensors", {f"{KEY}A.weight": ((1,), b"0000")}), "one matrix"),
        (lambda folder: write(folder / "adapter_model.safetensors", {"lm_head": ((1,), b"0000")}), "no lora_A or"),
        (lambda folder: save(folder, {"layers.7.mlp.up_proj": (8, 8)}), "1 of its 1 layers are not in the model"),
        (lambda folder: save(folder, {Q: (8, 8)}, lora_alpha=8, use_dora=True), "use_dora is not supported"),
        (lambda folder: save(folder, {Q: (8, 8)}, lora_alpha="?"), "no r and lora_alpha"),
    ],
)
def test_what_is_no_adapter_for_it_is_refused_and_nothing_changes(
    registry: Registry, tmp_path: Path, harm: Callable[[Path], object], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = registry.get("Big")
    made = save(tmp_path / "made", {Q: (8, 8)})
    harm(made)
    assert main(["set", "Big", f"adapter={made}"]) == 1
    assert why in capsys.readouterr().err
    assert registry.get("Big") == before
    assert not (registry.folder(before) / "adapters").exists()


def test_a_model_whose_layers_have_no_names_takes_none(registry, tmp_path, capsys):
    graph(registry, '<net><layer name="MatMul_46" type="MatMul"/></net>')
    assert main(["set", "Big", f"adapter={save(tmp_path / 'made', {Q: (8, 8)})}"]) == 1
    assert "made from a GGUF file" in capsys.readouterr().err


@pytest.mark.parametrize("changes", [["adapter_scale=2"], ["adapter_scale=0"], ["adapter_scale=nan"]])
def test_a_scale_needs_an_adapter_and_a_value(registry, changes, capsys):
    assert main(["set", "Big", *changes]) == 1
    assert "adapter_scale" in capsys.readouterr().err
    assert json.loads((registry.folder(registry.get("Big")) / "illama.json").read_text())["options"] == {}


def test_a_draft_beside_an_adapter_is_refused(registry, tmp_path, capsys):
    made = save(tmp_path / "made", {Q: (8, 8)})
    assert main(["set", "Big", "draft=Small", f"adapter={made}"]) == 1
    assert "cannot be used together" in capsys.readouterr().err
    assert adapters(registry) == []
