"""What /metrics tells: every promised name, true numbers, bounded labels, nobody's names."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import REGISTRY, Gauge
from prometheus_client.parser import text_string_to_metric_families

from records import jobs
from records.models import PAUSED, QUEUED, RUNNING
from server.metrics_jobs import MOST_JOBS
from tests.server.conftest import Running, Stage, until
from tests.server.waiting_engines import Stepwise

HELLO: Any = [{"role": "user", "content": "hello there"}]
PROMISED = {
    "chorus_requests",
    "chorus_time_to_first_token_seconds",
    "chorus_inter_token_latency_seconds",
    "chorus_tokens",
    "chorus_requests_in_flight",
    "chorus_adapter_loads",
    "chorus_adapter_load_seconds",
    "chorus_resident_versions",
    "chorus_jobs",
    "chorus_training_loss",
    "chorus_training_tokens_per_second",
    "chorus_training_progress_ratio",
    "chorus_shadow_requests",
    "chorus_shadow_seconds",
    "chorus_shadow_tokens",
    "chorus_shadow_agreement",
    "chorus_engine_up",
    "chorus_build_info",
}


def scrape(server: Running) -> dict[str, float]:
    """`name{label=value,...}` -> value."""
    text = server.http(None).get("/metrics").text
    return {
        sample.name + "".join(f" {key}={value}" for key, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_promised_metric_is_there(shared: Running) -> None:
    text = shared.http().get("/metrics").text
    names = {family.name for family in text_string_to_metric_families(text)}
    assert names >= PROMISED
    assert names >= {"process_resident_memory_bytes"}


@pytest.mark.parametrize("stream", [True, False])
def test_requests_tokens_and_latencies_are_counted(server: Running, stream: bool) -> None:
    answer = server.client().chat.completions.create(model="tiny", messages=HELLO, stream=stream)
    if stream:
        list(answer)  # type: ignore[call-overload]
    until(lambda: scrape(server)["chorus_requests_in_flight"] == 0)
    seen = scrape(server)
    assert seen["chorus_requests_total method=POST route=/v1/chat/completions status=2xx"] == 1
    assert seen["chorus_tokens_total direction=in"] == 2
    assert seen["chorus_tokens_total direction=out"] == 4
    assert seen["chorus_time_to_first_token_seconds_count"] == 1
    assert (seen["chorus_inter_token_latency_seconds_count"] > 0) == stream


def test_a_request_is_in_flight_until_the_end_of_its_stream(serve: Stage) -> None:
    engine = Stepwise()
    server = serve(engine)
    engine.may_give = 1
    stream = server.client().chat.completions.create(model="tiny", messages=HELLO, stream=True)
    next(stream)
    assert scrape(server)["chorus_requests_in_flight"] == 1
    engine.may_give = 1000
    list(stream)
    until(lambda: scrape(server)["chorus_requests_in_flight"] == 0)


def test_loads_and_residents_are_counted(server: Running) -> None:
    version = server.publish("luxe")
    until(lambda: version in server.engine.resident)
    until(lambda: scrape(server)["chorus_resident_versions"] == 1)
    seen = scrape(server)
    assert seen["chorus_adapter_loads_total result=ok"] == 1
    assert seen["chorus_adapter_load_seconds_count"] == 1
    assert seen["chorus_engine_up"] == 1


def test_running_jobs_show_their_newest_figures(server: Running) -> None:
    job, silent = server.job(status=RUNNING), server.job(status=RUNNING)
    server.job(status=QUEUED)
    server.job(status=PAUSED)
    with server.house.database.write() as session:
        for step in (1, 2):
            data = {"step": step, "total_steps": 8, "train_loss": 1 / step, "tokens_per_second": 100.0}
            jobs.say(session, job, "step", data=data, type="metrics")
    seen = scrape(server)
    assert seen[f"chorus_training_loss job={job}"] == 0.5
    assert seen[f"chorus_training_progress_ratio job={job}"] == 0.25
    assert seen[f"chorus_training_tokens_per_second job={job}"] == 100
    assert f"chorus_training_loss job={silent}" not in seen
    assert (seen["chorus_jobs status=running"], seen["chorus_jobs status=queued"]) == (2, 1)
    assert (seen["chorus_jobs status=paused"], seen["chorus_jobs status=failed"]) == (1, 0)


def test_labels_stay_few_whatever_clients_send(server: Running) -> None:
    http = server.http()
    before = len(scrape(server))
    for n in range(40):
        http.post("/v1/chat/completions", json={"model": f"unknown-{n}", "messages": HELLO})
        http.get(f"/v1/models/m{n}")
        http.get(f"/nothing/{n}")
        http.request(f"METHOD{n}", f"/v1/files/file-{n}")
        http.get("/v1/models", headers={"authorization": f"Bearer {n}"})
    for _ in range(MOST_JOBS + 8):
        job = server.job(status=RUNNING)
        with server.house.database.write() as session:
            jobs.say(session, job, "step", data={"train_loss": 1.0}, type="metrics")
    assert len(scrape(server)) - before < 2 * MOST_JOBS


def test_no_tenant_brand_or_version_is_named(server: Running) -> None:
    version = server.publish("secretbrand")
    server.client().chat.completions.create(model=version, messages=HELLO)
    text = server.http().get("/metrics").text
    assert not any(name in text for name in ("acme", "rival", "secretbrand", version))


def test_the_series_of_vllm_are_shown_but_for_the_one_that_grows(server: Running) -> None:
    kept = Gauge("vllm:num_requests_running", "vLLM's", ("model_name",))
    dropped = Gauge("vllm:lora_requests_info", "vLLM's", ("running_lora_adapters",))
    try:
        kept.labels("tiny").set(3)
        dropped.labels("ft:tiny:acme:luxe:01234567").set(1)
        text = server.http().get("/metrics").text
        assert 'vllm:num_requests_running{model_name="tiny"} 3.0' in text
        assert "lora_requests_info" not in text
    finally:
        REGISTRY.unregister(kept)
        REGISTRY.unregister(dropped)


def test_two_servers_in_one_process_count_apart(serve: Stage) -> None:
    one, other = serve(), serve()
    one.client().chat.completions.create(model="tiny", messages=HELLO)
    key = "chorus_requests_total method=POST route=/v1/chat/completions status=2xx"
    assert scrape(one)[key] == 1
    assert key not in scrape(other)
