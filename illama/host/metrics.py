"""`GET /metrics`: what the host did and does, in Prometheus' text format.

Knows: names, units and labels of the figures, and how they are written. Does not know: who measures, or when.

Counters and histograms are told as things happen; what is now (queues, running requests, memory) is handed over when
somebody reads, so that a model that was unloaded leaves no stale figure. No label comes from a request: models are
those of the registry, and beyond `MODELS` of them they share the label "other".
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

import illama
from illama.errors import CancelledError, EngineDiedError, HostBusyError, IllamaError, LoadError
from illama.host import base
from illama.host.operations import Operation

# Several models may share a label: a label's value is the sum.
Sums = defaultdict[tuple[str, ...], float]

Dialect = Literal["openai", "ollama"]
Eviction = Literal["idle", "lru", "switch", "stop"]

# The library's own constant is newer than the oldest release of it that will do.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Each model has about seventy lines here.
MODELS = 32
OTHER = "other"

# Seconds. From an answer of a small model that is loaded, to a long prompt behind a load.
_FIRST_TOKEN = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 180.0)
_PER_TOKEN = (0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12, 0.2, 0.5, 1.0)
_WAIT = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_LOAD = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0)


class Metrics:
    """All figures of one host. `known` says whether a name is in the registry.

    Methods are called from the event loop's thread; each takes microseconds.
    """

    def __init__(self, known: Callable[[str], bool]) -> None:
        self._known = known
        self._models: set[str] = set()
        self._now = _Now(self._model)
        registry = self._registry = CollectorRegistry()
        registry.register(self._now)
        # The host's own memory, CPU time and descriptors, under the names that Prometheus has for them everywhere.
        ProcessCollector(registry=registry)

        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(f"illama_{name}", what, labels, registry=registry)

        def histogram(name: str, what: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"illama_{name}", what, labels, registry=registry, buckets=buckets)

        self._requests = counter("requests", "Requests that ended.", "dialect", "model", "outcome")
        self._prompt = counter("prompt_tokens", "Tokens of prompts, those from the cache too.", "model")
        self._cached = counter("prompt_cached_tokens", "Tokens of prompts that were in the prefix cache.", "model")
        self._generated = counter("generated_tokens", "Tokens of answers.", "model")
        self._ttft = histogram(
            "time_to_first_token_seconds", "From a request's arrival to its first token.", _FIRST_TOKEN, "model"
        )
        self._tpot = histogram(
            "time_per_output_token_seconds", "Mean time of an answer's tokens behind the first.", _PER_TOKEN, "model"
        )
        self._waits = histogram("queue_wait_seconds", "Waits in the queue, without loading.", _WAIT, "device")
        self._loads = counter("model_loads", "Loads that ended.", "model", "outcome")
        self._load_seconds = histogram("model_load_seconds", "Loads that succeeded.", _LOAD, "device")
        self._switches = counter("model_switches", "Loads that took another model's place.", "device")
        self._evictions = counter("model_evictions", "Models that were unloaded.", "reason")
        self._deaths = counter("engine_deaths", "Engines that ended by themselves; the next request starts one.")
        # Looked up by each request's end: the library takes a lock for it, and makes strings of the labels.
        self._request = functools.cache(self._requests.labels)
        self._tokens = functools.cache(
            lambda model: (self._prompt.labels(model), self._cached.labels(model), self._generated.labels(model))
        )
        for reason in get_args(Eviction):
            self._evictions.labels(reason)  # there from the start, so that the first one is seen as an increase

    def request_finished(
        self,
        dialect: Dialect,
        model: str | None,
        timings: Mapping[str, Any] | None = None,
        error: BaseException | None = None,
    ) -> None:
        """A request has ended, by an answer or by an error. `timings` are those of its answer, if it got that far."""
        name = self._model(model)
        self._request(dialect, name, outcome(error)).inc()
        if timings is None:
            return
        prompt, cached, generated = self._tokens(name)
        prompt.inc(timings["prompt_n"])
        cached.inc(timings["cached_n"])
        generated.inc(timings["predicted_n"])
        if timings["predicted_n"] > 0:
            self._ttft.labels(name).observe(timings["ttft_ms"] / 1000)
        if timings["predicted_n"] > 1:
            self._tpot.labels(name).observe(timings["predicted_ms"] / 1000 / (timings["predicted_n"] - 1))

    def waited(self, device: str, seconds: float) -> None:
        """A request has left the queue: let in, refused or gone."""
        self._waits.labels(device).observe(seconds)

    def loaded(self, model: str, device: str, seconds: float, *, replaced: bool = False) -> None:
        """A model was loaded; `replaced`: another one had to go for it."""
        self._loads.labels(self._model(model), outcome(None)).inc()
        self._load_seconds.labels(device).observe(seconds)
        if replaced:
            self._switches.labels(device).inc()

    def load_failed(self, model: str, error: BaseException) -> None:
        """A model could not be loaded, or nobody waited for it any more."""
        self._loads.labels(self._model(model), outcome(error)).inc()

    def evicted(self, reason: Eviction) -> None:
        """A model was unloaded, and why."""
        self._evictions.labels(reason).inc()

    def engine_died(self) -> None:
        """An engine that was ready ended by itself."""
        self._deaths.inc()

    def render(self, loaded: Iterable[Mapping[str, Any]]) -> bytes:
        """The page. `loaded` are the models as `ps` has them: name, device, running, queued, and `memory`.

        `memory` is bytes by kind, such as {"pss": …, "device": …}; it may be missing where nothing is measured.
        """
        self._now.loaded = list(loaded)
        return generate_latest(_WithoutBirths(self._registry))

    def _model(self, name: str | None) -> str:
        if name is None:
            return OTHER
        if name not in self._models:
            if len(self._models) >= MODELS or not self._known(name):
                return OTHER
            self._models.add(name)
        return name


class MetricsHandler(base.Handler):
    """`GET /metrics`: figures for Prometheus. `page` is what makes the page, from memory alone."""

    operations: ClassVar = {"get": Operation(str, plain=True)}

    def initialize(self, host: Any, page: Callable[[], bytes] | None = None) -> None:
        """Take what the route says."""
        super().initialize(host)
        assert page is not None, "the route says who makes the page"
        self._page = page

    async def get(self) -> None:
        """Answer, and reset nobody's idle time."""
        self.set_header("Content-Type", CONTENT_TYPE)
        self.write(self._page())


