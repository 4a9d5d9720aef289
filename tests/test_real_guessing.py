"""Prompt lookup and draft models on the real small model: they answer, sampled, guided, streamed and cancelled."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support_host import RunningHost, events, eventually, running_host, text_of
from support_models import real_model_cache

from illama.registry import Registry
from illama.registry.options import changed

pytestmark = pytest.mark.slow
NAME = "SmolLM2-135M-Instruct"
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


# With a draft, itself: its weights are the only ones here whose tokens are the same.
@pytest.fixture(scope="module", params=["draft", "prompt_lookup"])
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    home: Path = tmp_path_factory.mktemp("guessing")
    shutil.copytree(real_model_cache() / "registry" / NAME, home / "registry" / NAME)
    registry = Registry(home / "registry")
    registry.copy(NAME, "Draft")
    wanted = {"draft": "Draft"} if request.param == "draft" else {"prompt_lookup": "1"}
    registry.update(NAME, lambda entry: changed(entry, wanted, registry.get))
    with running_host(home, ILLAMA_ENGINE="openvino", ILLAMA_DEVICE="CPU") as running:
        running.http.timeout = 300
        yield running


def test_it_answers_the_same_to_the_same_question(host):
    asked = [host.chat(NAME, "What is the capital of France?", temperature=0, max_tokens=12) for _ in range(2)]
    first, second = (each.json()["choices"][0]["message"]["content"] for each in asked)
    assert "Paris" in first
    assert first == second


def test_sampled_answers_that_share_a_prompt_do_not_end_the_engine(host):
    for seed in range(4):
        answer = host.chat(NAME, "Tell me of a river, please.", temperature=1.0, seed=seed, max_tokens=24)
        assert answer.json()["usage"]["completion_tokens"] > 1


def test_a_schema_is_kept_to(host):
    wanted = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA}}
    answer = host.chat(NAME, "Describe a person as JSON.", response_format=wanted, max_tokens=200, temperature=0.5)
    assert set(json.loads(answer.json()["choices"][0]["message"]["content"])) == {"name", "age"}


def test_a_stream_stops_at_a_stop_string_and_a_client_that_leaves_frees_the_engine(host):
    with host.stream(NAME, "Count: one two three four five six seven", temperature=0, stop=["three"]) as response:
        assert "three" not in text_of(list(events(response)))
    with host.stream(NAME, "Tell me a long story.", max_tokens=2000, ignore_eos=True) as response:
        frames = events(response)
        next(frames)
        next(frames)
    eventually(lambda: host.loaded()["running"] == 0, "the answer is dropped")
