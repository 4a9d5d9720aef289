"""The loop of embedding and rerank models: batches, order, refusals, cancels; the encoder is the fake one."""

from __future__ import annotations

import base64
import json
import queue
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from illama.engine.batching import BatchQueue, Item
from illama.engine.encode import EncoderWorker, Tokens
from illama.engine.fake_encoder import FakeEncoder


class Bench:
    """A worker whose loop the test turns by hand."""

    def __init__(self, folder: Path, task: str = "embedding", **message: Any) -> None:
        self.log = folder / "batches"
        (folder / "fake.json").write_text(json.dumps({"log": str(self.log)}))
        encoder = FakeEncoder({"folder": str(folder), "device": "CPU", "task": task, **message})
        self.sent: list[dict[str, Any]] = []
        self.worker = EncoderWorker(encoder, queue.SimpleQueue(), self.sent.extend)

    def batches(self) -> list[list[str]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def answers(self, *messages: dict[str, Any]) -> dict[int, dict[str, Any]]:
        """Give it all the messages at once, let it work until nothing is left, and return what each was answered."""
        self.worker.take(messages)
        wanted = {message["id"] for message in messages if message["op"] != "cancel"}
        for _ in range(1000):
            self.worker.step()
            found = {sent["id"]: sent for sent in self.sent if "id" in sent}
            if wanted <= set(found):
                return found
        raise AssertionError("it does not end")


def embed(id: int, *texts: Any, **more: Any) -> dict[str, Any]:
    return {"op": "embed", "id": id, "texts": list(texts), **more}


def floats(packed: str) -> list[float]:
    data = base64.b64decode(packed)
    return list(struct.unpack(f"<{len(data) // 4}f", data))


def test_many_single_texts_share_batches_and_get_the_vectors_of_one_call(tmp_path):
    texts = [f"text number {n} {'and more ' * (n % 7)}" for n in range(100)]
    together = Bench(tmp_path).answers(embed(1, *texts))[1]
    bench = Bench(tmp_path)
    bench.log.unlink()
    alone = bench.answers(*(embed(n, text) for n, text in enumerate(texts)))
    assert [alone[n]["vectors"][0] for n in range(100)] == together["vectors"]
    assert [alone[n]["tokens"][0] for n in range(100)] == together["tokens"]
    assert len(bench.batches()) == 2


def test_texts_of_like_length_are_worked_on_together(tmp_path):
    bench = Bench(tmp_path)
    short, long = [f"a{n}" for n in range(64)], [f"b{n} " * 60 for n in range(64)]
    mixed = [text for both in zip(short, long, strict=True) for text in both]
    bench.answers(embed(1, *mixed))
    assert len(bench.batches()) == 2
    assert all(len({len(text.split()) for text in batch}) == 1 for batch in bench.batches())


def test_a_question_does_not_wait_until_a_library_has_been_read(tmp_path):
    bench = Bench(tmp_path)
    bench.worker.take([embed(1, *(f"w{n} " * 50 for n in range(1000)))])
    bench.worker.step()
    bench.worker.take([embed(2, "what is it?")])
    bench.worker.step()
    bench.worker.step()
    assert [sent["id"] for sent in bench.sent if sent["ev"] == "result"] == [2]


def test_a_cancelled_request_costs_no_further_batch(tmp_path):
    bench = Bench(tmp_path)
    bench.worker.take([embed(1, *(f"w{n} " * 50 for n in range(500)))])
    bench.worker.step()
    bench.worker.take([{"op": "cancel", "id": 1}])
    bench.worker.step()
    assert len(bench.batches()) == 1
    assert bench.sent[-1]["ev"] == "refused"


def test_one_text_too_long_is_refused_alone_with_the_limit(tmp_path):
    answers = Bench(tmp_path, context_length=10).answers(embed(1, "word " * 11), embed(2, "word " * 10))
    assert answers[1]["error"]["error"]["code"] == "context_length_exceeded"
    assert "10 tokens" in answers[1]["error"]["error"]["message"]
    assert answers[2]["tokens"] == [10]


def test_a_text_too_long_is_cut_if_the_request_says_so(tmp_path):
    answers = Bench(tmp_path, context_length=10).answers(embed(1, "a b c d e f g h i j k l", truncate=True))
    assert answers[1]["tokens"] == [10]
    assert (
        answers[1]["vectors"]
        == Bench(tmp_path, context_length=10).answers(embed(2, "a b c d e f g h i j"))[2]["vectors"]
    )


def test_token_ids_of_another_tokenizer_are_refused_alone(tmp_path):
    answers = Bench(tmp_path).answers(embed(1, [1, 2**20]), embed(2, [1, 2]), embed(3, "hello"))
    assert (answers[1]["ev"], answers[2]["ev"], answers[3]["ev"]) == ("refused", "result", "result")


def test_instructions_make_a_query_different_from_a_document(tmp_path):
    bench = Bench(tmp_path, options={"query_instruction": "search: "})
    answers = bench.answers(embed(1, "cats", kind="query"), embed(2, "cats", kind="document"), embed(3, "search: cats"))
    assert answers[1]["vectors"] == answers[3]["vectors"] != answers[2]["vectors"]


def test_fewer_dimensions_are_a_vector_of_length_one_again(tmp_path):
    bench = Bench(tmp_path)
    whole, short = bench.answers(embed(1, "a b"), embed(2, "a b", dimensions=4)).values()
    first, cut = floats(whole["vectors"][0]), floats(short["vectors"][0])
    assert (len(first), len(cut)) == (16, 4)
    assert sum(value * value for value in cut) == pytest.approx(1)
    assert cut[0] / cut[1] == pytest.approx(first[0] / first[1], rel=1e-5)


def test_reranks_of_different_queries_share_a_batch(tmp_path):
    bench = Bench(tmp_path, task="rerank")
    one = {"op": "rerank", "id": 1, "query": "red fish", "texts": ["a red fish", "a dog"]}
    two = {"op": "rerank", "id": 2, "query": "blue dog", "texts": ["a dog"]}
    answers = bench.answers(one, two)
    assert (answers[1]["scores"], answers[2]["scores"]) == ([1.0, 0.0], [0.5])
    assert len(bench.batches()) == 1


class Lanes(FakeEncoder):
    """Two batches at a time, each of which says when it is begun and when it is waited for."""

    lanes = 2

    def __init__(self, message: dict[str, Any]) -> None:
        super().__init__(message)
        self.story: list[tuple[str, int, bool]] = []

    def start(self, batch: Sequence[Tokens], *, alone: bool = True) -> Callable[[], Sequence[Any]]:
        finish = super().start(batch)
        self.story.append(("begun", len(batch), alone))

        def wait() -> Sequence[Any]:
            self.story.append(("done", len(batch), alone))
            return finish()

        return wait


def laned(folder: Path) -> tuple[EncoderWorker, Lanes, list[list[dict[str, Any]]]]:
    (folder / "fake.json").write_text("{}")
    encoder = Lanes({"folder": str(folder), "device": "CPU", "task": "embedding"})
    sent: list[list[dict[str, Any]]] = []
    return EncoderWorker(encoder, queue.SimpleQueue(), sent.append), encoder, sent


def test_a_text_alone_has_all_of_the_device_and_many_share_it(tmp_path):
    worker, encoder, sent = laned(tmp_path)
    worker.take([embed(1, "alone")])
    worker.step()
    assert encoder.story == [("begun", 1, True), ("done", 1, True)]
    encoder.story.clear()
    worker.take([embed(id, "a b c") for id in range(2, 82)])
    worker.step()
    worker.step()
    # The last ones are shared out, and the second batch is under way while the first one's results are sent.
    assert encoder.story == [("begun", 40, False), ("begun", 40, False), ("done", 40, False), ("done", 40, False)]
    assert [[message["id"] for message in together] for together in sent] == [
        [1],
        list(range(2, 42)),
        list(range(42, 82)),
    ]


def test_what_is_cancelled_while_it_is_worked_on_is_refused_once_and_disturbs_nobody(tmp_path):
    worker, _, sent = laned(tmp_path)
    worker.take([embed(id, "a b c") for id in range(80)])
    worker.step()
    worker.take([{"op": "cancel", "id": 50}])
    worker.step()
    events = [(message["ev"], message["id"]) for together in sent for message in together]
    assert sorted(events) == sorted(("refused" if id == 50 else "result", id) for id in range(80))


def test_a_request_without_texts_is_answered_at_once(tmp_path):
    assert Bench(tmp_path).answers(embed(1))[1]["vectors"] == []


@given(
    st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=20), max_size=12),
    st.integers(1, 8),
    st.integers(1, 60),
    st.sets(st.integers(0, 11)),
    st.sampled_from((0, 1, 4, 16)),
)
def test_every_text_is_taken_once_in_batches_within_the_limits(requests, texts, tokens, dropped, block):
    waiting = BatchQueue(texts, tokens, block)
    for id, lengths in enumerate(requests):
        waiting.add([Item(id, at, length, None) for at, length in enumerate(lengths)])
    for id in dropped:
        waiting.drop(id)
    taken = []
    while waiting:
        batch = waiting.next()
        assert 1 <= len(batch) <= texts
        assert len(batch) == 1 or max(item.tokens for item in batch) * len(batch) <= tokens
        assert not block or len({item.tokens // block for item in batch}) == 1
        taken += [(item.id, item.at) for item in batch]
    wanted = [(id, at) for id, lengths in enumerate(requests) if id not in dropped for at in range(len(lengths))]
    assert sorted(taken) == wanted
    assert waiting.next() == []
