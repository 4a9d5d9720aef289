"""`%illama url` and `%illama openai`: in this process with a played server, and in a kernel of a real one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from IPython.core.error import UsageError
from jupyter_client.blocking import BlockingKernelClient
from support_gate import PASSWORD, TOKEN, Jupyter, jupyter_server
from support_host import eventually, fake_model
from support_kernels import end_host, run_cell, texts
from test_connection import played, runtime, server_file  # noqa: F401 - a fixture
from test_notebook_magics import Host, host, shell  # noqa: F401 - fixtures

from illama.config import Settings
from illama.errors import ConfigError, RequestError
from illama.host.keys import InferenceKeys


@pytest.fixture
def jupyter(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:  # noqa: F811
    with played() as (url, _):
        for name, value in server_file(runtime, url=url, token="secret-token").items():
            monkeypatch.setenv(name, value)
        yield url


def keys() -> InferenceKeys:
    return InferenceKeys(Settings.load())


def test_the_address_is_shown_and_the_key_is_not(shell: Any, jupyter: str):  # noqa: F811
    address = shell.run_line_magic("illama", "url")
    for text in (repr(address), address._repr_html_()):
        assert f"{jupyter}illama/v1" in text
        assert "secret-token" not in text
        assert "--key NAME" in text
    assert (address.base_url, address.api_key) == (f"{jupyter}illama/v1", "secret-token")


def test_the_key_is_shown_to_who_asks(shell: Any, jupyter: str):  # noqa: F811
    assert "secret-token" in repr(shell.run_line_magic("illama", "url --show-key"))
    assert 'api_key="secret-token"' in repr(shell.run_line_magic("illama", "openai openai --show-key"))


def test_all_programs_get_settings_without_the_key(shell: Any, jupyter: str):  # noqa: F811
    text = repr(shell.run_line_magic("illama", "openai"))
    for piece in ("OpenAI(base_url=", "ChatOpenAI(base_url=", "open-webui serve", "curl http", '"SmolLM2"'):
        assert piece in text
    assert text.count(f"{jupyter}illama/v1") == 5
    assert "secret-token" not in text
    assert "YOUR-KEY" in text


def test_one_program_can_be_named(shell: Any, jupyter: str):  # noqa: F811
    text = repr(shell.run_line_magic("illama", "openai curl"))
    assert "curl" in text
    assert "LangChain" not in text
    with pytest.raises(UsageError, match="none of"):
        shell.run_line_magic("illama", "openai emacs")


def test_an_inference_key_is_made_on_request_and_shown_once(shell: Any, jupyter: str):  # noqa: F811
    text = repr(shell.run_line_magic("illama", "openai openai --key open-webui"))
    key = next(word.split('"')[1] for word in text.split("api_key=")[1:])
    assert keys().holder(key) == "open-webui"
    assert "once" in text
    with pytest.raises(RequestError, match="already"):
        shell.run_line_magic("illama", "openai --key open-webui")


def test_outside_of_jupyter_it_is_the_hosts_own_address(
    shell: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    address = shell.run_line_magic("illama", "url")
    assert address.base_url == "http://127.0.0.1:1/v1"
    assert "everything" in repr(address)


def test_the_hosts_own_address_can_be_asked_for(shell: Any, jupyter: str):  # noqa: F811
    assert shell.run_line_magic("illama", "url --host").base_url == "http://127.0.0.1:1/v1"


def test_a_server_without_the_extension_is_told_and_the_host_is_named(
    shell: Any,  # noqa: F811
    runtime: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
):
    with played("text/html", 404) as (url, _):
        for name, value in server_file(runtime, url=url).items():
            monkeypatch.setenv(name, value)
        address = shell.run_line_magic("illama", "url")
    assert address.base_url == "http://127.0.0.1:1/v1"
    assert "extension" in repr(address)


def test_a_server_that_leads_to_another_host_gets_no_key_of_ours(
    shell: Any,  # noqa: F811
    runtime: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
):
    with played(status=401) as (url, _):
        for name, value in server_file(runtime, url=url).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(ConfigError, match="another model host"):
            shell.run_line_magic("illama", "url --key a")
    assert keys().list() == []


# A real server, with a kernel that it started.


def kernel_of(server: Jupyter, headers: dict[str, str]) -> BlockingKernelClient:
    """A new kernel of this server, ready."""
    made = server.http.post(server.url + "api/kernels", headers=headers, json={"name": "python3"})
    assert made.status_code == 201, made.text
    runtime_dir = server.log.parent / "jupyter-runtime"
    path = runtime_dir / f"kernel-{made.json()['id']}.json"
    eventually(lambda: path.exists() and path.read_text(), "the kernel has a connection file")
    client = BlockingKernelClient()
    client.load_connection_info(json.loads(path.read_text()))
    client.start_channels()
    client.wait_for_ready(timeout=60)
    return client


def result_of(client: BlockingKernelClient, code: str) -> str:
    messages = run_cell(client, code)
    failed = [content for kind, content in messages if kind == "error"]
    assert not failed, failed
    return "".join(texts(messages, "execute_result")) + "".join(c["text"] for k, c in messages if k == "stream")


@pytest.mark.slow
@pytest.mark.parametrize(("token", "password"), [(TOKEN, ""), ("", PASSWORD), ("", "")])
def test_what_a_real_kernel_prints_works_when_pasted(home: Path, token: str, password: str):
    fake_model(home, "echo")
    with jupyter_server(home, token=token, password=password, base_url="/base/") as server:
        headers = {"Authorization": f"token {token}"} if token else {}
        if not token:
            cookies, xsrf = server.logged_in(password)
            headers = {"Cookie": "; ".join(f"{k}={v}" for k, v in cookies.items()), "X-XSRFToken": xsrf}
        client = kernel_of(server, headers)
        try:
            result_of(client, "%load_ext illama")
            plain = result_of(client, "%illama url")
            made = result_of(client, "a = %illama openai openai --key pasted\na")
            settings = result_of(client, "print(a.base_url, a.api_key)").split()
            with openai.OpenAI(base_url=settings[0], api_key=settings[1], max_retries=0) as pasted:
                answer = pasted.chat.completions.create(model="echo", messages=[{"role": "user", "content": "hello"}])
        finally:
            client.stop_channels()
            end_host({"ILLAMA_HOME": str(home)})
    assert settings[0].endswith("/base/illama/v1")
    assert answer.choices[0].message.content
    assert settings[1] in made
    if token:
        assert "/base/illama/v1" in plain
        assert TOKEN not in plain
    else:
        assert "/base/illama does not work: this Jupyter server has no token" in plain
