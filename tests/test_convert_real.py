"""Real checkpoints from a hub of our own, converted by real optimum-intel, proven and asked by the real engine."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys

import pytest
import support_checkpoints
from support_hub import playing, repo_of
from support_models import pull_environment, run_pull

from illama.config import Settings
from illama.pull import journal, proof
from illama.pull.progress import Progress
from illama.registry import Registry

pytestmark = pytest.mark.slow

SMOL = "HuggingFaceTB/SmolLM2-135M-Instruct"
MINILM = "sentence-transformers/all-MiniLM-L6-v2"


@pytest.fixture
def hub():
    with playing() as running:
        yield running


@pytest.fixture
def converting(hub, home):
    """Pull through the hub with the real engine and the real converter; the lines, of which the last is a success."""
    environ = {"ILLAMA_ENGINE": "openvino", "HF_ENDPOINT": hub.url}
    environ["ILLAMA_CONVERTER_PYTHON"] = str(support_checkpoints.converter_python())

    def do(source, **wanted):
        lines = run_pull({"source": source, **wanted}, home, **environ)
        assert lines[-1].get("status") == "success", lines[-1]
        return lines

    do.environ = environ
    return do


def ask(entry, folder, message, *, answer):
    """What the engine answers: the events of one request, the last of which `answer` knows."""
    settings = Settings.load()
    progress = Progress(lambda line: None)
    with proof.engine(settings, journal.fresh(settings, "test")) as engine:
        load = {"engine": "openvino", "folder": str(folder), "device": "CPU", "pipeline": None, "cache_dir": None}
        load |= {"context_length": entry.context_length, "kv_bytes": 2**28, "task": entry.task}
        engine.tell({"op": "load", **load, "options": dict(entry.options)})
        events = engine.events(120, progress, "test")
        next(event for event in events if event["ev"] == "ready")
        engine.tell({**message, "id": 1})
        told = []
        for event in events:
            told.append(event)
            if answer(event):
                return told
    raise AssertionError("the engine ended without an answer")


def text_of(entry, folder, question):
    message = {"op": "generate", "messages": [{"role": "user", "content": question}], "stop": [], "structured": None}
    message["sampling"] = {"max_tokens": 16, "temperature": 0}
    events = ask(entry, folder, message, answer=lambda event: event["ev"] == "step" and event["done"])
    return "".join(text for event in events if event["ev"] == "step" for _, text, *_ in event["tokens"])


@pytest.mark.parametrize(
    ("wanted", "made", "name"),
    [("int4", "int4", "int4-sym-64"), ("int8", "int8", "int8"), ("fp16", "fp16", "fp16"), ("auto", "int8", "int8")],
)
def test_a_checkpoint_of_the_hub_answers_right_in_each_format(hub, converting, home, wanted, made, name):
    hub.repos[SMOL] = repo_of(support_checkpoints.smollm2())
    lines = converting(f"https://huggingface.co/{SMOL}", weight_format=wanted)
    registry = Registry(home / "registry")
    entry = registry.get(SMOL)
    folder = registry.check(entry)
    assert (entry.name, entry.task, entry.weight_format) == ("SmolLM2-135M-Instruct", "text-generation", made)
    assert (entry.recipe["name"], entry.context_length, entry.chat_template) == (name, 8192, True)
    assert entry.recipe["proven"]["device"] == "CPU"
    assert {"optimum_intel", "nncf", "torch", "transformers", "openvino"} <= entry.recipe.keys()
    assert "failed" not in entry.recipe
    assert entry.source["revision"] == "c" * 40
    assert entry.licence == "apache-2.0"
    assert "Paris" in text_of(entry, folder, "What is the capital of France?")
    assert not any("warn" in str(line).lower() for line in lines)
    phases = [line["phase"] for line in lines if "phase" in line]
    assert [each for each in dict.fromkeys(phases) if each != "check"] == [
        "resolve",
        "download",
        "convert",
        "prove",
        "register",
    ]


def test_int8_stands_beside_the_first_and_another_pull_of_either_finds_it_there(hub, converting, home):
    hub.repos[MINILM] = repo_of(support_checkpoints.minilm())
    converting(MINILM, weight_format="fp16")
    assert converting(MINILM, weight_format="int8")[-1]["name"] == "all-MiniLM-L6-v2:int8"
    registry = Registry(home / "registry")
    assert registry.get(MINILM).weight_format == "fp16"
    assert registry.get(f"{MINILM}:int8").weight_format == "int8"
    before = hub.bytes_sent()
    assert converting(MINILM, weight_format="int8")[-1] == {
        "status": "success",
        "name": "all-MiniLM-L6-v2:int8",
        "existing": True,
    }
    assert hub.bytes_sent() - before < 100_000  # no more than what tells which model it is


def test_an_embedding_models_vectors_are_near_for_paraphrases_and_far_for_strangers(hub, converting, home):
    import base64
    import struct

    hub.repos[MINILM] = repo_of(support_checkpoints.minilm())
    converting(MINILM)
    assert not any(name.endswith((".bin", ".onnx", "README.md")) for name in hub.sent)
    registry = Registry(home / "registry")
    entry = registry.get("all-minilm-l6-v2")
    assert (entry.task, entry.weight_format) == ("embedding", "int8")
    assert entry.options == {"pooling": "mean", "normalize": True, "max_length": 256}
    texts = ["A man is eating food.", "Someone is having a meal.", "The stock market fell sharply today."]
    message = {"op": "embed", "texts": texts, "kind": "document", "truncate": True, "dimensions": None}
    told = ask(entry, registry.check(entry), message, answer=lambda event: event["ev"] == "result")[-1]
    vectors = [struct.unpack("<384f", base64.b64decode(each)) for each in told["vectors"]]
    assert all(math.isclose(math.hypot(*each), 1, abs_tol=1e-3) for each in vectors)
    same, other = (sum(a * b for a, b in zip(vectors[0], vectors[n], strict=True)) for n in (1, 2))
    assert same > 0.55
    assert other < 0.15


def test_a_reranker_and_a_model_that_sees_are_converted_and_proven(converting, home):
    registry = Registry(home / "registry")
    assert converting(str(support_checkpoints.tiny_vlm()), weight_format="int4")[-1]["name"] == "tiny-llava"
    entry = registry.get("tiny-llava")
    assert (entry.task, entry.weight_format) == ("image-text-to-text", "int4")
    assert {"openvino_language_model.bin", "openvino_vision_embeddings_model.bin"} <= entry.recipe["sha256"].keys()
    assert "preprocessor_config.json" in entry.files
    converting(str(support_checkpoints.reranker()))
    entry = registry.get("tiny-reranker")
    assert (entry.task, entry.weight_format) == ("rerank", "int8")
    message = {"op": "rerank", "query": "food", "texts": ["bread", "stocks"], "truncate": True}
    told = ask(entry, registry.check(entry), message, answer=lambda event: event["ev"] == "result")[-1]
    assert len(told["scores"]) == 2
    assert all(map(math.isfinite, told["scores"]))


def test_a_conversion_that_is_killed_leaves_nothing_and_the_next_pull_fetches_nothing_again(hub, converting, home):
    hub.repos[MINILM] = repo_of(support_checkpoints.minilm())
    for phase in ("convert", "prove"):
        with subprocess.Popen(
            [sys.executable, "-m", "illama.pull"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=pull_environment(home, **converting.environ),
        ) as process:
            process.stdin.write(json.dumps({"source": MINILM}).encode() + b"\n")
            process.stdin.flush()
            assert phase in (json.loads(line).get("phase") for line in process.stdout)
            os.kill(process.pid, signal.SIGKILL)
        assert Registry(home / "registry").entries() == []
    fetched = hub.sent["model.safetensors"]
    converting(MINILM)
    assert hub.sent["model.safetensors"] == fetched
    registry = Registry(home / "registry")
    assert [entry.name for entry in registry.entries()] == ["all-MiniLM-L6-v2"]
    registry.check(registry.get(MINILM))
    assert list((registry.root / ".staging").iterdir()) == []
    assert not any(path.is_dir() for path in (home / "cache" / "downloads").iterdir())
