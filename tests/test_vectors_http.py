"""Embeddings and reranking over HTTP, on the fake encoder: both dialects' shapes, refusals, merging."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support_host import RunningHost, eventually, fake_model, running_host

from illama.client import AsyncClient, Client


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    home = tmp_path_factory.mktemp("vectors")
    fake_model(home, "Chat")
    fake_model(home, "Any", task="embedding")
    fake_model(home, "Embed", task="embedding", context_length=64, log=str(home / "batches"), step_sec=0.01)
    fake_model(home, "Nested", task="embedding", stored={"matryoshka": True}, dimensions=32)
    fake_model(home, "Rank", task="rerank", context_length=64)
    with running_host(home) as running:
        yield running


def embed(host: RunningHost, given: Any, **more: Any) -> Any:
    return host.http.post("/v1/embeddings", json={"model": "Embed", "input": given, **more})


def test_each_text_gets_its_vector_in_order_with_openais_fields(host):
    body = embed(host, ["one", "two words"]).json()
    assert (body["object"], body["model"]) == ("list", "Embed")
    assert [(each["object"], each["index"]) for each in body["data"]] == [("embedding", 0), ("embedding", 1)]
    assert body["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    alone = embed(host, "two words").json()["data"][0]["embedding"]
    assert alone == body["data"][1]["embedding"] != body["data"][0]["embedding"]
    assert len(alone) == 16


def test_the_models_that_talk_are_listed_first(host):
    listed = [each["id"] for each in host.http.get("/v1/models").json()["data"]]
    assert listed == ["Chat", "Any", "Embed", "Nested", "Rank"]


def test_base64_holds_the_same_numbers(host):
    numbers = embed(host, "some text").json()["data"][0]["embedding"]
    packed = embed(host, "some text", encoding_format="base64").json()["data"][0]["embedding"]
    assert list(struct.unpack("<16f", base64.b64decode(packed))) == numbers


def test_token_ids_are_taken_as_one_text_or_as_many(host):
    one, many = embed(host, [1, 2, 3]).json(), embed(host, [[1, 2, 3], [4]]).json()
    assert one["data"][0]["embedding"] == many["data"][0]["embedding"]
    assert (len(one["data"]), len(many["data"]), many["usage"]["prompt_tokens"]) == (1, 2, 4)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ([], "input is empty"),
        (["a", 1], "mixes"),
        (["a", [1]], "mixes"),
        ([[]], "empty list of token ids"),
        (["a"] * 2049, "2048 are the most"),
        ([2**20], "no such token"),
        (7, "input"),
        ([True], "input"),
    ],
)
def test_what_is_no_input_is_a_400_that_names_it(host, given, why):
    answer = embed(host, given)
    assert answer.status_code == 400
    assert why.lower() in answer.json()["error"]["message"].lower()
    assert answer.json()["error"]["param"].startswith("input")


def test_a_text_beyond_the_context_is_openais_400_and_is_cut_for_ollama(host):
    answer = embed(host, "word " * 65)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "context_length_exceeded"
    assert "maximum context length is 64 tokens" in answer.json()["error"]["message"]
    native = {"model": "Embed", "input": "word " * 65}
    assert host.http.post("/api/embed", json=native).json()["prompt_eval_count"] == 64
    assert host.http.post("/api/embed", json={**native, "truncate": False}).status_code == 400


def test_dimensions_are_cut_where_the_models_options_allow_it_and_refused_elsewhere(host):
    nested = host.http.post("/v1/embeddings", json={"model": "Nested", "input": "a b", "dimensions": 8}).json()
    vector = nested["data"][0]["embedding"]
    assert len(vector) == 8
    assert sum(value * value for value in vector) == pytest.approx(1, abs=1e-6)
    refused = embed(host, "a b", dimensions=8)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "dimensions")
    assert embed(host, "a b", dimensions=16).status_code == 200
    assert embed(host, "a b", dimensions=17).status_code == 400


def test_ollamas_embed_has_its_fields_and_durations_in_nanoseconds(host):
    answer = host.http.post("/api/embed", json={"model": "embed", "input": ["a", "b c"], "options": {"num_ctx": 9}})
    body = answer.json()
    assert body["model"] == "Embed"
    assert [len(vector) for vector in body["embeddings"]] == [16, 16]
    assert body["prompt_eval_count"] == 3
    assert 10_000_000 <= body["total_duration"] < 60e9
    assert isinstance(body["load_duration"], int)
    assert host.http.post("/api/embed", json={"model": "Embed", "input": "a"}).json()["embeddings"] == [
        body["embeddings"][0]
    ]
    old = host.http.post("/api/embeddings", json={"model": "Embed", "prompt": "a"}).json()
    assert old == {"embedding": body["embeddings"][0]}


@pytest.mark.parametrize("path", ["/api/embed", "/api/embeddings"])
def test_ollamas_names_may_end_in_latest_and_a_missing_model_is_told_in_its_words(host, path):
    body = {"input": "a", "prompt": "a"}
    assert host.http.post(path, json={"model": "Embed:latest", **body}).status_code == 200
    missing = host.http.post(path, json={"model": "nobody", **body})
    assert missing.status_code == 404
    assert missing.json()["error"].startswith("model 'nobody' not found, try pulling it first")


def test_ollamas_embed_without_input_loads_the_model(host):
    assert host.http.post("/api/embed", json={"model": "Nested"}).json()["embeddings"] == []
    assert "Nested" in [model["name"] for model in host.ps()]


def test_documents_are_ranked_in_jinas_and_coheres_shape(host):
    documents = ["nothing here", {"text": "the red fish"}, "a red car"]
    body = {"model": "Rank", "query": "red fish", "documents": documents}
    answer = host.http.post("/v1/rerank", json=body).json()
    assert answer["results"] == [
        {"index": 1, "relevance_score": 1.0},
        {"index": 2, "relevance_score": 0.5},
        {"index": 0, "relevance_score": 0.0},
    ]
    assert answer["usage"]["total_tokens"] == 14
    best = host.http.post("/v1/rerank", json={**body, "top_n": 1, "return_documents": True}).json()
    assert best["results"] == [{"index": 1, "relevance_score": 1.0, "document": {"text": "the red fish"}}]
    assert host.http.post("/v1/rerank", json={**body, "top_n": 0}).json()["error"]["param"] == "top_n"
    long = {**body, "documents": ["word " * 100]}
    assert host.http.post("/v1/rerank", json=long).status_code == 200
    assert host.http.post("/v1/rerank", json={**long, "truncate": False}).status_code == 400


@pytest.mark.parametrize(
    ("path", "body", "needed"),
    [
        ("/v1/chat/completions", {"model": "Embed", "messages": [{"role": "user", "content": "hi"}]}, "language model"),
        ("/v1/embeddings", {"model": "Chat", "input": "hi"}, "embedding model"),
        ("/v1/rerank", {"model": "Embed", "query": "q", "documents": ["d"]}, "rerank model"),
        ("/api/embed", {"model": "Rank", "input": "hi"}, "embedding model"),
    ],
)
def test_a_model_of_another_task_is_a_400_that_says_what_is_needed(host, path, body, needed):
    answer = host.http.post(path, json=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    message = error["message"] if path.startswith("/v1") else error
    assert needed in message.partition("needs")[2]


def test_hundreds_of_single_calls_at_once_share_batches_and_get_the_same_vectors(host):
    texts = [f"number {n} {'of many ' * (n % 9)}" for n in range(200)]
    together = [each["embedding"] for each in embed(host, texts).json()["data"]]
    log = host.home / "batches"
    before = len(log.read_text().splitlines())
    with ThreadPoolExecutor(40) as pool:
        alone = list(pool.map(lambda text: embed(host, text).json()["data"][0]["embedding"], texts))
    assert alone == together
    batches = [json.loads(line) for line in log.read_text().splitlines()[before:]]
    assert sum(map(len, batches)) == 200
    assert len(batches) < 100


def test_a_client_that_leaves_is_not_worked_for(tmp_path: Path):
    fake_model(tmp_path, "Slow", task="embedding", log=str(tmp_path / "batches"), step_sec=0.2)
    with running_host(tmp_path) as host:
        host.http.post("/api/embed", json={"model": "Slow"})
        with pytest.raises(Exception, match="timed out"):
            host.http.post("/v1/embeddings", json={"model": "Slow", "input": ["a"] * 2000}, timeout=0.5)
        eventually(lambda: host.loaded()["running"] == 0, "the request is dropped")
        assert len((tmp_path / "batches").read_text().splitlines()) < 10


def test_the_client_embeds_and_ranks(host):
    with Client(host.url, host.key) as client:
        vectors = client.embed(["red fish", "blue dog"], model="Embed")
        assert [len(vector) for vector in vectors] == [16, 16]
        assert client.embed("red fish", model="Embed") == vectors[:1]
        assert client.rerank("red fish", ["a dog", "a red fish"], top_n=1) == [(1, 1.0)]
        assert client.default_model() == "Chat"


@pytest.mark.anyio
async def test_the_async_client_does_the_same(host):
    async with AsyncClient(host.url, host.key) as client:
        assert await client.rerank("red fish", ["a dog", "a red fish"]) == [(1, 1.0), (0, 0.0)]
        assert len(await client.embed("red fish", model="Nested", dimensions=4)) == 1


def test_show_tells_what_the_model_can(host):
    assert host.http.post("/api/show", json={"model": "Embed"}).json()["capabilities"] == ["embedding"]
