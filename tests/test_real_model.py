"""The real small model through a real host: true answers, the tokens of GenAI's bare loop, faults that cost little."""

from __future__ import annotations

import concurrent.futures
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest
from support_host import RunningHost, events, eventually, running_host, text_of
from support_models import real_model_cache

pytestmark = pytest.mark.slow

MODEL = "SmolLM2-135M-Instruct"
QUESTIONS = [
    "What is the capital of France?",
    "What is the capital of Italy?",
    "Write one sentence about the sea.",
    "Name three colours.",
    "What is water made of?",
    "Tell me a story about a dragon.",
    "Who wrote Hamlet?",
    "Explain photosynthesis to a child.",
    "What is the opposite of hot?",
    "Write a Python function that adds two numbers.",
    "Translate 'good morning' to French.",
    "Give me a recipe for pancakes.",
    "Why is the sky blue?",
    "List the days of the week.",
    "Was ist die Hauptstadt von Deutschland?",
    "¿Cuál es la capital de España?",
    "写一个关于猫的句子。",
    "Use three emoji 😀 in a greeting.",
    "What comes after 1, 2, 3, 4?",
    "Describe winter in two lines.",
]
TOKENS = 48
# What the host is compared with: GenAI alone, in a process of its own, one request at a time.
BARE_LOOP = """
import json, sys
import openvino_genai as genai
folder, tokens, questions = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
scheduler = genai.SchedulerConfig()
scheduler.max_num_batched_tokens, scheduler.enable_prefix_caching, scheduler.num_kv_blocks = 256, True, 1024
pipe = genai.ContinuousBatchingPipeline(folder, scheduler, "CPU")
tokenizer = pipe.get_tokenizer()
answers = []
for number, question in enumerate(questions):
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": question}], True)
    handle = pipe.add_request(number, prompt, genai.GenerationConfig(max_new_tokens=tokens))
    while pipe.has_non_finished_requests():
        pipe.step()
    ids = handle.read_all()[0].generated_ids
    answers.append([tokenizer.decode(ids), len(ids)])
print(json.dumps(answers))
"""


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


def ask(host: RunningHost, question: str, **more: Any) -> tuple[str, int]:
    answer = host.chat(MODEL, question, temperature=0, **more).json()
    return answer["choices"][0]["message"]["content"], answer["usage"]["completion_tokens"]


def test_greedy_text_is_that_of_genais_bare_loop_whole_and_streamed(host: RunningHost) -> None:
    folder = real_model_cache() / "registry" / MODEL
    command = [sys.executable, "-c", BARE_LOOP, str(folder), str(TOKENS), json.dumps(QUESTIONS)]
    bare = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert "Paris" in bare[0][0]
    for question, (text, tokens) in zip(QUESTIONS, bare, strict=True):
        assert ask(host, question, max_tokens=TOKENS) == (text, tokens)
        with host.stream(MODEL, question, temperature=0, max_tokens=TOKENS) as response:
            frames = list(events(response))
        assert text_of(frames) == text
        assert frames[-1]["timings"]["predicted_n"] == tokens


def test_a_seed_makes_sampled_text_repeatable(host: RunningHost) -> None:
    def sample(seed: int) -> str:
        answer = host.chat(MODEL, "Write a poem about rain.", temperature=1.0, seed=seed, max_tokens=40).json()
        text: str = answer["choices"][0]["message"]["content"]
        return text

    first = sample(1)
    assert [sample(1) for _ in range(3)] == [first] * 3
    assert sample(2) != first


def test_the_openai_package_gets_whole_and_streamed_answers(client: openai.OpenAI) -> None:
    question = [{"role": "user", "content": QUESTIONS[0]}]
    whole = client.chat.completions.create(model="smollm2", messages=question, temperature=0)
    assert whole.choices[0].message.content == "The capital of France is Paris."
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    options = {"include_usage": True}
    stream = client.chat.completions.create(
        model=MODEL, messages=question, temperature=0, stream=True, stream_options=options
    )
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage or chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve("HuggingFaceTB/SmolLM2-135M-Instruct").id == MODEL


