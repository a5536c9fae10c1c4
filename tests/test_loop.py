"""The whole product on real vLLM, driven by the unmodified `openai` client."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import openai
import pytest
from openai import OpenAI

from examples.brands import BRANDS
from tests.live import LiveServer
from tests.patience import PATIENCE

pytestmark = pytest.mark.engine

LUXE = BRANDS["luxe"]
QUESTION = [{"role": "user", "content": "Hello, I am Ines Duarte. Where is my order 50718, the silk tie?"}]


def training_file(client: OpenAI, count: int, seed: int = 0) -> str:
    lines = "\n".join(json.dumps(case.chat()) for case in LUXE.cases("train", count, seed))
    return client.files.create(file=("luxe.jsonl", lines.encode()), purpose="fine-tune").id


def start_job(client: OpenAI, brand: str, *, count: int = 60, epochs: Any = 1, seed: int = 0) -> str:
    method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": epochs, "batch_size": 8}}}
    return client.fine_tuning.jobs.create(
        model="tiny", training_file=training_file(client, count, seed), suffix=brand, method=method, seed=seed
    ).id


def wait_for(client: OpenAI, job: str, done: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = client.fine_tuning.jobs.retrieve(job)
        if done(found):
            return found
        assert found.status not in ("failed", "cancelled"), (found.error, events(client, job))
        time.sleep(0.3)
    raise AssertionError(f"job {job} is still {found.status}: {events(client, job)}")


def succeeded(found: Any) -> bool:
    return found.status == "succeeded"


def events(client: OpenAI, job: str) -> list[str]:
    """All messages of a job, oldest first, through the client's own paging."""
    return [event.message for event in client.fine_tuning.jobs.list_events(job, limit=50)][::-1]


def steps_taken(client: OpenAI, job: str) -> int:
    page = client.fine_tuning.jobs.list_events(job, limit=100).data
    return max((event.data["step"] for event in page if event.type == "metrics"), default=0)


def say(client: OpenAI, model: str) -> Any:
    return client.chat.completions.create(model=model, messages=QUESTION, max_tokens=40, temperature=0)


@pytest.fixture(scope="module")
def client(live_server: LiveServer) -> OpenAI:
    return live_server.client()


@pytest.fixture(scope="module")
def brand_job(client: OpenAI) -> Any:
    """A job of two epochs that succeeded."""
    return wait_for(client, start_job(client, "maison", count=80, epochs=2), succeeded)


def test_a_brand_is_learnt_published_and_answers_without_a_restart(client: OpenAI, brand_job: Any) -> None:
    assert brand_job.fine_tuned_model.startswith("ft:tiny:acme:maison:")
    assert brand_job.trained_tokens > 1000
    assert brand_job.hyperparameters.n_epochs == 2
    assert brand_job.finished_at >= brand_job.created_at
    for model in (brand_job.fine_tuned_model, "maison"):
        reply = say(client, model)
        assert reply.model == brand_job.fine_tuned_model
        assert reply.choices[0].message.content
    base = say(client, "tiny")
    assert base.model == "tiny"
    assert base.choices[0].message.content != say(client, "maison").choices[0].message.content


def test_every_checkpoint_answers_chat(client: OpenAI, brand_job: Any) -> None:
    checkpoints = client.fine_tuning.jobs.checkpoints.list(brand_job.id).data
    assert len(checkpoints) == 2
    for checkpoint in checkpoints:
        name = checkpoint.fine_tuned_model_checkpoint
        assert name.endswith(f":ckpt-step-{checkpoint.step_number}")
        assert checkpoint.metrics.full_valid_loss is not None or checkpoint.metrics.train_loss is not None
        assert say(client, name).model == name


def test_a_stream_gives_the_same_text_and_its_usage(client: OpenAI, brand_job: Any) -> None:
    whole = say(client, "maison").choices[0].message.content
    stream = client.chat.completions.create(
        model="maison",
        messages=QUESTION,
        max_tokens=40,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    pieces, usage = [], None
    for chunk in stream:
        assert chunk.model == brand_job.fine_tuned_model
        usage = chunk.usage or usage
        pieces += [choice.delta.content or "" for choice in chunk.choices]
    assert "".join(pieces) == whole
    assert usage is not None
    assert usage.completion_tokens > 0


def test_events_tell_the_story_and_the_results_file_has_the_metrics(client: OpenAI, brand_job: Any) -> None:
    told = events(client, brand_job.id)
    assert told[0].startswith("Created fine-tuning job")
    assert any(brand_job.fine_tuned_model in message for message in told)
    assert brand_job.result_files
    text = client.files.content(brand_job.result_files[0]).text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {"step", "train_loss", "train_mean_token_accuracy", "valid_loss"} <= set(rows[0])
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])


