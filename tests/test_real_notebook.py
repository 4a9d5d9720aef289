"""The magics and the real small model: shapes that are kept, conversations whose beginning is not read again."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import pydantic
import pytest
from IPython.core.interactiveshell import InteractiveShell
from support_models import real_model_cache
from traitlets.config import Config

from illama import discovery
from illama.client import Client
from illama.config import Settings
from illama.errors import AnswerError
from illama.notebook.magics import IllamaMagics

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
MODEL = "SmolLM2-135M-Instruct"


class Address(pydantic.BaseModel):
    city: str = pydantic.Field(max_length=20)
    number: int = pydantic.Field(ge=1, le=200)


class Person(pydantic.BaseModel):
    name: str = pydantic.Field(min_length=1, max_length=30)
    age: int = pydantic.Field(ge=0, le=120)
    role: Literal["student", "teacher", "other"]
    score: float = pydantic.Field(ge=0, le=10)
    addresses: list[Address] = pydantic.Field(min_length=1, max_length=2)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    home = tmp_path_factory.mktemp("home")
    home.chmod(0o700)
    settings = Settings.load({"ILLAMA_HOME": str(home), "ILLAMA_REGISTRY_DIR": str(real_model_cache() / "registry")})
    with Client(settings=settings) as client:
        client.load(MODEL)
        yield client
    discovery.stop(settings, force=True)


@pytest.fixture
def shell(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    config = Config()
    config.HistoryManager.enabled = False
    shell = InteractiveShell(config=config)
    shell.register_magics(IllamaMagics(shell=shell, client=client))
    return shell


def test_a_nested_bounded_model_is_valid_twenty_times_of_twenty(client: Client):
    def ask(seed: int) -> Person:
        return client.chat(
            "Tell me about a person: name, age, role, score and addresses.",
            model=MODEL,
            response_format=Person,
            seed=seed,
            temperature=0.8,
            max_tokens=300,
        ).parsed

    with ThreadPoolExecutor(4) as pool:
        people = list(pool.map(ask, range(20)))
    assert [type(person) for person in people] == [Person] * 20
    assert len({person.model_dump_json() for person in people}) > 10


def test_an_answer_cut_by_its_limit_is_a_clear_error(shell: Any):
    shell.user_ns["Person"] = Person
    with pytest.raises(AnswerError, match="cut at its limit of tokens"):
        shell.run_cell_magic("illama", f"{MODEL} --json Person -n 8 -t 0", "Tell me about a person.")


def test_what_guides_an_answer_lets_no_white_space_go_on(client: Client):
    schema = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 9}}, "required": ["a"]}
    reply = client.chat("A number?", model=MODEL, response_format=schema, temperature=0)
    assert reply.text == f'{{"a": {reply.parsed["a"]}}}'


def test_a_thread_does_not_read_its_beginning_again(shell: Any):
    long = "The sea is wide and deep. " * 60
    shell.run_cell_magic("illama", f"{MODEL} --thread t -n 8 -t 0 -o first", f"Remember this: {long}")
    shell.run_cell_magic("illama", f"{MODEL} --thread t -n 8 -t 0 -o second", "And what is it about?")
    before, timings = shell.user_ns["first"].timings, shell.user_ns["second"].timings
    assert timings["prompt_n"] > before["prompt_n"]
    assert timings["cached_n"] >= 0.9 * before["prompt_n"]


def test_the_same_seed_gives_the_same_answer_and_the_reply_knows_it(shell: Any):
    shell.run_cell_magic("illama", f"{MODEL} -t 0.9 -n 24 -o first", "Tell me a story.")
    first = shell.user_ns["first"]
    shell.run_cell_magic("illama", f"{MODEL} -t 0.9 -n 24 --seed {first.seed} -o again", "Tell me a story.")
    assert shell.user_ns["again"].text == first.text
    assert first.origin["source"]["repo"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert "openvino" in first.origin["recipe"]
