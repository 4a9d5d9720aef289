"""A real embedding model, and a vision-language model of random weights, through a real host.

Of the second, shapes and errors are what is tested: its answers are noise.
"""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support_checkpoints import ir, minilm, tiny_vlm
from support_host import RunningHost, events, eventually, running_host, text_of
from test_images import png, url

pytestmark = pytest.mark.slow


def hosted(folder: Path, home: Path) -> Any:
    shutil.copytree(folder, home / "registry" / "model")
    return running_host(home, ILLAMA_ENGINE="openvino", ILLAMA_DEVICE="CPU")


@pytest.fixture(scope="module")
def embeds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    with hosted(ir(minilm()), tmp_path_factory.mktemp("embeds")) as host:
        host.http.timeout = 300
        yield host


@pytest.fixture(scope="module")
def sees(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    pytest.importorskip("PIL")
    with hosted(ir(tiny_vlm()), tmp_path_factory.mktemp("sees")) as host:
        host.http.timeout = 300
        yield host


def vectors(host: RunningHost, given: Any) -> list[list[float]]:
    body = host.http.post("/v1/embeddings", json={"model": "model", "input": given}).json()
    return [each["embedding"] for each in body["data"]]


def test_what_means_the_same_is_near(embeds):
    cat, feline, stocks = vectors(
        embeds, ["The cat sits on the mat.", "A feline rests on a rug.", "Stock markets fell sharply today."]
    )
    near, far = (sum(a * b for a, b in zip(cat, other, strict=True)) for other in (feline, stocks))
    assert near > 0.5 > 0.2 > far
    assert sum(value * value for value in cat) == pytest.approx(1, abs=1e-5)


def test_single_calls_at_once_have_the_vectors_of_one_call(embeds):
    texts = [f"Text number {n}, " + "which goes on and on, " * (n % 12) + "and ends." for n in range(60)]
    together = vectors(embeds, texts)
    with ThreadPoolExecutor(20) as pool:
        alone = list(pool.map(lambda text: vectors(embeds, text)[0], texts))
    apart = max(abs(a - b) for one, other in zip(alone, together, strict=True) for a, b in zip(one, other, strict=True))
    assert apart < 1e-5


def test_a_text_beyond_the_context_is_refused_and_cut_where_that_is_asked_for(embeds):
    long = "word " * 3000
    refused = embeds.http.post("/v1/embeddings", json={"model": "model", "input": long})
    assert refused.json()["error"]["code"] == "context_length_exceeded"
    cut = embeds.http.post("/api/embed", json={"model": "model", "input": long}).json()
    assert len(cut["embeddings"][0]) == 384
    assert cut["prompt_eval_count"] <= 512


def ask(host: RunningHost, text: str, *images: bytes, **more: Any) -> Any:
    content = [{"type": "image_url", "image_url": {"url": url(image)}} for image in images]
    message = {"role": "user", "content": [*content, {"type": "text", "text": text}]}
    body = {"model": "model", "messages": [message], "temperature": 0, "max_tokens": 8, "ignore_eos": True, **more}
    return host.http.post("/v1/chat/completions", json=body)


def test_images_are_seen_and_counted(sees):
    plain, one, two = (ask(sees, "What is it?", *[png(60, 40)] * count).json() for count in range(3))
    tokens = [body["usage"]["prompt_tokens"] for body in (plain, one, two)]
    assert tokens[2] - tokens[1] == tokens[1] - tokens[0] > 0
    assert [body["usage"]["completion_tokens"] for body in (plain, one, two)] == [8, 8, 8]


def test_a_broken_image_is_refused_and_the_engine_goes_on(sees):
    refused = ask(sees, "What is it?", png(9, 9)[:40])
    assert (refused.status_code, "cannot be decoded" in refused.json()["error"]["message"]) == (400, True)
    assert ask(sees, "<ov_genai_image_0>").status_code == 400
    assert ask(sees, "What is it?", png(9, 9)).status_code == 200


def test_answers_about_images_stream_and_stop_when_the_client_leaves(sees):
    image = {"type": "image_url", "image_url": {"url": url(png(56, 56))}}
    message = {"role": "user", "content": [image, {"type": "text", "text": "Describe it."}]}
    body = {"model": "model", "messages": [message], "stream": True, "ignore_eos": True}
    with sees.http.stream("POST", "/v1/chat/completions", json={**body, "max_tokens": 16}) as response:
        assert text_of(list(events(response)))
    with sees.http.stream("POST", "/v1/chat/completions", json={**body, "max_tokens": 1800}) as response:
        frames = events(response)
        next(frames)
        next(frames)
    eventually(lambda: sees.loaded()["running"] == 0, "the answer is dropped")


def test_ollamas_images_are_seen_too(sees):
    message = {"role": "user", "content": "hi", "images": [base64.b64encode(png(8, 8)).decode()]}
    body = {"model": "model", "messages": [message], "stream": False, "options": {"num_predict": 4}}
    assert sees.http.post("/api/chat", json=body).json()["eval_count"] > 0
