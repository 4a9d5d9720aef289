"""The real small model, guided: calls of tools, schemas, expressions and grammars, by OpenAI's own client."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import openai
import pydantic
import pytest
from support_host import RunningHost, events, running_host
from support_models import real_model_cache
from support_schema import misfit

from illama.host.json_grammar import grammar_of

pytestmark = pytest.mark.slow

MODEL = "SmolLM2-135M-Instruct"
LIGHT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "room": {"type": "string", "enum": ["kitchen", "hall"]},
        "colour": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 255}, "maxItems": 3},
        "name": {"type": "string", "maxLength": 12},
    },
    "required": ["room", "colour", "name"],
    "additionalProperties": False,
}
TOOL: Any = {"type": "function", "function": {"name": "set_light", "description": "Sets a lamp.", "parameters": LIGHT}}
# Everything that a grammar made here may hold, for GenAI's own compiler.
ALL_KINDS: dict[str, Any] = {
    "$defs": {"Tree": {"properties": {"next": {"anyOf": [{"$ref": "#/$defs/Tree"}, {"type": "null"}]}}}},
    "type": "object",
    "properties": {
        "tree": {"$ref": "#/$defs/Tree"},
        "code": {"type": "string", "pattern": '^[A-Z]{2}-\\d+ ?(é|世|"|\\\\)$'},
        "day": {"type": "string", "format": "date"},
        "mail": {"type": "string", "format": "email"},
        "share": {"type": "number", "minimum": 0, "maximum": 1},
        "count": {"type": ["integer", "null"], "minimum": -20, "maximum": 1200},
        "any": {},
        "map": {"type": "object", "additionalProperties": {"type": "boolean"}},
        "pair": {"prefixItems": [{"const": 1}, {"const": 'a "b" \\ 世\n'}]},
        "long": {"type": "string", "maxLength": 4000},
    },
}


# A template of Hermes' kind, for a model whose own knows no tools.
HERMES = """\
{% for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}{% for call in message.tool_calls %}<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments }}}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}{% if tools %}<|im_start|>assistant
{% endif %}"""


class City(pydantic.BaseModel):
    name: str = pydantic.Field(max_length=20)
    large: bool


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    registry = real_model_cache() / "registry"
    home = tmp_path_factory.mktemp("home")
    with running_host(home, ILLAMA_ENGINE="openvino", ILLAMA_REGISTRY_DIR=str(registry)) as running:
        yield running


@pytest.fixture(scope="module")
def client(host: RunningHost) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{host.url}/v1", api_key=host.key, max_retries=0) as made:
        yield made


@pytest.mark.parametrize("seed", range(4))
def test_a_required_call_fits_its_schema_whole_and_streamed(client: openai.OpenAI, seed: int) -> None:
    body: Any = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Make the kitchen red."}],
        "tools": [TOOL],
        "tool_choice": "required",
        "temperature": 0.8,
        "seed": seed,
        "max_tokens": 200,
    }
    whole = client.chat.completions.create(**body).choices[0]
    assert whole.finish_reason == "tool_calls"
    (call,) = whole.message.tool_calls or ()
    assert call.type == "function"
    assert misfit(json.loads(call.function.arguments), LIGHT) == ""
    with client.chat.completions.stream(**body) as stream:
        stream.until_done()
        streamed = stream.get_final_completion().choices[0].message
    (call,) = streamed.tool_calls or ()
    assert misfit(json.loads(call.function.arguments), LIGHT) == ""


def test_an_answer_is_parsed_into_a_class(client: openai.OpenAI) -> None:
    ask: Any = {"role": "user", "content": "What is the capital of France?"}
    parsed = client.chat.completions.parse(model=MODEL, messages=[ask], response_format=City).choices[0].message.parsed
    assert isinstance(parsed, City)
    response = client.responses.parse(model=MODEL, input=ask["content"], text_format=City)
    assert isinstance(response.output_parsed, City)


def test_a_call_through_the_responses_api_fits_too(client: openai.OpenAI) -> None:
    tool: Any = {"type": "function", "name": "set_light", "parameters": LIGHT}
    response = client.responses.create(model=MODEL, input="Make the hall blue.", tools=[tool], tool_choice="required")
    (item,) = response.output
    assert item.type == "function_call"
    assert misfit(json.loads(item.arguments), LIGHT) == ""


@pytest.mark.parametrize(
    ("body", "pattern"),
    [
        ({"regex": "(red|green), \\d{2}"}, r"(red|green), \d{2}"),
        ({"guided_choice": ["yes.", "no!"]}, r"yes\.|no!"),
        ({"grammar": 'root ::= "colour: " ("red" | "blue")'}, "colour: (red|blue)"),
        ({"response_format": {"type": "json_object"}, "max_tokens": 400, "temperature": 0}, r"\{.*"),
    ],
)
def test_an_answer_is_guided_by_what_was_asked_for(host: RunningHost, body: dict[str, Any], pattern: str) -> None:
    answer = host.chat(MODEL, "Say something.", **body).json()
    assert re.fullmatch(pattern, answer["choices"][0]["message"]["content"], re.DOTALL)


def test_grammars_of_all_kinds_compile_and_what_they_guide_fits(host: RunningHost) -> None:
    assert grammar_of(json.dumps(ALL_KINDS))
    form = {"type": "json_schema", "json_schema": {"name": "all", "schema": ALL_KINDS}}
    for seed in range(3):
        answer = host.chat(MODEL, "Say something.", response_format=form, max_tokens=300, seed=seed, temperature=1.5)
        assert answer.status_code == 200, answer.text
        choice = answer.json()["choices"][0]
        if choice["finish_reason"] == "stop":
            assert isinstance(json.loads(choice["message"]["content"]), dict)


def with_template(registry: Path, template: str) -> Path:
    """A registry with the small model under another chat template."""
    shutil.copytree(real_model_cache() / "registry" / MODEL, registry / MODEL)
    tokenizer, metadata = registry / MODEL / "openvino_tokenizer.xml", registry / MODEL / "illama.json"
    text = tokenizer.read_text(encoding="utf-8")
    value = escape(template).replace("\n", "&#10;")
    changed = re.sub('<chat_template value="[^"]*"', lambda _: f'<chat_template value="{value}"', text)
    assert changed != text
    tokenizer.write_text(changed, encoding="utf-8")
    entry = json.loads(metadata.read_text())
    entry["files"][tokenizer.name] = tokenizer.stat().st_size
    metadata.write_text(json.dumps(entry))
    return registry


def test_a_strict_call_that_the_model_chooses_to_make_fits_whatever_it_has_seen_before(tmp_path: Path) -> None:
    # The calls that it has seen, and goes on to write, have other arguments than the schema allows.
    talk: list[dict[str, Any]] = []
    for room in ("hall", "kitchen", "hall"):
        call = {
            "id": room,
            "type": "function",
            "function": {"name": "set_light", "arguments": f'{{"where": "{room}"}}'},
        }
        talk += [{"role": "user", "content": f"Light the {room}."}, {"role": "assistant", "tool_calls": [call]}]
    talk.append({"role": "user", "content": "Light the kitchen."})
    registry = with_template(tmp_path / "registry", HERMES)
    with running_host(tmp_path, ILLAMA_ENGINE="openvino", ILLAMA_REGISTRY_DIR=str(registry)) as host:
        made = {}
        for strict in (False, True):
            tool = {"type": "function", "function": {**TOOL["function"], "strict": strict}}
            body = {"model": MODEL, "messages": talk, "tools": [tool], "temperature": 0, "max_tokens": 120}
            answer = host.http.post("/v1/chat/completions", json=body).json()
            assert answer["choices"][0]["finish_reason"] == "tool_calls", answer
            made[strict] = answer["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]
        assert misfit(json.loads(made[False]), LIGHT)
        assert misfit(json.loads(made[True]), LIGHT) == ""
        with host.http.stream("POST", "/v1/chat/completions", json={**body, "stream": True}) as response:
            deltas = [frame["choices"][0]["delta"] for frame in events(response)]
        streamed = [part["function"]["arguments"] for delta in deltas for part in delta.get("tool_calls") or ()]
        assert len(streamed) > 2
        assert misfit(json.loads("".join(streamed)), LIGHT) == ""


def test_several_answers_of_one_seed_differ(host: RunningHost) -> None:
    # That they come again is another test's, of one answer: in company the numbers differ slightly.
    body = {"n": 3, "seed": 5, "temperature": 1.0, "max_tokens": 16}
    choices = host.chat(MODEL, "Tell a story.", **body).json()["choices"]
    assert len({choice["message"]["content"] for choice in choices}) == 3


def test_a_broken_grammar_is_the_requests_fault_alone(host: RunningHost) -> None:
    refused = host.chat(MODEL, "x", grammar="root ::= (")
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "grammar"
    assert host.chat(MODEL, "x", max_tokens=2).status_code == 200


def test_special_tokens_stay_in_the_text_where_a_format_needs_them_but_not_those_that_end_it() -> None:
    genai = pytest.importorskip("openvino_genai")
    from illama.engine.genai import Prompts

    tokenizer = genai.Tokenizer(str(real_model_cache() / "registry" / MODEL))
    ids = [
        int(i)
        for i in tokenizer.encode("<|im_start|>Grüße 世界 😀<|im_end|>", add_special_tokens=False).input_ids.data[0]
    ]
    prompts = Prompts(tokenizer, 64, {2})
    assert prompts.decode([ids]) == ["Grüße 世界 😀"]
    assert prompts.decode([ids], special=True) == ["<|im_start|>Grüße 世界 😀"]
    # As a stream decodes them: rows of any length at once.
    rows = [ids[:3], ids, [], [2], ids[:1]]
    alone = [text for row in rows for text in prompts.decode([row], special=True)]
    assert prompts.decode(rows, special=True) == alone
    assert alone[1:] == ["<|im_start|>Grüße 世界 😀", "", "", "<|im_start|>"]
