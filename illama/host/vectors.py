"""Embeddings and reranking over HTTP: `/v1/embeddings`, `/v1/rerank`, and Ollama's `/api/embed`, `/api/embeddings`.

Knows: both dialects' shapes of these. Does not know: scheduling, engines, how requests are merged.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, ClassVar

import msgspec

from illama.engine.protocol import Facts
from illama.errors import CancelledError, IllamaError, RequestError
from illama.host import answers_vectors as answers
from illama.host import schema, tasks
from illama.host import schema_vectors as shapes
from illama.host.base import Handler
from illama.host.encoding import Encoded, encode, floats
from illama.host.metrics import Dialect
from illama.host.ollama import find
from illama.host.operations import Operation
from illama.registry import Entry


class VectorHandler(Handler):
    """What the four have in common: one request to the engine, counted."""

    needs = "inference"
    dialect: ClassVar[Dialect] = "openai"
    task = "embedding"

    def entry_of(self, model: str) -> Entry:
        """The model of that name. Raises ModelNotFoundError, RequestError if it has another task."""
        registry = self.host.registry
        entry = registry.get(model) if self.dialect == "openai" else find(registry, model)
        tasks.demand(entry, self.task)
        return entry

    async def encoded(
        self,
        entry: Entry,
        message: Callable[[Facts], dict[str, Any]],
        keep_alive: float | str | None,
        device: str | None,
    ) -> Encoded | None:
        """The engine's result; None if the client has gone."""
        seconds, name = schema.keep_alive(keep_alive), schema.device(device)
        error: IllamaError | None = None
        done: Encoded | None = None
        try:
            done = await self.while_here(encode(self.host.dispatcher, entry, message, seconds, name))
        except IllamaError as problem:
            error = problem
            raise
        finally:
            self.host.touch()
            if done is None and error is None:
                error = CancelledError("The client has gone.")
            self.host.metrics.request_finished(self.dialect, entry.name, done.timings if done else None, error)
        return done


class Embeddings(VectorHandler):
    """`POST /v1/embeddings`."""

    operations: ClassVar = {"post": Operation(answers.EmbeddingList, shapes.EmbeddingsRequest)}

    async def post(self) -> None:
        """Answer with a vector for each input, in order."""
        request: shapes.EmbeddingsRequest = schema.parse(self.body(), shapes.EmbeddingsRequest)
        texts = shapes.inputs(request)
        entry = self.entry_of(request.model)

        def message(facts: Facts) -> dict[str, Any]:
            cut = shapes.dimensions(request.dimensions, entry, facts)
            kind = shapes.kind(request.input_type)
            return {"op": "embed", "texts": texts, "kind": kind, "truncate": bool(request.truncate), "dimensions": cut}

        done = await self.encoded(entry, message, request.keep_alive, request.device)
        if done is None:
            return
        packed = request.encoding_format == "base64"
        data = [
            answers.Embedding("embedding", index, vector if packed else floats(vector))
            for index, vector in enumerate(done.vectors)
        ]
        self.send(200, answers.EmbeddingList("list", data, entry.name, _usage(done)))


class Rerank(VectorHandler):
    """`POST /v1/rerank`, in the shape of Jina and Cohere."""

    task = "rerank"
    operations: ClassVar = {"post": Operation(answers.Ranking, shapes.RerankRequest)}

    async def post(self) -> None:
        """Answer with the documents' relevance, the best first."""
        request: shapes.RerankRequest = schema.parse(self.body(), shapes.RerankRequest)
        documents = shapes.bounded(request.documents, "documents")
        texts = [each if isinstance(each, str) else each.text for each in documents]
        if request.top_n is not None and request.top_n < 1:
            raise RequestError(f"top_n is {request.top_n}, but must be from 1.", param="top_n")
        entry = self.entry_of(request.model)
        # Who reranks sends what a search found, of any length: what is beyond the context is left out unless told so.
        message = {"op": "rerank", "query": request.query, "texts": texts, "truncate": request.truncate is not False}
        done = await self.encoded(entry, lambda _: message, request.keep_alive, request.device)
        if done is None:
            return
        best = sorted(range(len(texts)), key=lambda index: -done.scores[index])[: request.top_n]
        results = [
            answers.Ranked(
                index,
                done.scores[index],
                answers.RankedText(texts[index]) if request.return_documents else msgspec.UNSET,
            )
            for index in best
        ]
        self.send(200, answers.Ranking(f"rerank-{uuid.uuid4().hex}", entry.name, results, _usage(done)))


class Embed(VectorHandler):
    """`POST /api/embed`: vectors for a text or a list of them."""

    dialect = "ollama"
    operations: ClassVar = {"post": Operation(answers.Embedded, shapes.EmbedRequest)}

    async def post(self) -> None:
        """Answer with a vector for each input; without input, load the model."""
        request: shapes.EmbedRequest = schema.parse(self.body(), shapes.EmbedRequest)
        given = request.input if request.input is not None else []
        texts = [given] if isinstance(given, str) else given
        if texts:
            shapes.bounded(texts, "input")
        entry = self.entry_of(request.model)

        def message(facts: Facts) -> dict[str, Any]:
            cut = shapes.dimensions(request.dimensions, entry, facts)
            kind = shapes.kind(request.input_type)
            truncate = request.truncate is not False
            return {"op": "embed", "texts": texts, "kind": kind, "truncate": truncate, "dimensions": cut}

        done = await self.encoded(entry, message, request.keep_alive, request.device)
        if done is None:
            return
        answer = answers.Embedded(
            model=entry.name,
            embeddings=[floats(vector) for vector in done.vectors],
            total_duration=int(done.total * 1e9),
            load_duration=int(done.load * 1e9),
            prompt_eval_count=sum(done.tokens),
        )
        self.send(200, answer)


class OldEmbeddings(VectorHandler):
    """`POST /api/embeddings`, Ollama's older form: one text, one vector."""

    dialect = "ollama"
    operations: ClassVar = {"post": Operation(answers.OldEmbedded, shapes.OldEmbeddingsRequest)}

    async def post(self) -> None:
        """Answer with the prompt's vector; without a prompt, load the model."""
        request: shapes.OldEmbeddingsRequest = schema.parse(self.body(), shapes.OldEmbeddingsRequest)
        entry = self.entry_of(request.model)
        texts = [request.prompt] if request.prompt else []
        message = {"op": "embed", "texts": texts, "kind": "document", "truncate": True}
        done = await self.encoded(entry, lambda _: message, request.keep_alive, request.device)
        if done is not None:
            self.send(200, answers.OldEmbedded(floats(done.vectors[0]) if done.vectors else []))


def _usage(done: Encoded) -> answers.EncodedUsage:
    tokens = sum(done.tokens)
    return answers.EncodedUsage(tokens, tokens)
