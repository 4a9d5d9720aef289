"""Images by address: what is fetched, and that no address leads inside. Names and connections are injected."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from support_host import fake_model, running_host
from test_images import ask, png

from illama.errors import BodyTooLargeError, IllamaError, RequestError
from illama.host import remote_images, schema
from illama.host.remote_images import Fetcher, is_public
from illama.registry import Entry

PUBLIC = "93.184.216.34"
NAMES = {
    "pictures.example": [PUBLIC],
    "other.example": ["2606:2800:220:1:248:1893:25c8:1946"],
    "inside.example": ["10.0.0.7"],
    "both.example": [PUBLIC, "127.0.0.1"],
}


class Web(httpx.AsyncBaseTransport):
    """The internet: a server of the test's own at every public address, reached over a real connection."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.seen: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        there = request.url.copy_with(scheme="http", host="127.0.0.1", port=self.port)
        real = httpx.AsyncHTTPTransport(trust_env=False)
        return await real.handle_async_request(httpx.Request("GET", there, headers=request.headers))


@pytest.fixture
async def web() -> AsyncIterator[Web]:
    """Answers by path; what it was asked is in `seen`."""
    hanging = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split()[1]
        status, more, body = "200 OK", "", png(2, 2)
        if path.startswith("/to/"):
            status, more, body = "302 Found", f"Location: {path[len('/to/') :]}\r\nSet-Cookie: a=b\r\n", b""
        elif path == "/loop":
            status, more, body = "302 Found", "Location: /loop\r\n", b""
        elif path == "/large":
            body = b"\x89PNG\r\n\x1a\n" + bytes(21 * 2**20)
        elif path == "/page":
            body = b"<html>the router's own page</html>"
        elif path == "/packed":
            more = "Content-Encoding: gzip\r\n"
        elif path == "/missing":
            status = "404 Not Found"
        elif path == "/slow":
            await hanging.wait()
        try:
            writer.write(f"HTTP/1.1 {status}\r\n{more}Connection: close\r\n\r\n".encode() + body)
            await writer.drain()
        except ConnectionError:
            pass  # who has read enough goes
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield Web(server.sockets[0].getsockname()[1])
    hanging.set()
    server.close()


def fetcher(web: Web, **names: Any) -> Fetcher:
    async def resolve(host: str, port: int) -> list[str]:
        if host in NAMES:
            return NAMES[host]
        # Written addresses, in all the ways that the system knows; no name is looked up.
        return [str(each[4][0]) for each in socket.getaddrinfo(host, port, flags=socket.AI_NUMERICHOST)]

    return Fetcher(**{"resolve": resolve, "transport": lambda: web, **names})


@pytest.mark.anyio
async def test_an_image_is_fetched_from_the_address_that_was_checked_by_its_name(web):
    assert await fetcher(web).fetch("https://pictures.example/a.png?x=1", "here") == png(2, 2)
    (request,) = web.seen
    assert str(request.url) == f"https://{PUBLIC}/a.png?x=1"
    assert request.headers["Host"] == "pictures.example"
    assert request.extensions["sni_hostname"] == "pictures.example"


@pytest.mark.anyio
async def test_redirects_are_followed_without_cookies_and_to_the_next_names_address(web):
    assert await fetcher(web).fetch("http://pictures.example/to/http://other.example/b.png", "here") == png(2, 2)
    assert [request.headers["Host"] for request in web.seen] == ["pictures.example", "other.example"]
    assert web.seen[1].url.host == NAMES["other.example"][0]
    assert not any("cookie" in request.headers for request in web.seen)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://127.1/",
        "http://2130706433/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:a9fe:a9fe]/latest/meta-data",
        "http://169.254.169.254/latest/meta-data",
        "http://0.0.0.0/",
        "http://inside.example/",
        "http://both.example/",
        "http://not-there.example/",
    ],
)
async def test_nothing_inside_is_connected_to_not_even_by_a_redirect(web, url):
    for address in (url, f"http://pictures.example/to/{url}"):
        with pytest.raises(RequestError, match="no address, or one that is not public") as refused:
            await fetcher(web).fetch(address, "messages[0].content[0]")
        assert refused.value.hint is not None
        assert "data:image/png" in refused.value.hint
    # The redirecting server itself is all that was asked.
    assert [request.headers["Host"] for request in web.seen] == ["pictures.example"]


