"""Raw text on the real small model: as text and as token ids, with what the tokens' log probabilities are."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from support_host import RunningHost, running_host
from support_models import real_model_cache

pytestmark = pytest.mark.slow

PROMPT = "The capital of France is"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(real_model_cache() / "registry", home / "registry")
    with running_host(home, ILLAMA_ENGINE="openvino") as running:
        yield running


def complete(host: RunningHost, prompt: Any, **more: Any) -> dict[str, Any]:
    body = {"model": "smollm2", "prompt": prompt, "temperature": 0, "max_tokens": 8, **more}
    response = host.http.post("/v1/completions", json=body, timeout=120)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def test_text_goes_on_where_it_ends(host: RunningHost) -> None:
    answer = complete(host, PROMPT)
    assert "Paris" in answer["choices"][0]["text"]
    assert answer["usage"]["prompt_tokens"] == 5


def test_token_ids_are_the_same_prompt(host: RunningHost) -> None:
    # What SmolLM2's own tokenizer makes of the text.
    ids = [504, 3575, 282, 4649, 314]
    by_ids = complete(host, [ids, ids])
    assert by_ids["usage"]["prompt_tokens"] == 2 * complete(host, PROMPT)["usage"]["prompt_tokens"]
    # Only the beginning: in company the numbers differ slightly, and with them what comes later.
    assert all(choice["text"].startswith(" Paris.") for choice in by_ids["choices"])
    refused = host.http.post("/v1/completions", json={"model": "smollm2", "prompt": [10**9]})
    assert refused.status_code == 400
    assert "no token of this model" in refused.json()["error"]["message"]


def test_log_probabilities_are_of_the_text(host: RunningHost) -> None:
    choice = complete(host, PROMPT, logprobs=1)["choices"][0]
    assert "".join(choice["logprobs"]["tokens"]) == choice["text"]
    assert all(value <= 0 for value in choice["logprobs"]["token_logprobs"])
