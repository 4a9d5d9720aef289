"""The blocking client.

Knows: how to send and read with httpx, blocking. Does not know: what is sent (`wire`), how a host is found (`session`).
"""

from __future__ import annotations

import atexit
import contextlib
import secrets
import threading
from collections.abc import Callable, Generator, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from illama import transport as setup
from illama.client import pulling, wire
from illama.client.pulling import Pulling, Stopped, read
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


class Client(ClientBase):
    """Talks to the model host, which is found, or started, at the first call.

    With `base_url` (or ILLAMA_BASE_URL) that host is used and none started; without `start` only one that runs is. A
    host that has ended is found or started again at the next call, never in the middle of an answer. Safe to use from
    several threads. `transport` replaces httpx's own, for tests. Every call raises errors of `illama.errors`.

        >>> with Client() as client:  # doctest: +SKIP
        ...     print(client.chat("What is the capital of France?", max_tokens=20))
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        start: bool = True,
        settings: Settings | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        super().__init__(base_url, api_key, start=start, settings=settings)
        self._transport = transport
        self._lock = threading.Lock()
        self._http: tuple[Endpoint, httpx.Client] | None = None

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. The host stays; a later call opens new ones."""
        with self._lock:
            if self._http:
                self._http[1].close()
                self._http = None

    def connect(self) -> None:
        """Find or start the host now instead of at the first call. Raises HostError."""
        self.session.endpoint()

    def chat(
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
        """Ask, and wait for the whole answer.

        `prompt_or_messages` is a text or a list of `{"role", "content"}`; `model` None means `default_model()`;
        `response_format` is "json", a pydantic class, a dataclass, a TypedDict, a JSON schema or OpenAI's object, and
        the Reply's `parsed` the value then; `extra` goes into the request
        as it is (`tools`, `keep_alive`, …).
        """
        shape = shape_of(response_format)
        body = wire.chat_body(
            prompt_or_messages,
            model=model or self.default_model(),
            system=system,
            max_tokens=max_tokens,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            stop=stop,
            shape=shape,
            **extra,
        )
        return self._ask(wire.chat(body, shape))

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
    ) -> ChatStream:
        """Ask as with `chat`, and iterate over the answer's pieces as they come.

        Nothing is sent before the first piece is asked for. `on_note` is called with what the host says while one
        waits ("loading Phi-4 …", "queued 3"), `on_thought` with the pieces of a model's reasoning, which are no part of
        the answer's text.
        """
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
        return ChatStream(self, body, shape, on_note, on_thought)

    def embed(
        self, texts: str | Texts, *, model: str | None = None, kind: str = "document", dimensions: int | None = None
    ) -> Vectors:
        """The vectors of texts, in their order; a text alone gets a list of one.

        `kind` is "document" or "query", which some models tell apart; `dimensions` shortens the vectors where the model
        allows it; `model` None means the only, or the latest, embedding model installed.
        """
        name = model or wire.only(self.list(), "embedding")
        given = [texts] if isinstance(texts, str) else texts
        return self._ask(wire.embed(given, name, kind, dimensions))

    def rerank(self, query: str, documents: Texts, *, model: str | None = None, top_n: int | None = None) -> Ranking:
        """The places in `documents` and their relevance to the query (0 to 1), the best `top_n` first.

        `model` None means the only, or the latest, rerank model installed.
        """
        name = model or wire.only(self.list(), "rerank")
        return self._ask(wire.rerank(query, documents, name, top_n))

    def default_model(self) -> str:
        """The model that is meant where none is named.

        The one that is loaded if it is the only one, else the only one installed, else the one most recently made.
        Raises ModelNotFoundError if none is installed.
        """
        try:
            loaded = self.ps()
        except ForbiddenError:  # an inference key may not see it
            loaded = []
        return wire.choose(loaded, self.list())

    def list(self) -> Models:
        """The installed models, each as in Ollama's `/api/tags`."""
        return self._ask(wire.tags())

    def ps(self) -> Models:
        """The models that are loaded or loading, each as in Ollama's `/api/ps`, with `state`, `running`, `queued`…"""
        return self._ask(wire.ps())

    def show(self, model: str) -> dict[str, Any]:
        """All that is known about a model; its registry entry under "entry"."""
        return self._ask(wire.show(model))

    def jobs(self) -> Models:
        """The pulls that run, and those that ended lately: `id`, `source`, `state`, `status`, `completed`, `total`…"""
        return self._ask(wire.jobs())

    def pull(self, source: str, **wanted: Unpack[Wanted]) -> Pulling:
        """Fetch a model, and iterate over its progress. Nothing is sent before the first item is asked for.

        Each item has `status`, mostly `phase`, and `completed` and `total` in bytes; the last one is
        `{"status": "success", "name": …}`. Raises PullError and others. The pull is the host's: who asks for one that
        runs joins it, and it goes on when all have left, unless it is stopped; see `Pulling`.

        `wanted` may have what `Wanted` lists. Raises ConverterNeededError if a checkpoint is to be converted and the
        environment for that has to be made first, unless `make_environment` agrees to it.
        """
        watcher = secrets.token_hex(8)
        call = wire.pull(source, self._hub_token(source), watcher, **wanted)
        stop = wire.stop_pull(source, name=wanted.get("name"), watcher=watcher)
        return Pulling(source, self._progress(source, call), lambda: self._ask(stop) if self.session.known() else None)

    def _progress(self, source: str, call: Call[None]) -> Generator[dict[str, Any], None, None]:
        response, _ = self.open(call)
        last: dict[str, Any] = {}
        try:
            for line in _lines(response):
                if line.strip():
                    last = wire.progress(line)
                    yield last
        except httpx.HTTPError:
            raise pulling.broke_off(source) from None
        finally:
            response.close()
        if last.get("status") != "success":
            raise pulling.broke_off(source)

    def stop_pull(self, source: str, *, name: str | None = None) -> Stopped:
        """Cancel a pull, whoever watches it. `source` is what is pulled, or the id that `jobs()` tells.

        Raises NotFoundError if no such pull is under way.
        """
        return read(source, self._ask(wire.stop_pull(source, name=name, force=True)))

    def copy(self, source: str, destination: str) -> None:
        """Give a model a second name, which shares its files where it can. Nothing is overwritten."""
        self._ask(wire.copy(source, destination))

    def delete(self, model: str, force: bool = False) -> int:
        """Remove a model from the registry, and return the bytes that came free.

        Running requests may finish first, unless `force` is set.
        """
        return self._ask(wire.delete(model, force=force))

    def load(self, model: str, keep_alive: float | str | None = None) -> None:
        """Load a model now. `keep_alive` is in seconds or like "10m"; -1: until something else needs the room."""
        self._ask(wire.load(model, keep_alive))

    def unload(self, model: str, force: bool = False) -> None:
        """Unload a model and wait until its memory is free. Running requests finish first, unless `force` is set."""
        self._ask(wire.unload(model, force=force))

    def version(self) -> dict[str, Any]:
        """The host's version and protocol."""
        return self._ask(wire.version())

    def _ask(self, call: Call[T]) -> T:
        response, endpoint = self.open(call)
        try:
            response.read()
        except httpx.HTTPError as problem:
            raise wire.failure(problem, endpoint, begun=True) from None
        finally:
            response.close()
        return call.result(response)

    def open(self, call: Call[Any]) -> tuple[httpx.Response, Endpoint]:
        """Send a call of `illama.client.wire`: its answer, still to be read and closed, and who gave it.

        An answer that is an error is raised.
        """
        for again in (True, False):
            endpoint, http = self._connected()
            request = wire.request(http, endpoint, call)
            try:
                response = http.send(request, stream=True)
                if response.status_code >= 400:
                    response.read()
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

    def _connected(self) -> tuple[Endpoint, httpx.Client]:
        endpoint = self.session.endpoint()
        with self._lock:
            if self._http is None or self._http[0] is not endpoint:
                if self._http:
                    self._http[1].close()
                self._http = (
                    endpoint,
                    httpx.Client(
                        **setup.options(endpoint.url, named=endpoint.state is None), transport=self._transport
                    ),
                )
            return self._http


