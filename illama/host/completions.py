"""`POST /v1/completions`: text that goes on where a prompt ends, without a chat template.

Knows: OpenAI's older dialect: several prompts at once, several answers to each, `echo`. Does not know: scheduling.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from typing import Any, ClassVar

from illama.engine.work import Batch
from illama.errors import CancelledError, IllamaError
from illama.host import answers, schema, schema_completions
from illama.host.operations import Operation
from illama.host.runs import Run
from illama.host.sse import DONE, PING_EVERY, EventStream, frame


class Completions(EventStream):
    """`POST /v1/completions`, whole or streamed, for one prompt or many."""

    needs = "inference"
    operations: ClassVar = {
        "post": Operation(answers.TextCompletion, schema_completions.CompletionRequest, answers.TextCompletion)
    }

    async def post(self) -> None:
        """Answer one request."""
        request = schema.parse(self.body(), schema_completions.CompletionRequest)
        prompts = schema_completions.check(request)
        entry = self.host.registry.get(request.model)
        keep_alive, device = schema.keep_alive(request.keep_alive), schema.device(request.device)
        count = request.n or 1
        self._runs = [
            Run(
                self.host.dispatcher,
                entry,
                functools.partial(schema_completions.message, request, prompt, which),
                keep_alive,
                device,
            )
            for prompt in prompts
            for which in range(count)
        ]
        self._echoes = [str(prompt) if request.echo else "" for prompt in prompts for _ in range(count)]
        self._head = {"id": f"cmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": entry.name}
        self._logprobs = request.logprobs
        self._offsets = [0] * len(self._runs)  # characters of each answer whose log probabilities were told
        self._count = count
        self._error: IllamaError | None = None
        try:
            if request.stream:
                await self._stream(request)
            else:
                await self._whole()
        except IllamaError as error:
            self._error = error
            raise
        finally:
            self._cancel()
            self.host.touch()
            if self.gone.is_set():
                self._error = CancelledError("The client has gone.")
            for run in self._runs:
                timings = run.timings() if run.answered else None
                self.host.metrics.request_finished("openai", entry.name, timings, self._error)

    def _cancel(self) -> None:
        for run in self._runs:
            run.cancel()  # no-op for one that ended

    async def _whole(self) -> None:
        if await self.while_here(self._collect()) is None:
            return
        choices = [self._choice(at, text, batch, run) for at, (text, batch, run) in enumerate(self._collected)]
        self.send(200, {**self._head, "object": "text_completion", "choices": choices, **self._figures()})

    async def _collect(self) -> bool:
        await _all(run.open() for run in self._runs)
        batches = [Batch() for _ in self._runs]
        async with contextlib.aclosing(_merged(self._runs)) as pieces:
            async for at, piece in pieces:
                batches[at].text += piece.text
                batches[at].logprobs += piece.logprobs
        texts = (echo + batch.text for echo, batch in zip(self._echoes, batches, strict=True))
        self._collected = list(zip(texts, batches, self._runs, strict=True))
        return True

    async def _stream(self, request: schema_completions.CompletionRequest) -> None:
        wait = self.host.settings.header_wait_sec if request.header_wait is None else request.header_wait
        first = self._runs[0]
        try:
            # The status is held back until the engine has accepted all, so that a refusal has its own.
            if not await self.pinging(_all(run.open() for run in self._runs), wait, first.describe):
                return
            self.begin_events()
            echoes = b"".join(self._piece(at, Batch(text)) for at, text in enumerate(self._echoes) if text)
            if await self.push(echoes) and await self.pinging(_any_news(self._runs), PING_EVERY, first.describe):
                await self._follow(request)
        except IllamaError as error:
            self._error = error
            await self.fail_stream(error)

    async def _follow(self, request: schema_completions.CompletionRequest) -> None:
        # A client that leaves cancels the runs, which then end what is awaited here.
        self.when_gone(self._cancel)
        async with contextlib.aclosing(_merged(self._runs)) as pieces:
            async for at, piece in pieces:
                if (piece.text or piece.logprobs) and not await self.push(self._piece(at, piece)):
                    return
        ends = [self._choice(at, "", Batch(), run) for at, run in enumerate(self._runs)]
        usage = bool(request.stream_options and request.stream_options.include_usage)
        figures = self._figures()
        timings = {key: value for key, value in figures.items() if key == "timings"}
        frames = b"".join(self._frame([end], **(timings if end is ends[-1] else {})) for end in ends)
        await self.push(frames + (self._frame([], **figures) if usage else b"") + DONE)

    def _piece(self, at: int, batch: Batch) -> bytes:
        return self._frame([self._choice(at, batch.text, batch, None)])

    def _frame(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        return frame({**self._head, "object": "text_completion", "choices": choices, **more})

    def _choice(self, at: int, text: str, batch: Batch, ended: Run | None) -> dict[str, Any]:
        logprobs = self._told_logprobs(at, batch) if self._logprobs is not None and batch.logprobs else None
        finish = ended.summary["finish_reason"] if ended else None
        return {"index": at, "text": text, "logprobs": logprobs, "finish_reason": finish}

    def _told_logprobs(self, at: int, batch: Batch) -> dict[str, Any]:
        tokens = [token for token, _ in batch.logprobs]
        *offsets, self._offsets[at] = itertools.accumulate(map(len, tokens), initial=self._offsets[at])
        return {
            "tokens": tokens,
            "token_logprobs": [value for _, value in batch.logprobs],
            "top_logprobs": [{token: value} for token, value in batch.logprobs] if self._logprobs else None,
            "text_offset": offsets,
        }

    def _figures(self) -> dict[str, Any]:
        """Usage, and the timings of an answer that was alone."""
        summaries = [run.summary for run in self._runs]
        of_prompts = summaries[:: self._count]  # a prompt is counted once, however many answers it got
        prompt = sum(each["prompt_tokens"] for each in of_prompts)
        completion = sum(each["completion_tokens"] for each in summaries)
        usage = {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": sum(each["cached_tokens"] for each in of_prompts)},
        }
        return {"usage": usage, "timings": self._runs[0].timings()} if len(self._runs) == 1 else {"usage": usage}


async def _all(works: Any) -> None:
    """Await all; the first that fails ends the others."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _any_news(runs: Sequence[Run]) -> None:
    tasks = [asyncio.ensure_future(run.news()) for run in runs]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _merged(runs: Sequence[Run]) -> AsyncGenerator[tuple[int, Batch], None]:
    """What all runs bring, as it comes, with each run's number, until all have ended. Raises the first failure."""
    if len(runs) == 1:  # no task and no queue where nothing is merged
        while batch := await runs[0].next():
            yield 0, batch
        return
    news: asyncio.Queue[tuple[int, Batch | IllamaError | None]] = asyncio.Queue()

    async def follow(at: int, run: Run) -> None:
        try:
            while batch := await run.next():
                news.put_nowait((at, batch))
            news.put_nowait((at, None))
        except IllamaError as error:
            news.put_nowait((at, error))

    following = asyncio.ensure_future(_all(follow(at, run) for at, run in enumerate(runs)))
    left = len(runs)
    try:
        while left:
            at, piece = await news.get()
            if isinstance(piece, IllamaError):
                raise piece
            if piece is None:
                left -= 1
            else:
                yield at, piece
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
