"""`POST /v1/responses`: OpenAI's newer API for answers, served without a memory.

Knows: how a request becomes a turn, and the turn's events a stream. Does not know: what the events look like
(`answers_responses` does), scheduling, engines.
"""

from __future__ import annotations

from typing import ClassVar

from illama.errors import CancelledError, IllamaError
from illama.host import schema
from illama.host.answers_responses import Growing, Response
from illama.host.events_responses import ResponseEvent
from illama.host.operations import Operation
from illama.host.schema_responses import PARAMS, ResponsesRequest, chat_request
from illama.host.sse import PING_EVERY, EventStream
from illama.host.turn import Turn


class Responses(EventStream):
    """`POST /v1/responses`, whole or streamed."""

    needs = "inference"
    operations: ClassVar = {"post": Operation(Response, ResponsesRequest, ResponseEvent)}

    async def post(self) -> None:
        """Answer one request."""
        request = schema.parse(self.body(), ResponsesRequest)
        failed: IllamaError | None = None
        turn: Turn | None = None
        try:
            chat = chat_request(request)
            schema.check(chat)
            entry = self.host.registry.get(request.model)
            if not await self.images_embedded(chat, entry):
                return
            turn = Turn(self.host.dispatcher, entry, schema.ask(chat, self.host.settings.max_tokens))
            growing = Growing(request, entry.name)
            if request.stream:
                failed = await self._stream(turn, growing, request)
            else:
                answers = await self.while_here(turn.collect())
                if answers is not None:
                    self.send(200, growing.whole(turn, answers[0]))
        except IllamaError as error:
            if error.param in PARAMS:
                told = PARAMS[error.param]
                error.message, error.param = error.message.replace(error.param, told), told
            failed = error
            raise
        finally:
            if turn is not None:
                await turn.cancel()  # no-op for one that ended
                self.host.touch()
                if self.gone.is_set():
                    failed = CancelledError("The client has gone.")
                timings = turn.timings() if turn.answered else None
                self.host.metrics.request_finished("openai", turn.entry.name, timings, failed)

    async def _stream(self, turn: Turn, growing: Growing, request: ResponsesRequest) -> IllamaError | None:
        """Stream it. Returns the error that it ended with after it had begun."""
        wait = self.host.settings.header_wait_sec if request.header_wait is None else request.header_wait
        try:
            # The status is held back until the engine has accepted the request, so that a refusal has its own.
            if not await self.pinging(turn.open(), wait, turn.describe):
                return None
            self.begin_events()
            if await self.push(growing.opening(turn)) and await self.pinging(turn.news(), PING_EVERY, turn.describe):
                self.when_gone(turn.stop)
                while (events := await turn.next()) is not None:
                    data = b"".join([growing.add(event) for event in events])
                    if data and not await self.push(data):
                        return None
                await self.push(growing.ending(turn))
        except IllamaError as error:
            if not self.streaming:
                raise
            await self.push(growing.failing(error))
            return error
        return None
