from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tornado import httpserver, netutil, web

from illama.errors import (
    CancelledError,
    ContextLengthError,
    EngineDiedError,
    HostBusyError,
    LoadError,
    ModelNotFoundError,
)
from illama.host import metrics

TIMINGS = {
    "prompt_n": 30,
    "cached_n": 20,
    "predicted_n": 11,
    "prompt_ms": 90.0,
    "predicted_ms": 500.0,
    "ttft_ms": 150.0,
}
SHORT = {**TIMINGS, "predicted_n": 1, "predicted_ms": 0.0}
EMPTY = {**TIMINGS, "predicted_n": 0}


def loaded(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "device": "GPU", "running": 2, "queued": 3, **more}


def samples(made: metrics.Metrics, now: Iterable[dict[str, Any]] = ()) -> dict[str, float]:
    """Every sample of the page as `name{label="value",…}`, as Prometheus' own parser reads it."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(made.render(now).decode()):
        for sample in family.samples:
            labels = ",".join(f'{key}="{value}"' for key, value in sorted(sample.labels.items()))
            key = f"{sample.name}{{{labels}}}" if labels else sample.name
            assert key not in found, "a series is there once"
            found[key] = sample.value
    return found


@pytest.fixture
def made() -> metrics.Metrics:
    return metrics.Metrics(lambda name: name.startswith("Model"))


def test_a_request_counts_with_its_tokens_and_times_in_seconds(made):
    made.request_finished("openai", "Model", TIMINGS)
    found = samples(made)
    assert found['illama_requests_total{dialect="openai",model="Model",outcome="success"}'] == 1
    assert found['illama_prompt_tokens_total{model="Model"}'] == 30
    assert found['illama_prompt_cached_tokens_total{model="Model"}'] == 20
    assert found['illama_generated_tokens_total{model="Model"}'] == 11
    assert found['illama_time_to_first_token_seconds_sum{model="Model"}'] == pytest.approx(0.15)
    assert found['illama_time_per_output_token_seconds_sum{model="Model"}'] == pytest.approx(0.05)
    assert found['illama_time_per_output_token_seconds_bucket{le="0.06",model="Model"}'] == 1
    assert found['illama_time_per_output_token_seconds_bucket{le="0.04",model="Model"}'] == 0


def test_an_answer_of_one_token_has_no_time_per_further_token_and_an_empty_one_no_first(made):
    made.request_finished("ollama", "Model", SHORT)
    made.request_finished("ollama", "Model", EMPTY)
    found = samples(made)
    assert found['illama_time_to_first_token_seconds_count{model="Model"}'] == 1
    assert 'illama_time_per_output_token_seconds_count{model="Model"}' not in found


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (None, "success"),
        (CancelledError("x"), "cancelled"),
        (HostBusyError("x"), "overloaded"),
        (LoadError("x"), "load_failed"),
        (EngineDiedError("x"), "engine_died"),
        (ContextLengthError.of(1, 2), "invalid"),
        (ModelNotFoundError("x"), "invalid"),
        (ValueError("a bug"), "error"),
        (asyncio.CancelledError(), "error"),
    ],
)
def test_an_outcome_is_one_of_few_words(made, error, word):
    made.request_finished("openai", "Model", error=error)
    assert samples(made)[f'illama_requests_total{{dialect="openai",model="Model",outcome="{word}"}}'] == 1


def test_names_that_are_not_in_the_registry_are_no_labels(made):
    for name in ("made up", 'x"} 1\nevil 1', None):
        made.request_finished("openai", name, error=ModelNotFoundError("x"))
    found = samples(made)
    assert found['illama_requests_total{dialect="openai",model="other",outcome="invalid"}'] == 3
    assert not [key for key in found if "made up" in key or "evil" in key]


def test_there_are_never_more_models_than_a_bound(made):
    for number in range(metrics.MODELS + 5):
        made.request_finished("openai", f"Model{number}")
    found = [key for key in samples(made) if key.startswith("illama_requests_total")]
    assert len(found) == metrics.MODELS + 1
    assert samples(made)['illama_requests_total{dialect="openai",model="other",outcome="success"}'] == 5


def test_loads_switches_evictions_waits_and_deaths_are_counted(made):
    made.waited("GPU", 0.3)
    made.loaded("Model", "GPU", 7.5)
    made.loaded("Model2", "GPU", 1.5, replaced=True)
    made.load_failed("Model", LoadError("x"))
    made.evicted("idle")
    made.engine_died()
    found = samples(made)
    assert found['illama_queue_wait_seconds_sum{device="GPU"}'] == pytest.approx(0.3)
    assert found['illama_model_loads_total{model="Model",outcome="success"}'] == 1
    assert found['illama_model_loads_total{model="Model",outcome="load_failed"}'] == 1
    assert found['illama_model_load_seconds_sum{device="GPU"}'] == 9
    assert found['illama_model_switches_total{device="GPU"}'] == 1
    assert found['illama_model_evictions_total{reason="idle"}'] == 1
    assert found['illama_model_evictions_total{reason="lru"}'] == 0
    assert found["illama_engine_deaths_total"] == 1


def test_what_is_now_is_told_at_the_moment_of_reading_and_leaves_nothing_behind(made):
    key = '{device="GPU",kind="pss",model="Model"}'
    found = samples(made, [loaded("Model", memory={"pss": 12345, "device": None})])
    assert found['illama_queue_depth{device="GPU"}'] == 3
    assert found['illama_requests_running{device="GPU",model="Model"}'] == 2
    assert found[f"illama_model_memory_bytes{key}"] == 12345
    assert 'illama_model_memory_bytes{device="GPU",kind="device",model="Model"}' not in found
    assert not [key for key in samples(made) if "GPU" in key]


def test_models_that_share_a_device_or_a_label_add_up(made):
    found = samples(made, [loaded("Model"), loaded("gone", memory={"pss": 1}), loaded("gone too", memory={"pss": 2})])
    assert found['illama_queue_depth{device="GPU"}'] == 9
    assert found['illama_requests_running{device="GPU",model="other"}'] == 4
    assert found['illama_model_memory_bytes{device="GPU",kind="pss",model="other"}'] == 3


def test_two_hosts_in_one_process_share_nothing(made):
    made.engine_died()
    assert samples(metrics.Metrics(lambda _: True))["illama_engine_deaths_total"] == 0


def test_names_and_units_follow_the_conventions(made):
    made.request_finished("openai", "Model", TIMINGS)
    made.waited("GPU", 1)
    made.loaded("Model", "GPU", 1)
    page = made.render([loaded("Model", memory={"pss": 1})]).decode()
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", page, re.MULTILINE))
    assert all(re.match(r"(illama|process)_[a-z_]+$", name) for name in kinds)
    assert all(name.endswith("_total") for name, kind in kinds.items() if kind == "counter")
    assert all(name.endswith("_seconds") for name, kind in kinds.items() if kind == "histogram")
    assert not any(name.endswith("_total") for name, kind in kinds.items() if kind != "counter")
    assert not re.search(r"_(ms|milliseconds|mb|gib|percent)\b", page)
    assert "_created" not in page
    assert kinds["process_cpu_seconds_total"] == "counter"


@asynccontextmanager
async def served(made: metrics.Metrics) -> AsyncIterator[str]:
    """The handler behind a socket, with as much of a host as it needs."""
    nothing = SimpleNamespace(
        key="right",
        inference_keys=SimpleNamespace(holder=lambda _: None),
        bound_to_loopback=True,
        settings=SimpleNamespace(origins=(), allowed_hosts=()),
        begins=lambda _: None,
        ends=lambda _: None,
    )
    route = (r"/metrics", metrics.MetricsHandler, {"host": nothing, "page": lambda: made.render([])})
    sockets = netutil.bind_sockets(0, "127.0.0.1")
    server = httpserver.HTTPServer(web.Application([route], log_function=lambda _: None))
    server.add_sockets(sockets)
    try:
        yield f"http://127.0.0.1:{sockets[0].getsockname()[1]}/metrics"
    finally:
        server.stop()
        await server.close_all_connections()


@pytest.mark.anyio
async def test_the_page_is_in_prometheus_own_format_and_asks_for_the_key(made):
    made.engine_died()
    async with served(made) as url, httpx.AsyncClient() as http:
        refused = await http.get(url)
        page = await http.get(url, headers={"Authorization": "Bearer right"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
    assert page.status_code == 200
    assert page.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "\nillama_engine_deaths_total 1.0\n" in page.text