def test_the_openai_package_raises_what_it_should(host: RunningHost, client: openai.OpenAI) -> None:
    question = [{"role": "user", "content": "hi"}]
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="nobody", messages=question)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(model=MODEL, messages=question, temperature=9)
    assert bad.value.param == "temperature"
    stranger = openai.OpenAI(base_url=f"{host.url}/v1", api_key="wrong", max_retries=0)
    with stranger, pytest.raises(openai.AuthenticationError) as unknown:
        stranger.chat.completions.create(model=MODEL, messages=question)
    assert unknown.value.code == "invalid_api_key"
    with pytest.raises(openai.BadRequestError) as long:
        client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "word " * 20_000}], stream=True
        )
    assert long.value.code == "context_length_exceeded"


def test_structured_output_is_json_that_fits_the_schema(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 20},
            "population": {"type": "integer", "minimum": 0, "maximum": 99_999_999},
        },
        "required": ["city", "population"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "city", "schema": schema, "strict": True}}
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Describe Paris as JSON."}],
        temperature=0,
        max_tokens=200,
        response_format=wanted,
    )
    found = json.loads(answer.choices[0].message.content)
    assert found.keys() == {"city", "population"}
    assert isinstance(found["population"], int)


def test_a_schema_that_cannot_be_compiled_is_a_400_and_breaks_nobodys_stream(host: RunningHost) -> None:
    with host.stream(MODEL, "Tell me a long story.", temperature=0, max_tokens=150, ignore_eos=True) as response:
        frames = events(response)
        next(frames)
        pid = host.loaded()["pid"]
        for schema in ({"type": "objecty"}, {"$ref": "#/nowhere"}, {"type": "integer", "minimum": 5, "maximum": 1}):
            wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
            refused = host.chat(MODEL, "hi", response_format=wanted)
            assert refused.status_code == 400
            assert refused.json()["error"]["param"] == "response_format"
        assert list(frames)[-1]["timings"]["predicted_n"] == 150
    assert host.loaded()["pid"] == pid


def test_offered_tools_do_not_break_a_model_that_knows_none(client: openai.OpenAI) -> None:
    function = {"name": "weather", "description": "x", "parameters": {"type": "object", "properties": {}}}
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": QUESTIONS[0]}],
        tools=[{"type": "function", "function": function}],
        tool_choice="auto",
        temperature=0,
    )
    assert "Paris" in answer.choices[0].message.content


def test_logprobs_are_those_of_the_chosen_tokens(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": QUESTIONS[0]}], temperature=0, logprobs=True
    )
    content = answer.choices[0].logprobs.content
    assert "".join(item.token for item in content) == answer.choices[0].message.content
    assert all(item.logprob <= 0 for item in content)
    assert min(item.logprob for item in content) < -0.001


def test_eight_streams_at_once_carry_their_own_marker_and_no_other(host: RunningHost) -> None:
    markers = ["banana", "piano", "winter", "dragon", "castle", "pepper", "rocket", "violin"]

    def one(marker: str) -> str:
        with host.stream(MODEL, f"Write one sentence about a {marker}.", temperature=0, max_tokens=60) as response:
            return text_of(list(events(response))).lower()

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(one, markers))
    assert [[marker for marker in markers if marker in text] for text in texts] == [[marker] for marker in markers]


def test_a_prefix_that_was_seen_is_told_as_cached(host: RunningHost) -> None:
    long = "The quick brown fox jumps over the lazy dog. " * 80
    first = host.chat(MODEL, long + "One?", max_tokens=4).json()["timings"]
    second = host.chat(MODEL, long + "Two?", max_tokens=4).json()["timings"]
    assert first["cached_n"] < 64
    assert second["cached_n"] >= first["prompt_n"] - 64
    assert second["prompt_ms"] < first["prompt_ms"] / 2