def outcome(error: BaseException | None) -> str:
    """One word for how a request or a load ended; few, so that they can be a label."""
    if error is None:
        return "success"
    kinds: tuple[tuple[type[BaseException], str], ...] = (
        (CancelledError, "cancelled"),
        (HostBusyError, "overloaded"),
        (LoadError, "load_failed"),
        (EngineDiedError, "engine_died"),
    )
    for kind, word in kinds:
        if isinstance(error, kind):
            return word
    return "invalid" if isinstance(error, IllamaError) and error.status < 500 else "error"


class _Now(Collector):
    """What is now, as `ps` has it at the moment of reading."""

    def __init__(self, label: Callable[[str | None], str]) -> None:
        self.loaded: list[Mapping[str, Any]] = []
        self._label = label

    def collect(self) -> Iterator[Metric]:
        """The gauges."""
        info = InfoMetricFamily("illama_build", "This host.")
        info.add_metric((), {"version": illama.__version__})
        yield info
        queued, running, memory = Sums(float), Sums(float), Sums(float)
        for each in self.loaded:
            device, model = each["device"], self._label(each["name"])
            queued[(device,)] += each["queued"]
            running[device, model] += each["running"]
            for kind, count in (each.get("memory") or {}).items():
                if count is not None:
                    memory[device, model, kind] += count
        yield _gauge("illama_queue_depth", "Requests that wait for a device.", ("device",), queued)
        yield _gauge("illama_requests_running", "Requests that an engine works on.", ("device", "model"), running)
        what = "Measured memory of loaded models."
        yield _gauge("illama_model_memory_bytes", what, ("device", "model", "kind"), memory)


def _gauge(name: str, what: str, labels: tuple[str, ...], values: Sums) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, what, labels=labels)
    for each, value in values.items():
        family.add_metric(each, value)
    return family


class _WithoutBirths(Collector):
    """A registry's families without the times at which series began: in this format noise, and a third of the page."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        """The families."""
        for family in self._registry.collect():
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family
