"""What the server counts, in a registry of its own per app; vLLM's metrics stand beside it on /metrics.

Every label is bounded: route templates, status classes, directions; never a model or a tenant.
The rows about jobs are read at scrape time: server/metrics_jobs.py.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    Summary,
    generate_latest,
)
from prometheus_client.registry import Collector

from server.usage import tokens

# vLLM's own boundaries (vllm/v1/metrics/buckets.py, 0.32), so that both can be drawn in one graph.
TTFT_BUCKETS = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75,
    1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
)  # fmt: skip
ITL_BUCKETS = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75,
    1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)  # fmt: skip
# Its labels are lists of adapter names: one series for each combination ever seen (vllm-0.32.md B9).
DROPPED = ("vllm:lora_requests_info",)


class Waits:
    """Places of one kind, and who waits for one (server/places.py)."""

    def __init__(self, metrics: Metrics, kind: str) -> None:
        self.held = metrics.places_held.labels(kind)
        self.waiting = metrics.waiting.labels(kind)
        self.seconds = metrics.wait_seconds.labels(kind)


class Observation:
    """The clock and counters of one inference request."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics, self._last, self._first = metrics, time.perf_counter(), True

    def frame(self) -> None:
        """An item of the answer leaves: the first gives the TTFT, the others the inter-token latency."""
        now = time.perf_counter()
        histogram = self._metrics.first_token if self._first else self._metrics.inter_token
        histogram.observe(now - self._last)
        self._first, self._last, self._metrics.last_item = False, now, now

    def usage(self, item: bytes) -> None:
        """Count the tokens that an item of the answer reports."""
        prompt, completion = tokens(item)
        self._metrics.tokens_in.inc(prompt)
        self._metrics.tokens_out.inc(completion)


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.last_item = time.perf_counter()
        own = self.registry
        self.requests = Counter(
            "chorus_requests", "HTTP requests answered.", ("route", "method", "status"), registry=own
        )
        self.in_flight = Gauge(
            "chorus_requests_in_flight", "Inference requests not at their end.", registry=own
        )
        self.first_token = Histogram(
            "chorus_time_to_first_token_seconds",
            "From the parsed request to its first item; for an answer in one piece, to all of it.",
            buckets=TTFT_BUCKETS,
            registry=own,
        )
        self.inter_token = Histogram(
            "chorus_inter_token_latency_seconds",
            "Between frames of a stream.",
            buckets=ITL_BUCKETS,
            registry=own,
        )
        counted = Counter("chorus_tokens", "Tokens of finished answers.", ("direction",), registry=own)
        self.tokens_in, self.tokens_out = counted.labels("in"), counted.labels("out")
        loads = Counter("chorus_adapter_loads", "Adapters loaded into the engine.", ("result",), registry=own)
        self.loads = {result: loads.labels(result) for result in ("ok", "failed")}
        self.quarantined = Counter(
            "chorus_versions_quarantined", "Loads refused as files were missing or changed.", registry=own
        )
        self.canary_fallbacks = Counter(
            "chorus_canary_fallbacks",
            "Requests of a candidate's share answered by the live version.",
            registry=own,
        )
        self.load_seconds = Histogram("chorus_adapter_load_seconds", "Time of one load.", registry=own)
        verdicts = Counter("chorus_versions_proved", "Proofs of versions.", ("result",), registry=own)
        self.proved = {result: verdicts.labels(result) for result in ("proved", "refuted", "failed")}
        self.proof_seconds = Histogram(
            "chorus_proof_seconds", "Time of one proof, with the load where it was cold.", registry=own
        )
        self.resident = Gauge("chorus_resident_versions", "Versions held by the engine.", registry=own)
        kinds = ("place",)  # a slot of the engine's step, or its memory
        self.places_held = Gauge(
            "chorus_places_held", "Versions that requests hold a place for.", kinds, registry=own
        )
        self.waiting = Gauge("chorus_requests_waiting", "Requests without a place.", kinds, registry=own)
        self.wait_seconds = Histogram(
            "chorus_place_wait_seconds",
            "From a request to its place.",
            kinds,
            buckets=TTFT_BUCKETS,
            registry=own,
        )
        mirrored = Counter("chorus_shadow_requests", "Requests mirrored.", ("result",), registry=own)
        self.mirrored = {result: mirrored.labels(result) for result in ("ok", "failed", "skipped")}
        self.shadow_seconds = Histogram("chorus_shadow_seconds", "Time of a shadow's answer.", registry=own)
        self.shadow_agreement = Summary(
            "chorus_shadow_agreement", "From 0 to 1, of a shadow's answer with the real one.", registry=own
        )
        spent = Counter("chorus_shadow_tokens", "Tokens of shadows.", ("direction",), registry=own)
        self.shadow_in, self.shadow_out = spent.labels("in"), spent.labels("out")
        self.engine_up = Gauge("chorus_engine_up", "1 when chat works.", registry=own)
        failures = Counter("chorus_engine_failures", "Ends of the engine.", ("kind",), registry=own)
        self.engine_failures = {kind: failures.labels(kind) for kind in ("died", "hung")}
        build = Gauge("chorus_build_info", "Always 1; the labels say what runs.", ("version",), registry=own)
        build.labels(version("chorus")).set(1)

    @contextmanager
    def observe(self) -> Iterator[Observation]:
        """Around one inference request, to the end of its stream."""
        self.in_flight.inc()
        try:
            yield Observation(self)
        finally:
            self.in_flight.dec()

    def mirror(self, seconds: float, counted: tuple[int, int], agreement: float) -> None:
        """A shadow has answered, and was compared."""
        self.mirrored["ok"].inc()
        self.shadow_seconds.observe(seconds)
        self.shadow_in.inc(counted[0])
        self.shadow_out.inc(counted[1])
        self.shadow_agreement.observe(agreement)

    @contextmanager
    def load(self) -> Iterator[None]:
        """Around one load of an adapter."""
        began, result = time.perf_counter(), "failed"
        try:
            yield
            result = "ok"
        finally:
            self.loads[result].inc()
            self.load_seconds.observe(time.perf_counter() - began)

    def idle_seconds(self) -> float:
        """Since anything last came out of the engine."""
        return time.perf_counter() - self.last_item

    def expose(self) -> bytes:
        """The text of /metrics: ours, then the process's and vLLM's. Reads rows: call it in a thread."""
        return generate_latest(_Both(self.registry))


class _Both(Collector):
    def __init__(self, own: CollectorRegistry) -> None:
        self._own = own

    def collect(self) -> Iterator[Metric]:
        yield from self._own.collect()
        yield from (metric for metric in REGISTRY.collect() if metric.name not in DROPPED)
