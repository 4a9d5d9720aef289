"""The client for asyncio.

Knows: how to send and read with httpx, awaiting. Does not know: what is sent (`wire`), how a host is found (`session`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from illama import transport as setup
from illama.client import pulling, wire
from illama.client.pulling import Stopped, read
from illama.client.reply import Growing, Reply
from illama.client.session import ClientBase
from illama.client.shapes import Shape, shape_of
from illama.client.wire import Call, Models, Prompt, Ranking, Texts, Vectors, Wanted
from illama.config import Settings
from illama.discovery import Endpoint
from illama.errors import ForbiddenError

if TYPE_CHECKING:
    from typing_extensions import Unpack

T = TypeVar("T")


class AsyncClient(ClientBase):
    """`Client` with `await`, for one event loop. Its calls, arguments and errors are those of `Client`.

    A host is started in a thread, so the loop runs on meanwhile. The properties `base_url` and `api_key` block if they
    are the first to need a host: `await client.connect()` before.

        >>> async with AsyncClient() as client:  # doctest: +SKIP
        ...     async for piece in client.stream("What is the capital of France?"):
        ...         print(piece, end="")
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        start: bool = True,
        settings: Settings | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(base_url, api_key, start=start, settings=settings)
        self._transport = transport
        self._http: tuple[Endpoint, httpx.AsyncClient] | None = None

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. The host stays; a later call opens new ones."""
        old, self._http = self._http, None
        if old:
            await old[1].aclose()

    async def connect(self) -> None:
        """Find or start the host now instead of at the first call. Raises HostError."""
        await self._connected()

    async def chat(
        self,
        prompt_or_messages: Prompt,
        *,
        model: str | None = None,
        system: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        stop: str | Texts | None = None,
        response_format: Any = None,
        **extra: Any,
    ) -> Reply:
        """Ask, and wait for the whole answer. See `Client.chat`."""
        shape = shape_of(response_format)
        body = wire.chat_body(
            prompt_or_messages,
            model=model or await self.default_model(),
            system=system,
            max_tokens=max_tokens,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            stop=stop,
            shape=shape,
            **extra,
        )
        return await self._ask(wire.chat(body, shape))

    def stream(
        self,
        prompt_or_messages: Prompt,
        *,
        model: str | None = None,
        system: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        stop: str | Texts | None = None,
        response_format: Any = None,
        on_note: Callable[[str], None] | None = None,
        on_thought: Callable[[str], None] | None = None,
        **extra: Any,
    ) -> AsyncChatStream:
        """Ask, and iterate over the answer's pieces with `async for`. See `Client.stream`."""
        shape = shape_of(response_format)
        body = wire.chat_body(
            prompt_or_messages,
            model=model,
            system=system,
            max_tokens=max_tokens,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            stop=stop,
            shape=shape,
            stream=True,
            header_wait=wire.NOTES_AFTER if on_note else None,
            **extra,
        )
        return AsyncChatStream(self, body, shape, on_note, on_thought)

    async def embed(
        self, texts: str | Texts, *, model: str | None = None, kind: str = "document", dimensions: int | None = None
    ) -> Vectors:
        """The vectors of texts, in their order. See `Client.embed`."""
        name = model or wire.only(await self.list(), "embedding")
        given = [texts] if isinstance(texts, str) else texts
        return await self._ask(wire.embed(given, name, kind, dimensions))

    async def rerank(
        self, query: str, documents: Texts, *, model: str | None = None, top_n: int | None = None
    ) -> Ranking:
        """The places in `documents` and their relevance, the best first. See `Client.rerank`."""
        name = model or wire.only(await self.list(), "rerank")
        return await self._ask(wire.rerank(query, documents, name, top_n))

    async def default_model(self) -> str:
        """The model that is meant where none is named. See `Client.default_model`."""
        try:
            loaded = await self.ps()
        except ForbiddenError:  # an inference key may not see it
            loaded = []
        return wire.choose(loaded, await self.list())

    async def list(self) -> Models:
        """The installed models."""
        return await self._ask(wire.tags())

    async def ps(self) -> Models:
        """The models that are loaded or loading."""
        return await self._ask(wire.ps())

    async def show(self, model: str) -> dict[str, Any]:
        """All that is known about a model; its registry entry under "entry"."""
        return await self._ask(wire.show(model))

    async def jobs(self) -> Models:
        """The pulls that run, and those that ended lately. See `Client.jobs`."""
        return await self._ask(wire.jobs())

    async def pull(
        self, source: str, *, watcher: str | None = None, **wanted: Unpack[Wanted]
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Fetch a model, and iterate over its progress with `async for`. See `Client.pull`.

        Who leaves, by being cancelled too, has stopped watching and the pull goes on: `stop_pull` cancels it, where
        `watcher`, a secret of this one, says who it is. Use `contextlib.aclosing` if you may leave early: an abandoned
        asynchronous generator is closed late.
        """
        response, _ = await self.open(wire.pull(source, self._hub_token(source), watcher, **wanted))
        last: dict[str, Any] = {}
        try:
            async for line in _lines(response):
                if line.strip():
                    last = wire.progress(line)
                    yield last
        except httpx.HTTPError:
            raise pulling.broke_off(source) from None
        finally:
            await response.aclose()
        if last.get("status") != "success":
            raise pulling.broke_off(source)

    async def stop_pull(self, source: str, *, name: str | None = None, watcher: str | None = None) -> Stopped:
        """Cancel a pull, whoever watches it; with `watcher`, only if nobody else does. See `Client.stop_pull`."""
        told = await self._ask(wire.stop_pull(source, name=name, watcher=watcher, force=watcher is None))
        return read(source, told)

    async def copy(self, source: str, destination: str) -> None:
        """Give a model a second name. See `Client.copy`."""
        await self._ask(wire.copy(source, destination))

    async def delete(self, model: str, force: bool = False) -> int:
        """Remove a model from the registry, and return the bytes that came free."""
        return await self._ask(wire.delete(model, force=force))

    async def load(self, model: str, keep_alive: float | str | None = None) -> None:
        """Load a model now. See `Client.load`."""
        await self._ask(wire.load(model, keep_alive))

    async def unload(self, model: str, force: bool = False) -> None:
        """Unload a model and wait until its memory is free."""
        await self._ask(wire.unload(model, force=force))

    async def version(self) -> dict[str, Any]:
        """The host's version and protocol."""
        return await self._ask(wire.version())

    async def _ask(self, call: Call[T]) -> T:
        response, endpoint = await self.open(call)
        try:
            await response.aread()
        except httpx.HTTPError as problem:
            raise wire.failure(problem, endpoint, begun=True) from None
        finally:
            await response.aclose()
        return call.result(response)

    async def open(self, call: Call[Any]) -> tuple[httpx.Response, Endpoint]:
        """Send a call of `illama.client.wire`: its answer, still to be read and closed, and who gave it.

        An answer that is an error is raised.
        """
        for again in (True, False):
            endpoint, http = await self._connected()
            request = wire.request(http, endpoint, call)
            try:
                response = await http.send(request, stream=True)
                if response.status_code >= 400:
                    await response.aread()
            except httpx.ConnectError as problem:
                # Nothing was sent, so asking its successor is safe.
                if again and self.session.lose(endpoint):
                    continue
                raise wire.failure(problem, endpoint) from None
            except httpx.HTTPError as problem:
                raise wire.failure(problem, endpoint) from None
            wire.check(response)
            return response, endpoint
        raise AssertionError("the second attempt returns or raises")

    async def _connected(self) -> tuple[Endpoint, httpx.AsyncClient]:
        endpoint = self.session.known()
        if endpoint is None:
            endpoint = await asyncio.to_thread(self.session.endpoint)
        current = self._http
        if current is None or current[0] is not endpoint:
            await self.close()
            self._http = current = (
                endpoint,
                httpx.AsyncClient(
                    **setup.options(endpoint.url, named=endpoint.state is None), transport=self._transport
                ),
            )
        return current


class AsyncChatStream:
    """`ChatStream` for `async for` and `async with`."""

    def __init__(
        self, client: AsyncClient, body: dict[str, Any], shape: Shape | None, on_note: wire.Told, on_thought: wire.Told
    ) -> None:
        self._client = client
        self._growing = Growing(body, shape)
        self._on_note = on_note
        self._on_thought = on_thought
        self._response: httpx.Response | None = None
        self._pieces = self._read()
        self._closed = False

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        try:
            return await self._pieces.__anext__()
        except BaseException:
            await self.close()
            raise

    async def __aenter__(self) -> AsyncChatStream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def notes(self) -> Texts:
        """What the host said while one waited; the latest last."""
        return self._growing.notes

    @property
    def reply(self) -> Reply:
        """The answer so far. See `ChatStream.reply`."""
        return self._growing.reply(cancelled=self._closed)

    async def close(self) -> None:
        """Stop the answer, if it has not ended. Another task that reads it comes to its end."""
        self._closed = True
        if self._response:
            setup.hang_up(self._response)
            await self._response.aclose()
        with contextlib.suppress(RuntimeError):  # another task is reading: it comes to the end by itself
            await self._pieces.aclose()

    async def _read(self) -> AsyncGenerator[str, None]:
        body = self._growing.request
        if "model" not in body:
            body["model"] = await self._client.default_model()
        self._response, _ = await self._client.open(wire.chat(body))
        try:
            async for line in _lines(self._response):
                if piece := wire.feed(self._growing, line, self._on_note, self._on_thought):
                    yield piece
        except (httpx.HTTPError, httpx.StreamError):
            pass  # whether that matters depends on how far the answer had come
        if not self._closed:
            self._growing.end()


async def _lines(response: httpx.Response) -> AsyncIterator[str]:
    lines = wire.Lines()
    async for data in response.aiter_bytes():
        for line in lines.feed(data):
            yield line
    for line in lines.end():
        yield line