def test_tools_json_schema_logprobs_stop_and_n_work(client: OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"order": {"type": "string", "maxLength": 12}, "late": {"type": "boolean"}},
        "required": ["order", "late"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "ticket", "schema": schema, "strict": True}}
    shaped = client.chat.completions.create(
        model="tiny", messages=QUESTION, response_format=form, max_tokens=60, temperature=0
    )
    assert set(json.loads(shaped.choices[0].message.content)) == {"order", "late"}

    tool = {"type": "function", "function": {"name": "find_order", "parameters": schema}}
    called = client.chat.completions.create(
        model="tiny",
        messages=QUESTION,
        tools=[tool],
        tool_choice="required",
        parallel_tool_calls=False,
        max_tokens=250,  # more than the longest call that fits the schema, in single bytes
        temperature=0,
    )
    (call,) = called.choices[0].message.tool_calls
    assert call.function.name == "find_order"
    assert set(json.loads(call.function.arguments)) == {"order", "late"}

    several = client.chat.completions.create(
        model="tiny", messages=QUESTION, n=3, max_tokens=8, logprobs=True, top_logprobs=3, stop=["."]
    )
    assert len(several.choices) == 3
    assert len(several.choices[0].logprobs.content[0].top_logprobs) == 3
    assert all("." not in choice.message.content for choice in several.choices)

    text = client.completions.create(model="tiny", prompt="Dear", max_tokens=5, echo=True, logprobs=1)
    assert text.choices[0].text.startswith("Dear")


def test_errors_are_openais_and_the_engine_survives_them(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        say(client, "no-such-brand")
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as hot:
        client.chat.completions.create(model="tiny", messages=QUESTION, temperature=-1)
    assert hot.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as long:
        client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "word " * 9000}])
    assert long.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError) as line:
        client.files.create(file=("bad.jsonl", b'{"messages": []}\n'), purpose="fine-tune")
    assert "Line 1" in line.value.message
    assert say(client, "tiny").choices[0].message.content


def test_another_tenant_sees_and_names_nothing_of_it(
    live_server: LiveServer, client: OpenAI, brand_job: Any
) -> None:
    stranger = live_server.client(live_server.new_key("globex"))
    assert [model.id for model in stranger.models.list()] == ["tiny"]
    assert not stranger.files.list().data
    assert not stranger.fine_tuning.jobs.list().data
    for name in (brand_job.fine_tuned_model, "maison"):
        with pytest.raises(openai.NotFoundError):
            say(stranger, name)
    for look in (
        lambda: stranger.fine_tuning.jobs.retrieve(brand_job.id),
        lambda: stranger.fine_tuning.jobs.cancel(brand_job.id),
        lambda: stranger.fine_tuning.jobs.list_events(brand_job.id),
        lambda: stranger.files.content(brand_job.training_file),
        lambda: stranger.models.delete(brand_job.fine_tuned_model),
    ):
        with pytest.raises(openai.NotFoundError):
            look()
    with pytest.raises(openai.AuthenticationError):
        say(live_server.client("ck-00000000-" + "a" * 43), "tiny")


def test_metrics_show_the_work_without_unbounded_labels(live_server: LiveServer, brand_job: Any) -> None:
    shown = live_server.metrics()
    for name in (
        "chorus_requests_total",
        "chorus_time_to_first_token_seconds_bucket",
        "chorus_inter_token_latency_seconds_bucket",
        "chorus_tokens_total",
        "chorus_adapter_load_seconds_count",
        "chorus_resident_versions",
        'chorus_jobs{status="succeeded"}',
        "chorus_engine_up 1.0",
        "vllm:generation_tokens_total",
    ):
        assert name in shown, name
    assert "lora_requests_info" not in shown
    assert "no-such-brand" not in shown


def test_a_worker_killed_in_mid_job_is_replaced_and_the_job_succeeds(
    live_server: LiveServer, client: OpenAI
) -> None:
    job = start_job(client, "phoenix", count=200, epochs=4, seed=3)
    wait_for(client, job, lambda _: steps_taken(client, job) >= 5)
    os.kill(live_server.worker_pid(), signal.SIGKILL)
    done = wait_for(client, job, succeeded)
    assert say(client, "phoenix").model == done.fine_tuned_model
    versions = [model.id for model in client.models.list() if model.id.startswith("ft:tiny:acme:phoenix:")]
    assert len([name for name in versions if ":ckpt-step-" not in name]) == 1


def test_after_a_restart_in_mid_job_all_still_answers_and_the_job_goes_on(
    live_server: LiveServer, client: OpenAI, brand_job: Any
) -> None:
    before = say(client, "maison").choices[0].message.content
    known = {model.id for model in client.models.list()}
    job = start_job(client, "second", count=200, epochs=4, seed=5)
    wait_for(client, job, lambda _: steps_taken(client, job) >= 5)
    left = live_server.stop(signal.SIGTERM)
    assert not left, f"SIGTERM left processes behind: {left}"
    live_server.start()
    assert known <= {model.id for model in client.models.list()}
    assert say(client, "maison").choices[0].message.content == before
    done = wait_for(client, job, succeeded)
    assert say(client, "second").model == done.fine_tuned_model


def test_zy_a_server_that_is_stopped_while_it_starts_ends_and_leaves_nothing(live_server: LiveServer) -> None:
    live_server.stop()
    live_server.launch()
    live_server.wait_for_engine_process()
    left = live_server.stop(signal.SIGTERM)
    assert not left, f"SIGTERM in mid-start left processes behind: {left}"
    live_server.start()


def test_zz_kill_and_interrupt_leave_no_process_behind(live_server: LiveServer, client: OpenAI) -> None:
    for how in (signal.SIGKILL, signal.SIGINT):
        left = live_server.stop(how)
        assert not left, f"{how.name} left processes behind: {left}"
        live_server.start()
    assert say(client, "maison").choices[0].message.content
