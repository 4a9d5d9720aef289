"""What a model's options become of OpenVINO's properties and GenAI's scheduler, on each device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support_models import real_model_cache

MODEL = "SmolLM2-135M-Instruct"
ALL = {
    "threads": 4,
    "pinning": False,
    "cores": "performance",
    "hyper_threading": True,
    "kv_precision": "f16",
    "max_batched_tokens": 512,
    "prompt_lookup": True,
}


@pytest.fixture
def settings() -> Any:
    pytest.importorskip("openvino_genai", reason="the engine's interpreter has it; this one may not")
    from illama.engine import settings as module

    return module


def message(device: str, **options: object) -> dict[str, Any]:
    return {"device": device, "options": options, "cache_dir": "/somewhere", "kv_bytes": 2**26}


def states(folder: Path, heads: int, size: int) -> Path:
    """A model of one layer: a key and a value."""
    shape = f'variable_shape="?,{heads},?,{size}"'
    (folder / "openvino_model.xml").write_text(f"<data {shape} /><data {shape} />")
    return folder


def test_without_options_openvino_chooses(settings: Any) -> None:
    assert settings.properties(message("CPU")) == {}
    assert settings.properties(message("GPU")) == {"CACHE_DIR": "/somewhere"}
    assert settings.properties({"device": "CPU"}) == {}


def test_a_cpu_gets_its_threads_cores_and_cache_as_openvino_names_them(settings: Any) -> None:
    assert settings.properties(message("CPU", **ALL)) == {
        "INFERENCE_NUM_THREADS": 4,
        "ENABLE_CPU_PINNING": False,
        "SCHEDULING_CORE_TYPE": "PCORE_ONLY",
        "ENABLE_HYPER_THREADING": True,
        "KV_CACHE_PRECISION": "f16",
    }


@pytest.mark.parametrize("device", ["GPU", "GPU.1"])
@pytest.mark.parametrize(("asked", "given"), [("u8", "i8"), ("f16", "f16"), ("bf16", "f16")])
def test_a_gpu_gets_nothing_of_a_cpus_and_its_own_names(settings: Any, device: str, asked: str, given: str) -> None:
    found = settings.properties(message(device, **{**ALL, "kv_precision": asked}))
    assert found == {"CACHE_DIR": "/somewhere", "KV_CACHE_PRECISION": given}


def test_an_npu_gets_none_of_them(settings: Any) -> None:
    assert settings.properties(message("NPU", **ALL)) == {"CACHE_DIR": "/somewhere"}


def test_a_step_reads_as_many_tokens_as_the_option_says_and_one_step_always_fits(settings: Any, tmp_path: Path) -> None:
    folder = states(tmp_path, heads=3, size=64)
    scheduler, _, _ = settings.scheduler_config(folder, "CPU", message("CPU"))
    assert scheduler.max_num_batched_tokens == settings.MAX_BATCHED_TOKENS
    small = {**message("CPU", max_batched_tokens=1024), "kv_bytes": 1}
    scheduler, _, _ = settings.scheduler_config(folder, "CPU", small)
    assert scheduler.max_num_batched_tokens == 1024
    assert scheduler.num_kv_blocks * settings.block_tokens("CPU") >= 1024


def test_sixteen_bits_leave_room_for_fewer_tokens_in_the_same_memory(settings: Any, tmp_path: Path) -> None:
    folder = states(tmp_path, heads=3, size=64)
    assert settings.kv_bytes_per_token(folder) == settings.kv_bytes_per_token(folder, "u8") == 2 * 3 * 76
    assert settings.kv_bytes_per_token(folder, "f16") == settings.kv_bytes_per_token(folder, "bf16") == 2 * 3 * 128
    budget = 2**20

    def blocks(**options: object) -> int:
        told = {**message("CPU", **options), "kv_bytes": budget, "context_length": 2**20}
        return int(settings.scheduler_config(folder, "CPU", told)[0].num_kv_blocks)

    assert blocks() == budget // (2 * 3 * 76 * 32)
    assert blocks(kv_precision="f16") == budget // (2 * 3 * 128 * 32)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["u8", "f16", "bf16"])
def test_the_cache_takes_what_is_counted_for_it(settings: Any, precision: str) -> None:
    import openvino_genai

    folder = real_model_cache() / "registry" / MODEL
    told = {**message("CPU", kv_precision=precision), "context_length": 1024}
    scheduler, _, counted = settings.scheduler_config(folder, "CPU", told)
    pipe = openvino_genai.ContinuousBatchingPipeline(str(folder), scheduler, "CPU", settings.properties(told))
    handle = pipe.add_request(0, "Hello", openvino_genai.GenerationConfig(max_new_tokens=1))
    while pipe.has_non_finished_requests():
        pipe.step()
    del handle
    assert pipe.get_metrics().kv_cache_size_in_bytes == counted
