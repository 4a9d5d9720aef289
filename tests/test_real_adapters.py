"""A LoRA adapter of random numbers on the real small model: it changes the text, and the plain model's stays."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support_adapters import save
from support_checkpoints import ir, smollm2
from support_host import RunningHost, running_host

from illama.registry import Registry
from illama.registry.adapters import place
from illama.registry.options import changed

pytestmark = pytest.mark.slow
HIDDEN, KEYS, LAYERS = 576, 192, 30


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    home: Path = tmp_path_factory.mktemp("adapters")
    shutil.copytree(ir(smollm2(), "int8"), home / "registry" / "model")
    registry = Registry(home / "registry")

    def set_adapter(name: str, made: Path, **more: str) -> None:
        registry.copy("model", name)
        wanted = {"adapter": str(made), **more}
        registry.update(
            name, lambda entry: changed(entry, wanted, registry.get, lambda e, p: place(registry.folder(e), p))
        )

    heads = {"q_proj": (HIDDEN, HIDDEN), "v_proj": (HIDDEN, KEYS)}
    layers = {f"layers.{i}.self_attn.{name}": shape for i in range(LAYERS) for name, shape in heads.items()}
    made = save(home / "made", layers)
    # As it is, it changes only numbers; four times as strong, also what they say.
    set_adapter("adapted", made, adapter_scale="4")
    set_adapter("looking", made, adapter_scale="4", prompt_lookup="1")
    set_adapter("faint", made, adapter_scale="0.000001")
    set_adapter("unfit", save(home / "wrong", {"layers.0.self_attn.q_proj": (HIDDEN + 8, HIDDEN)}))
    shutil.rmtree(made)
    with running_host(home, ILLAMA_ENGINE="openvino", ILLAMA_DEVICE="CPU", ILLAMA_ONE_MODEL="0") as running:
        running.http.timeout = 300
        yield running


def text(host: RunningHost, model: str) -> str:
    answer = host.chat(model, "What is the capital of France?", temperature=0, max_tokens=12).json()
    found: str = answer["choices"][0]["message"]["content"]
    return found


def test_it_changes_the_text_and_the_plain_models_stays_also_at_the_same_time(host):
    plain = text(host, "model")
    adapted = text(host, "adapted")
    assert "Paris" in plain
    assert adapted != plain
    found: dict[str, str] = {}
    asking = [threading.Thread(target=lambda m=m: found.update({m: text(host, m)})) for m in ("model", "adapted")]
    for each in asking:
        each.start()
    for each in asking:
        each.join(300)
    assert found == {"model": plain, "adapted": adapted}
    assert text(host, "faint") == plain
    assert {"model", "adapted"} <= {each["id"] for each in host.http.get("/v1/models").json()["data"]}


def test_prompt_lookup_goes_with_an_adapter(host):
    assert text(host, "looking") != text(host, "model")


def test_an_adapter_of_other_sizes_is_named_as_the_reason(host):
    error = host.chat("unfit", "hi").json()["error"]
    assert "illama set MODEL adapter=" in str(error)
    assert text(host, "model")