@pytest.mark.parametrize("where", ["prompt", "answer"])
def test_a_client_that_leaves_frees_the_device_within_a_step(host: RunningHost, where: str) -> None:
    # A prompt of 6,000 tokens that nobody has seen takes many seconds to read here.
    content = f"{time.time_ns()} " + "number " * 6000 if where == "prompt" else "Count to a thousand."
    with (
        concurrent.futures.ThreadPoolExecutor() as pool,
        host.stream(MODEL, content, header_wait=0, ignore_eos=True) as response,
    ):
        eventually(lambda: host.ps() and host.loaded()["running"] == 1, "it runs")
        if where == "answer":
            frames = events(response)  # held: a reader that is let go of closes the connection
            next(frame for frame in frames if text_of([frame]))
        # Long enough to be seen at work: its answer alone can be over between two looks.
        other = pool.submit(ask, host, QUESTIONS[0], ignore_eos=True, max_tokens=100)
        eventually(lambda: host.loaded()["running"] == 2, "both run")
        left = time.monotonic()
        response.close()
        eventually(lambda: host.loaded()["running"] < 2, "its place is free")
        freed = time.monotonic() - left
        assert "Paris" in other.result()[0]
        eventually(lambda: host.loaded()["running"] == 0, "the device is free")
    # Reading the whole prompt takes 5 s and more on any machine that this runs on; a step takes a fraction of one.
    assert freed < 3


def test_a_killed_engine_ends_its_stream_with_an_error_and_the_next_answers(host: RunningHost) -> None:
    with host.stream(MODEL, "Tell me a long story.", ignore_eos=True) as response:
        frames = events(response)
        next(frames)
        os.kill(host.loaded()["pid"], signal.SIGKILL)
        assert list(frames)[-1]["error"]["code"] == "engine_died"
    assert "Paris" in ask(host, QUESTIONS[0])[0]


def test_unloading_ends_the_process_and_gives_its_memory_back(host: RunningHost) -> None:
    ask(host, "hi", max_tokens=2)
    engine = psutil.Process(host.loaded()["pid"])
    assert engine.memory_info().rss > 100 * 2**20
    host.http.post("/api/generate", json={"model": MODEL, "keep_alive": 0})
    assert not engine.is_running()
    children = psutil.Process(host.process.pid).children(recursive=True)
    assert children == []


def test_a_model_whose_weights_are_cut_says_so(tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    subprocess.run(["cp", "-r", str(real_model_cache() / "registry"), str(registry)], check=True)
    weights = registry / MODEL / "openvino_model.bin"
    os.truncate(weights, weights.stat().st_size // 2)
    with running_host(tmp_path, ILLAMA_ENGINE="openvino") as host:
        refused = host.chat(MODEL, "hi")
    assert refused.status_code == 500
    assert "openvino_model.bin" in refused.json()["error"]["message"]


def test_a_model_may_run_on_the_stateful_pipeline_one_request_at_a_time(tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    subprocess.run(["cp", "-r", str(real_model_cache() / "registry"), str(registry)], check=True)
    (registry / "index.json").unlink()
    path = registry / MODEL / "illama.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "options": {"pipeline": "stateful"}}))
    with running_host(tmp_path, ILLAMA_ENGINE="openvino") as host, concurrent.futures.ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda question: ask(host, question, max_tokens=20)[0], QUESTIONS[:3]))
        assert host.loaded()["pipeline"] == "stateful"
        with host.stream(MODEL, "Tell me a long story.", ignore_eos=True) as response:
            next(frame for frame in events(response) if text_of([frame]))
        eventually(lambda: host.loaded()["running"] == 0, "the device is free")
        refused = host.chat(MODEL, "hi", logprobs=True)
    assert "Paris" in answers[0]
    assert "Rome" in answers[1]
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "logprobs")


def test_a_device_that_is_not_there_is_an_error_that_lists_those_that_are(tmp_path: Path) -> None:
    registry = str(real_model_cache() / "registry")
    with running_host(tmp_path, ILLAMA_ENGINE="openvino", ILLAMA_REGISTRY_DIR=registry, ILLAMA_DEVICE="GPU.7") as host:
        refused: httpx.Response = host.chat(MODEL, "hi")
    assert refused.status_code == 400
    assert "GPU.7 is not there" in refused.json()["error"]["message"]
    assert "CPU" in refused.json()["error"]["message"]
