"""A real embedding model without a host: whatever its company in a batch, a text has the same vector to the bit."""

from __future__ import annotations

import random

import numpy as np
import pytest
from support_checkpoints import ir, minilm

from illama.engine.batching import BatchQueue, Item
from illama.engine.encode import Tokens

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def message():
    return {"folder": str(ir(minilm())), "device": "CPU", "task": "embedding", "options": {}}


@pytest.fixture(scope="module")
def encoder(message):
    from illama.engine import encoder

    return encoder.load(message)


def precision(encoder) -> str:
    return str(encoder._requests.get("INFERENCE_PRECISION_HINT"))


@pytest.mark.parametrize("alone", [True, False], ids=["all of the device", "in a lane"])
def test_vectors_are_the_same_to_the_last_bit_alone_and_in_any_company(encoder, alone):
    rng = random.Random(1)
    lengths = [*range(2, 34, 3), *(rng.randrange(2, 130) for _ in range(40))]
    rng.shuffle(lengths)
    texts = [Tokens([101, *(rng.randrange(1000, 20000) for _ in range(length - 2)), 102]) for length in lengths]
    lonely = [encoder.start([text])()[0] for text in texts]
    waiting = BatchQueue(encoder.max_texts, encoder.max_tokens, encoder.block)
    waiting.add([Item(1, at, len(text.ids), text) for at, text in enumerate(texts)])
    sizes = []
    while batch := waiting.next():
        sizes.append(len(batch))
        vectors = encoder.start([item.payload for item in batch], alone=alone)()
        for item, vector in zip(batch, vectors, strict=True):
            assert vector == lonely[item.at], f"{item.tokens} tokens in a batch of {len(batch)}"
    assert max(sizes) > 8


def test_sixteen_bits_are_used_where_the_cpu_has_them_and_cost_next_to_nothing(encoder, message, monkeypatch):
    import openvino

    from illama.engine.encoder import OpenvinoEncoder, load

    native = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert precision(encoder) == ("bf16" if native else "f32")
    # A model whose vectors would depend on their company gets 32 bits.
    monkeypatch.setattr(OpenvinoEncoder, "_is_steady", lambda self, alone=True: False)
    exact = load(message)
    assert precision(exact) == "f32"
    tokens = exact.tokenize([("A cat sleeps on the warm sofa near the window.", "document"), ("Rain.", "document")])
    for ours, theirs in zip(encoder.start(tokens)(), exact.start(tokens)(), strict=True):
        assert np.dot(np.frombuffer(ours, "<f4"), np.frombuffer(theirs, "<f4")) > 0.9999