@pytest.mark.anyio
async def test_a_name_that_changes_after_the_check_gains_nothing(web):
    answers = [[PUBLIC], ["127.0.0.1"]]

    async def rebinding(host: str, port: int) -> list[str]:
        return answers.pop(0)

    assert await fetcher(web, resolve=rebinding).fetch("http://pictures.example/a.png", "here") == png(2, 2)
    assert [request.url.host for request in web.seen] == [PUBLIC]
    assert answers == [["127.0.0.1"]]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://pictures.example:8080/", "port 8080"),
        ("http://pictures.example/to/http://other.example:22/", "port 22"),
        ("http://me:secret@pictures.example/", "user name or password"),
        ("http://pictures.example/to/file:///etc/passwd", "no http or https address"),
        ("http://pictures.example/loop", "more than 3 times"),
        ("http://pictures.example/missing", "status 404"),
        ("http://pictures.example/packed", "compressed"),
        ("http://", "no http or https address"),
    ],
)
async def test_what_is_no_plain_public_address_is_refused(web, url, why):
    with pytest.raises(RequestError, match=why):
        await fetcher(web).fetch(url, "here")


@pytest.mark.anyio
async def test_what_is_too_large_is_read_no_further(web):
    with pytest.raises(BodyTooLargeError, match="larger than 20 MiB"):
        await fetcher(web).fetch("http://pictures.example/large", "here")


def chat(*urls: str) -> schema.ChatRequest:
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return schema.ChatRequest(model="Sees", messages=[schema.Message(role="user", content=parts)])


def model(task: str = "image-text-to-text") -> Entry:
    return Entry("Sees", {"kind": "ir"}, "0" * 64, "2026-01-01T00:00:00+00:00", task=task)


@pytest.mark.anyio
async def test_what_is_fetched_stands_in_the_request_as_if_it_had_been_sent(web):
    request = chat("http://pictures.example/a", "HTTPS://pictures.example/b")
    assert await fetcher(web).embed(request, model())
    sent = base64.b64encode(png(2, 2)).decode()
    assert schema.ask(request, 10).more["images"] == [sent, sent]


@pytest.mark.anyio
async def test_the_bytes_say_what_is_an_image(web):
    request = chat("http://pictures.example/page")
    await fetcher(web).embed(request, model())
    with pytest.raises(RequestError, match="no image that is known"):
        schema.ask(request, 10)


@pytest.mark.anyio
async def test_what_is_too_slow_is_given_up(web):
    with pytest.raises(RequestError, match=r"within 0\.2 seconds"):
        await fetcher(web, time_limit=0.2).embed(chat("http://pictures.example/slow"), model())


@pytest.mark.anyio
async def test_nothing_is_fetched_for_a_model_that_sees_nothing_or_for_too_many(web):
    with pytest.raises(IllamaError, match="needs a vision-language model"):
        await fetcher(web).embed(chat("http://pictures.example/a"), model("text-generation"))
    with pytest.raises(RequestError, match="more than 16 images"):
        await fetcher(web).embed(chat(*["http://pictures.example/a"] * 17), model())
    assert web.seen == []


@pytest.mark.parametrize(
    "address",
    [
        "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "127.0.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "240.0.0.1", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fec0::1", "ff02::1",
        "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2", "name",
    ],
)  # fmt: skip
def test_an_address_inside_is_known_in_every_form(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_an_address_of_the_internet_is_public(address):
    assert is_public(address)


def test_the_host_fetches_when_it_is_allowed_to_and_protects_what_is_inside(tmp_path):
    fake_model(tmp_path, "Sees", task="image-text-to-text")
    with running_host(tmp_path, ILLAMA_IMAGE_URLS="1") as host:
        inside = ask(host, f"{host.url}/health")
        assert inside.status_code == 400
        assert "is neither 80 nor 443" in inside.json()["error"]["message"]
        metadata = ask(host, "text:see", "http://169.254.169.254/latest/meta-data")
        assert "not public" in metadata.json()["error"]["message"]
        assert metadata.json()["error"]["param"] == "messages[0].content[1]"
        part = {"type": "input_image", "image_url": "http://localhost/"}
        body = {"model": "Sees", "input": [{"role": "user", "content": [part]}]}
        answer = host.http.post("/v1/responses", json=body)
        assert answer.status_code == 400
        assert "not public" in answer.json()["error"]["message"]


@pytest.mark.anyio
async def test_the_systems_resolver_gives_every_address_in_plain_form():
    assert await remote_images.resolve("127.1", 80) == ["127.0.0.1"]
