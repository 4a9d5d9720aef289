"""How httpx is set up to reach a host: which proxies, certificates and time limits count.

Knows: URLs and httpx's options. Does not know: keys, endpoints, what is sent.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
from typing import Any
from urllib.parse import urlsplit

import httpx

# An answer may take as long as it takes: a host that is there says by its pings that it is alive. Seconds.
CONNECT_WAIT = 5.0
ANSWER_TIMEOUT = httpx.Timeout(None, connect=CONNECT_WAIT)
QUICK_TIMEOUT = httpx.Timeout(30.0, connect=CONNECT_WAIT)


def is_loopback(url: str) -> bool:
    """Whether the URL's host is this machine itself."""
    name = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def options(url: str, *, named: bool) -> dict[str, Any]:
    """Arguments for `httpx.Client` or `httpx.AsyncClient` that suit the URL; `named` says that the user gave it.

    The environment's proxies are never asked for what was found on this machine, nor for loopback: they would not
    reach it, and would see the key.
    """
    chosen: dict[str, Any] = {"trust_env": named and not is_loopback(url), "timeout": ANSWER_TIMEOUT}
    if url.startswith("http://"):
        # Reading the certificate authorities costs 20 ms. This context trusts none: a redirect to https fails.
        chosen["verify"] = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return chosen


def hang_up(response: httpx.Response) -> None:
    """End the connection under an answer, so that the other side knows and a thread that waits for more wakes up.

    Closing the response alone leaves another thread in its `recv`.
    """
    stream = response.extensions.get("network_stream")
    connection = stream.get_extra_info("socket") if stream else None
    if connection is not None and not response.is_closed:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
