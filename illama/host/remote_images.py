"""Images of a chat that are given by address: fetched, if the owner allows it, from the public internet alone.

Knows: which addresses are public, redirects, limits of size and time. Does not know: what is an image (`images` does).

A request's author names the address, and the host stands inside a network that the author may not see. So each name is
resolved once, every address that it has must be public, and the connection goes to the very address that was checked:
a name that answers differently a moment later gains nothing. Redirects are checked like the first address.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx

import illama
from illama.errors import BodyTooLargeError, RequestError
from illama.host import images, tasks
from illama.host.schema import ChatRequest
from illama.registry import Entry

# Seconds for all images of a request together, and the bytes of these: as much as a request's body could hold.
TIME_LIMIT = 10.0
MAX_TOTAL = 48 * 2**20
MAX_REDIRECTS = 3
_PORTS = {"http": 80, "https": 443}
_REDIRECTS = {301, 302, 303, 307, 308}
_HINT = "Send the image itself, as data:image/png;base64,…"

Resolve = Callable[[str, int], Awaitable[list[str]]]


async def resolve(host: str, port: int) -> list[str]:
    """The IP addresses of a name. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(each[4][0]) for each in found]


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, also by what it has within it of version 4."""
    try:
        ip: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        # Tunnels and translators lead to an address of version 4, which may be inside.
        if ip.sixtofour or ip.teredo or ip.is_site_local:
            return False
        ip = ip.ipv4_mapped or ip
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified or ip.is_loopback)


class Fetcher:
    """Fetches the images of one request. `resolve` and `transport` are how names and addresses are reached."""

    def __init__(
        self,
        resolve: Resolve = resolve,
        transport: Callable[[], httpx.AsyncBaseTransport] | None = None,
        time_limit: float = TIME_LIMIT,
    ) -> None:
        self._resolve = resolve
        self._transport = transport or _direct
        self._time_limit = time_limit
        self._left = MAX_TOTAL

    async def embed(self, request: ChatRequest, entry: Entry) -> bool:
        """Put data URLs in the place of a request's addresses; True at the end.

        Raises RequestError, BodyTooLargeError or, for a model that sees nothing, UnsupportedError; then nothing or not
        all is fetched.
        """
        parts = list(_remote(request))
        if not parts:
            return True
        tasks.demand(entry, "image-text-to-text")
        if len(parts) > images.MAX_IMAGES:
            raise RequestError(f"The request has more than {images.MAX_IMAGES} images.", param="messages")
        try:
            await asyncio.wait_for(self._embed(parts), self._time_limit)
        except asyncio.TimeoutError:
            raise RequestError(
                f"The images did not arrive within {self._time_limit:g} seconds.", hint=_HINT, param="messages"
            ) from None
        return True

    async def _embed(self, parts: list[tuple[str, dict[str, Any], str]]) -> None:
        # One after another: a request is no means to open many connections.
        for where, part, url in parts:
            content = await self.fetch(url, where)
            part["image_url"] = {"url": f"data:application/octet-stream;base64,{base64.b64encode(content).decode()}"}

    async def fetch(self, address: str, where: str) -> bytes:
        """The bytes at an address. Raises RequestError or BodyTooLargeError that names `where`."""
        url = _parsed(address, where)
        for _ in range(MAX_REDIRECTS + 1):
            ip = await self._checked(url, where)
            # The name stays in Host and in TLS, so that the certificate is checked against it; nothing else goes along.
            request = httpx.Request(
                "GET",
                url.copy_with(host=ip),
                headers={
                    "Host": url.netloc.decode("ascii"),
                    "User-Agent": f"illama/{illama.__version__}",
                    "Accept": "image/*",
                    "Accept-Encoding": "identity",
                },
                extensions={"sni_hostname": url.raw_host.decode("ascii")},
            )
            try:
                # Each hop has a connection of its own: two names at one address never share one.
                async with self._transport() as transport:
                    response = await transport.handle_async_request(request)
                    try:
                        if response.status_code not in _REDIRECTS:
                            return await self._read(response, url, where)
                        location = response.headers.get("Location", "")
                    finally:
                        await response.aclose()
            except (httpx.HTTPError, OSError):
                raise _refused(where, f"{url.host} did not deliver it") from None
            url = _parsed(location, where, url)
        raise _refused(where, f"its address redirects more than {MAX_REDIRECTS} times")

    async def _checked(self, url: httpx.URL, where: str) -> str:
        """The public address to connect to. What is not there and what is inside are told by the same words."""
        try:
            found = await self._resolve(url.raw_host.decode("ascii"), url.port or _PORTS[url.scheme])
        except (OSError, UnicodeError):
            found = []
        if not found or not all(is_public(address) for address in found):
            raise _refused(where, f"{url.host} has no address, or one that is not public")
        return found[0]

    async def _read(self, response: httpx.Response, url: httpx.URL, where: str) -> bytes:
        if response.status_code != 200:
            raise _refused(where, f"{url.host} answers with status {response.status_code}")
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise _refused(where, f"{url.host} sends it compressed")
        limit = min(images.MAX_BYTES, self._left)
        content = bytearray()
        async for chunk in response.aiter_raw():
            content += chunk
            if len(content) > limit:
                raise BodyTooLargeError(
                    f"{where}: the image is larger than {images.MAX_BYTES // 2**20} MiB, or all together are than "
                    f"{MAX_TOTAL // 2**20}.",
                    hint="Give smaller ones.",
                    param=where,
                )
        self._left -= len(content)
        return bytes(content)


def _remote(request: ChatRequest) -> Iterator[tuple[str, dict[str, Any], str]]:
    """The parts that name an address: the place of each, the part, the address."""
    for at, message in enumerate(request.messages):
        for number, part in enumerate(message.content if isinstance(message.content, list) else ()):
            given = part.get("image_url") if part.get("type") == "image_url" else None
            url = given.get("url") if isinstance(given, dict) else given
            if isinstance(url, str) and url.lower().startswith(("http://", "https://")):
                yield f"messages[{at}].content[{number}]", part, url


def _parsed(address: str, where: str, base: httpx.URL | None = None) -> httpx.URL:
    try:
        url = base.join(address) if base is not None else httpx.URL(address)
    except (httpx.InvalidURL, ValueError):
        raise _refused(where, "its address is malformed") from None
    if url.scheme not in _PORTS or not url.host:
        raise _refused(where, "it or its redirect is no http or https address")
    if url.userinfo:
        raise _refused(where, "its address has a user name or password in it")
    if (url.port or _PORTS[url.scheme]) not in _PORTS.values():
        raise _refused(where, f"port {url.port} is neither 80 nor 443")
    return url


def _refused(where: str, why: str) -> RequestError:
    return RequestError(f"{where}: the image cannot be fetched: {why}.", hint=_HINT, param=where)


def _direct() -> httpx.AsyncBaseTransport:
    return httpx.AsyncHTTPTransport(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
