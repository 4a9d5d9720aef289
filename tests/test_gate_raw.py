"""Requests that no client of ours would send, byte by byte: nothing but the two API trees and the page is reached."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest
from support_gate import TOKEN, Jupyter, jupyter_server
from support_host import fake_model, running_host

pytestmark = pytest.mark.slow

KEY = f"Authorization: Bearer {TOKEN}\r\n"
BASE = "/user/ada/illama"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jupyter]:
    home = tmp_path_factory.mktemp("gate") / "home"
    home.mkdir(mode=0o700)
    fake_model(home, "echo")
    with running_host(home), jupyter_server(home, base_url="/user/ada/") as found:
        yield found


@pytest.fixture
def bystander() -> Iterator[socket.socket]:
    """Another port of this machine, where nobody is to call."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.settimeout(0)
        yield listening


def called(bystander: socket.socket) -> bool:
    try:
        bystander.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def said(server: Jupyter, data: bytes) -> tuple[int, bytes]:
    """The status and body of the first answer to these bytes; status 0 if the server just hangs up."""
    address = urlsplit(server.url)
    with socket.create_connection(("127.0.0.1", address.port or 80), timeout=30) as connection:
        answer = b""
        try:
            connection.sendall(data)
            while piece := connection.recv(65536):
                answer += piece
        except ConnectionError:
            pass  # it closes before all is read
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]) if head else 0, body


def request(server: Jupyter, target: str, method: str = "GET", headers: str = KEY) -> bytes:
    host = f"Host: {urlsplit(server.url).netloc}\r\n"
    return f"{method} {target} HTTP/1.1\r\n{host}{headers}Connection: close\r\n\r\n".encode("latin-1")


def alive(server: Jupyter) -> bool:
    key = {"Authorization": f"Bearer {TOKEN}"}
    return server.cookieless("GET", "/v1/models", headers=key).status_code == 200


@pytest.mark.parametrize(
    "target",
    [
        *(f"{BASE}/v1/../health", f"{BASE}/v1/../../../api/contents", f"{BASE}/api/./tags", f"{BASE}//v1/models"),
        *(f"{BASE}/v1/%2e%2e/health", f"{BASE}/v1%2f..%2fhealth", f"{BASE}/v1/..%2fhealth", f"{BASE}/v1/..%5chealth"),
        *(f"{BASE}/v1/%252e%252e%252fhealth", f"{BASE}/v1/%25252e%25252e/health", f"{BASE}/v1/..;/health"),
        *(f"{BASE}%2fv1%2fmodels", f"{BASE}/v1%2fmodels", f"{BASE}/api%2ftags", f"{BASE}/%76%31%2fmodels"),
        *(f"{BASE}/v1/http://127.0.0.1:PORT/", f"{BASE}/v1//127.0.0.1:PORT/", f"{BASE}/v1/@127.0.0.1:PORT/"),
        *(f"{BASE}/v1:PORT/", f"{BASE}/PORT/v1/models", f"{BASE}/127.0.0.1:PORT/v1/models", f"{BASE}/absolute/PORT/"),
        *(f"{BASE}/v1/%2f%2f127.0.0.1:PORT%2fx", f"{BASE}/ui/../v1/models", f"{BASE}/ui/%2e%2e/%2e%2e/api/contents"),
        *(
            f"{BASE}/ui/..%2f..%2fgate.py",
            f"{BASE}/ui/page.py",
            f"{BASE}/health",
            f"{BASE}/metrics",
            f"{BASE}/openapi.json",
        ),
        *(f"http://127.0.0.1:PORT{BASE}/nothing", "http://127.0.0.1:PORT/", "http://127.0.0.1:PORT/v1/models"),
        *(
            "//127.0.0.1:PORT/v1/models",
            f"{BASE}/v1/\x01",
            f"{BASE}/v1/\xe4",
            f"{BASE}/v1/a%00b",
            f"{BASE}/v1/a%0d%0aX:y",
        ),
        *(f"{BASE}/v1/" + "../" * 2000, f"{BASE}/v1/" + "%25" * 5000 + "2e", f"{BASE}/api/" + "a/" * 5000),
    ],
)
def test_no_path_leads_elsewhere(server: Jupyter, bystander: socket.socket, target: str):
    target = target.replace("PORT", str(bystander.getsockname()[1]))
    status, body = said(server, request(server, target))
    assert 400 <= status < 500, (status, body[:300])
    assert b'"pid"' not in body
    assert not called(bystander)
    assert alive(server)


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PATCH", "PUT", "PROPFIND", "BREW", "get", "G", "A" * 5000])
@pytest.mark.parametrize("target", ["/v1/models", "/api/tags", "/ui/", "/x"])
def test_no_verb_that_nobody_uses_is_answered_otherwise(server: Jupyter, method: str, target: str):
    status, body = said(server, request(server, BASE + target, method))
    assert 400 <= status < 500, (status, body[:300])
    assert alive(server)


@pytest.mark.parametrize("target", ["127.0.0.1:PORT", "http://127.0.0.1:PORT/", "*"])
@pytest.mark.parametrize("method", ["CONNECT", "OPTIONS", "GET", "POST"])
def test_it_is_no_proxy(server: Jupyter, bystander: socket.socket, method: str, target: str):
    target = target.replace("PORT", str(bystander.getsockname()[1]))
    status, body = said(server, request(server, target, method))
    assert 400 <= status < 500, (status, body[:300])
    assert not called(bystander)
    assert alive(server)


@pytest.mark.parametrize(
    "headers",
    [
        KEY + "X-Long: " + "a" * 60_000 + "\r\n",
        KEY + "X-Long: " + "a" * 1_000_000 + "\r\n",
        KEY + "".join(f"X-{n}: {n}\r\n" for n in range(50_000)),
        "Authorization: Bearer " + "a" * 50_000 + "\r\n",
        "Authorization: Bearer sk-illama-" + "a" * 50_000 + "\r\n",
        "Cookie: " + "a=b; " * 10_000 + "\r\n",
        KEY + "Accept: " + "*/*," * 12_000 + "\r\n",
        KEY + "Content-Length: -1\r\n",
        KEY + "Content-Length: 99999999999999999999\r\n",
        KEY + "Content-Length: x\r\n",
        KEY + "Content-Length: " + "1" * 5000 + "\r\n",
        KEY + "Content-Length: 3\r\nContent-Length: 5\r\n",
        KEY + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        KEY + "Transfer-Encoding: gzip\r\n",
        KEY + " folded\r\n",
        KEY + "no colon\r\n",
        KEY + "Host: evil.example\r\n",
    ],
    ids=range(17),
)
def test_no_header_breaks_it(server: Jupyter, headers: str):
    status, body = said(server, request(server, f"{BASE}/v1/nothing", "GET", headers))
    assert 400 <= status < 500 or status == 0, (status, body[:300])
    assert alive(server)


def test_a_header_names_no_other_host(server: Jupyter, bystander: socket.socket):
    other = f"127.0.0.1:{bystander.getsockname()[1]}"
    headers = {
        "Authorization": f"Bearer {TOKEN}",
        "X-Forwarded-Host": other,
        "X-Forwarded-Port": other,
        "Forwarded": f"host={other}",
        "X-Original-URL": f"http://{other}/",
        "X-Rewrite-URL": "/api/contents",
        "X-HTTP-Method-Override": "DELETE",
    }
    answer: httpx.Response = server.cookieless("GET", "/v1/models", headers=headers)
    assert [model["id"] for model in answer.json()["data"]] == ["echo"]
    assert not called(bystander)
