"""Pieces of a stream on their way into the socket: whole, in order, and no longer than a reader deserves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tornado import httpserver, iostream, netutil, web

from illama.host import writing

pytestmark = pytest.mark.anyio

LARGE = [bytes([65 + number % 26]) * 300_000 for number in range(60)]  # more than any socket takes at once


class Streams(web.RequestHandler):
    """Pushes pieces, and notes how it ended."""

    def initialize(self, pieces: list[bytes], ends: asyncio.Queue[object]) -> None:
        self.pieces, self.ends = pieces, ends

    async def get(self) -> None:
        try:
            for piece in self.pieces:
                if not await writing.push(self, piece):
                    self.ends.put_nowait("too slow")
                    return
            self.ends.put_nowait("done")
        except iostream.StreamClosedError:
            self.ends.put_nowait("gone")


class Server:
    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.ends: asyncio.Queue[object] = asyncio.Queue()
        sockets = netutil.bind_sockets(0, "127.0.0.1")
        self.port = sockets[0].getsockname()[1]
        application = web.Application([("/", Streams, {"pieces": self.pieces, "ends": self.ends})])
        self.server = httpserver.HTTPServer(application)
        self.server.add_sockets(sockets)

    async def ask(self, version: str = "1.1") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(f"GET / HTTP/{version}\r\nHost: here\r\nConnection: close\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        return reader, writer

    async def end(self) -> object:
        return await asyncio.wait_for(self.ends.get(), 20)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    yield made
    made.server.stop()
    await made.server.close_all_connections()


def dechunked(body: bytes) -> bytes:
    whole = b""
    while True:
        size, _, body = body.partition(b"\r\n")
        if int(size, 16) == 0:
            return whole
        whole += body[: int(size, 16)]
        assert body[int(size, 16) :].startswith(b"\r\n")
        body = body[int(size, 16) + 2 :]


async def test_pieces_arrive_as_chunks_in_their_order(server: Server) -> None:
    server.pieces += [b"one ", b"", b"two ", b"three"]
    reader, writer = await server.ask()
    assert dechunked(await reader.read()) == b"one two three"
    writer.close()


async def test_what_a_socket_does_not_take_waits_for_its_reader(server: Server) -> None:
    server.pieces += LARGE
    reader, writer = await server.ask()
    await asyncio.sleep(0)
    assert server.ends.empty(), "it cannot have written all of it yet"
    assert dechunked(await reader.read()) == b"".join(LARGE)
    assert await server.end() == "done"
    writer.close()


async def test_a_client_that_knows_no_chunks_gets_none(server: Server) -> None:
    server.pieces += [b"one ", b"two"]
    reader, writer = await server.ask("1.0")
    assert await reader.read() == b"one two"
    writer.close()


async def test_a_reader_that_makes_no_room_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "WRITE_PATIENCE", 0.05)
    server.pieces += LARGE
    _, writer = await server.ask()
    assert await server.end() == "too slow"
    writer.close()


async def test_a_client_that_left_is_noticed_by_the_next_piece(server: Server) -> None:
    server.pieces += LARGE
    _, writer = await server.ask()
    transport: Any = writer.transport
    transport.abort()
    assert await server.end() == "gone"
