"""What a cell holds reaches the engine to the letter: through IPython, the client, a real host and an engine's pipe."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support_host import fake_model, running_host
from support_notebook import make_kernel_shell

from illama.client import Client

CODE = 'def f{i}(x, *, y="{{x}}"):\n\t"""Ein Täst: \\d+ %s $HOME."""\n    return f"{{x!r:>{i}}}" % ({i},)  # ☃ €\n\n'
BODIES = {
    "empty braces": "What is {}? And {0}, { and }?",
    "double braces": "{{x}} {{ x }} {% if x %} {# no #}",
    "percent": "100 % of %s, %(name)d, %%, %time, %%bash",
    "shell": "$HOME ${HOME} $$ $(pwd) `pwd` ~ !ls ?help help??",
    "backslashes": "\\n \\t \\\\ \\x41 \\u0041 C:\\new \\\n\\",
    "quotes": '"""three""" \'\'\'three\'\'\' "one" \'one\' r"raw" f"{x}"',
    "chinese": "法国的首都是哪里。「巴黎」",
    "emoji": "👩‍👩‍👧‍👦 🇫🇷 👍🏽 é e\u0301 \u200b\u2028 \u00a0",
    "blank lines": "\n\n  indented\n\ttabbed  \n\n\nend",
    "magics": "%illama list\n%%illama\n!rm -rf /\nx = !ls\n?x",
    "code of 100 kB": "".join(CODE.replace("{i}", str(number)) for number in range(1000))[:100_000],
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    home = tmp_path_factory.mktemp("verbatim") / "home"
    home.mkdir(mode=0o700)
    fake_model(home, "echo", context_length=1 << 20, echo=True)
    with running_host(home) as host, Client(host.url, host.key) as client:
        yield client


@pytest.fixture
def shell(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    return make_kernel_shell(client, tmp_path, monkeypatch)


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_a_cell_reaches_the_engine_byte_for_byte(shell: Any, body: str):
    shell.run_cell(f"%%illama -f text -n 100000 -o reply\n{body}").raise_error()
    (message,) = json.loads(shell.user_ns["reply"].text)["messages"]
    assert message["content"].encode() == body.encode()