class ChatStream:
    """An answer as it comes: iterate over its pieces of text, once.

    `reply` is the Reply, complete after the last piece. Use it as a context manager, or call `close()`, to stop the
    answer: closing the connection cancels the request on the host. Any exception while reading does so
    too, Ctrl-C included.
    """

    def __init__(
        self, client: Client, body: dict[str, Any], shape: Shape | None, on_note: wire.Told, on_thought: wire.Told
    ) -> None:
        self._client = client
        self._growing = Growing(body, shape)
        self._on_note = on_note
        self._on_thought = on_thought
        self._response: httpx.Response | None = None
        self._pieces = self._read()
        self._closed = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        try:
            return next(self._pieces)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> ChatStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def notes(self) -> Texts:
        """What the host said while one waited; the latest last."""
        return self._growing.notes

    @property
    def reply(self) -> Reply:
        """The answer so far, complete after the last piece; its finish_reason is "cancelled" if it was closed early."""
        return self._growing.reply(cancelled=self._closed)

    def close(self) -> None:
        """Stop the answer, if it has not ended."""
        self._closed = True
        if self._response:
            setup.hang_up(self._response)
            self._response.close()
        with contextlib.suppress(ValueError):  # another thread is reading: it comes to the end by itself
            self._pieces.close()

    def _read(self) -> Generator[str, None, None]:
        body = self._growing.request
        if "model" not in body:
            body["model"] = self._client.default_model()
        self._response, _ = self._client.open(wire.chat(body))
        try:
            for line in _lines(self._response):
                if piece := wire.feed(self._growing, line, self._on_note, self._on_thought):
                    yield piece
        except (httpx.HTTPError, httpx.StreamError):
            pass  # whether that matters depends on how far the answer had come
        if not self._closed:
            self._growing.end()


def _lines(response: httpx.Response) -> Iterator[str]:
    lines = wire.Lines()
    for data in response.iter_bytes():
        yield from lines.feed(data)
    yield from lines.end()


_default: Client | None = None
_default_lock = threading.Lock()


def chat(prompt_or_messages: Prompt, **options: Any) -> Reply:
    """Ask the default client, which lives as long as this process. Arguments and errors are those of `Client.chat`."""
    global _default
    with _default_lock:
        if _default is None:
            _default = Client()
            atexit.register(_default.close)
    return _default.chat(prompt_or_messages, **options)
