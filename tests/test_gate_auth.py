"""Who may come in through Jupyter: every way to log in, every kind of caller, every verb, at real JupyterLabs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from support_gate import PASSWORD, TOKEN, Jupyter, jupyter_server
from support_host import fake_model, running_host

pytestmark = pytest.mark.slow

MODES = {"token": (TOKEN, ""), "password": ("", PASSWORD), "both": (TOKEN, PASSWORD), "none": ("", "")}
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "GET": ("/v1/models", {}),
    "POST": (
        "/v1/chat/completions",
        {"json": {"model": "echo", "messages": [{"role": "user", "content": "hello"}]}},
    ),
    "DELETE": ("/api/delete", {"json": {"model": "not-there"}}),
    "OPTIONS": ("/v1/models", {}),
}
# What the host itself answers: it knows no model of that name.
LET_IN = {"GET": 200, "POST": 200, "DELETE": 404, "OPTIONS": 200}
KEYS = {"bearer": f"Bearer {TOKEN}", "token scheme": f"token {TOKEN}", "wrong key": "Bearer wrong", "no key": None}
CALLERS = (*KEYS, "cookie", "cookie without xsrf", "cookie of another origin", "key of another origin", "other host")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Jupyter]]:
    folder = tmp_path_factory.mktemp("gate")
    home = folder / "home"
    home.mkdir(mode=0o700)
    fake_model(home, "echo")
    with ExitStack() as stack:
        stack.enter_context(running_host(home))
        found = {}
        for mode, (token, password) in MODES.items():
            scratch = folder / mode
            scratch.mkdir()
            (scratch / "home").symlink_to(home)
            found[mode] = stack.enter_context(
                jupyter_server(scratch / "home", token=token, password=password, program="jupyterlab")
            )
        yield found


def headers_of(server: Jupyter, mode: str, caller: str) -> dict[str, str]:
    if caller in KEYS:
        key = KEYS[caller]
        return {"Authorization": key} if key else {}
    token, password = MODES[mode]
    key = {"Authorization": f"Bearer {token}"} if token else {}
    if caller == "other host":
        return {**key, "Host": "evil.example"}
    if caller == "key of another origin":
        return {**key, "Origin": "https://evil.example"}
    cookies, xsrf = server.logged_in(password or token)
    chosen = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
    if caller == "cookie without xsrf":
        return {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items() if name != "_xsrf")}
    if caller == "cookie of another origin":
        chosen["Origin"] = "https://evil.example"
    return {**chosen, "X-XSRFToken": xsrf}


# Who gets what, by the server's way to log in and by the verb. "in" is the host's own answer; the rest is in CELLS.
TABLE = """
mode     | caller                   | GET     POST    DELETE  OPTIONS
token    | bearer                   | in      in      in      in
token    | token scheme             | in      in      in      in
token    | wrong key                | key     key     key     in
token    | no key                   | key     key     key     in
token    | cookie                   | in      in      in      in
token    | cookie without xsrf      | in      xsrf    xsrf    in
token    | cookie of another origin | origin  origin  origin  in
token    | key of another origin    | in      in      in      in
token    | other host               | host    host    host    host
password | bearer                   | key     key     key     in
password | token scheme             | key     key     key     in
password | wrong key                | key     key     key     in
password | no key                   | key     key     key     in
password | cookie                   | in      in      in      in
password | cookie without xsrf      | in      xsrf    xsrf    in
password | cookie of another origin | origin  origin  origin  in
password | key of another origin    | key     key     key     in
password | other host               | host    host    host    host
both     | bearer                   | in      in      in      in
both     | token scheme             | in      in      in      in
both     | wrong key                | key     key     key     in
both     | no key                   | key     key     key     in
both     | cookie                   | in      in      in      in
both     | cookie without xsrf      | in      xsrf    xsrf    in
both     | cookie of another origin | origin  origin  origin  in
both     | key of another origin    | in      in      in      in
both     | other host               | host    host    host    host
none     | bearer                   | in      login   login   in
none     | token scheme             | in      login   login   in
none     | wrong key                | in      login   login   in
none     | no key                   | in      login   login   in
none     | cookie                   | in      in      in      in
none     | cookie without xsrf      | in      login   login   in
none     | cookie of another origin | origin  origin  origin  in
none     | key of another origin    | origin  origin  origin  in
none     | other host               | host    host    host    host
"""
CELLS = {
    "in": (0, ""),
    "key": (401, "key is missing or wrong"),
    "xsrf": (403, "X-XSRFToken"),  # a cookie, and no proof that the request comes from a page of this server
    "origin": (403, "origin"),
    "host": (403, "Host header"),
    "login": (403, "no token or password"),  # the server asks nobody for either, so it takes only its own pages' word
}
EXPECTED = {
    (mode.strip(), caller.strip(), method): word
    for mode, caller, words in (line.split("|") for line in TABLE.strip().splitlines()[1:])
    for method, word in zip(REQUESTS, words.split(), strict=True)
}


def expected(mode: str, caller: str, method: str) -> tuple[int, str]:
    """The status, and a piece of what is said if it is the gate that says it."""
    status, said = CELLS[EXPECTED[mode, caller, method]]
    return status or LET_IN[method], said


def test_the_table_has_every_cell():
    assert EXPECTED.keys() == {(mode, caller, method) for mode in MODES for caller in CALLERS for method in REQUESTS}


@pytest.mark.parametrize("method", REQUESTS)
@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("mode", MODES)
def test_each_caller_gets_what_is_theirs(servers: dict[str, Jupyter], mode: str, caller: str, method: str):
    path, body = REQUESTS[method]
    answer = servers[mode].cookieless(method, path, headers=headers_of(servers[mode], mode, caller), **body)
    status, said = expected(mode, caller, method)
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"].startswith("application/json")
    assert "'_xsrf' argument" not in answer.text
    if said:
        error = answer.json()["error"]
        message = error if path.startswith("/api") else error["message"]
        assert said in message
        assert answer.json().get("hint") or error["hint"]
    elif method == "DELETE":
        assert answer.json()["code"] == "model_not_found"


def test_a_password_without_a_token_is_told_what_to_do(servers: dict[str, Jupyter]):
    answer = servers["password"].cookieless("POST", "/v1/chat/completions", headers={"Authorization": "Bearer x"})
    assert answer.status_code == 401
    assert "JUPYTER_TOKEN" in answer.json()["error"]["hint"]


def test_a_wrong_key_beside_a_right_cookie_is_a_wrong_key(servers: dict[str, Jupyter]):
    headers = headers_of(servers["token"], "token", "cookie without xsrf")
    answer = servers["token"].cookieless(
        "POST", "/v1/chat/completions", headers={**headers, "Authorization": "Bearer x"}
    )
    assert answer.status_code == 401


def test_the_token_in_the_query_is_a_key_too(servers: dict[str, Jupyter]):
    assert servers["token"].cookieless("GET", f"/v1/models?token={TOKEN}").status_code == 200


def test_no_origin_is_allowed_unless_jupyter_allows_it(servers: dict[str, Jupyter]):
    asked = {"Origin": "https://app.example", "Access-Control-Request-Headers": "authorization"}
    answer = servers["token"].cookieless("OPTIONS", "/v1/chat/completions", headers=asked)
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_an_origin_that_jupyter_allows_may_ask(tmp_path: Path, home: Path):
    with jupyter_server(home, "--ServerApp.allow_origin=https://app.example") as server:
        asked = {"Origin": "https://app.example", "Access-Control-Request-Headers": "authorization"}
        answer = server.cookieless("OPTIONS", "/v1/chat/completions", headers=asked)
    assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "authorization" in answer.headers["Access-Control-Allow-Headers"]
