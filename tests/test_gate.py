"""From rows to a verdict on real vLLM: evaluated, gated, graded, preferred; with the `openai` client."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from openai import OpenAI

from examples.brands import BRANDS
from examples.brands.case import Case
from tests.live import LiveServer
from tests.patience import PATIENCE
from tests.test_loop import events, succeeded, wait_for

pytestmark = pytest.mark.engine

TICKETS = BRANDS["tickets"]
EPOCHS = {"n_epochs": 8, "batch_size": 8}


@pytest.fixture(scope="module")
def client(live_server: LiveServer) -> OpenAI:
    return live_server.client()


@pytest.fixture(scope="module")
def http(live_server: LiveServer) -> httpx.Client:
    key = {"Authorization": f"Bearer {live_server.api_key}"}
    return httpx.Client(base_url=live_server.base_url, headers=key, timeout=PATIENCE)


def upload(client: OpenAI, rows: Sequence[dict[str, Any]]) -> str:
    lines = "\n".join(map(json.dumps, rows)).encode()
    return client.files.create(file=("rows.jsonl", lines), purpose="fine-tune").id


def broken(case: Case) -> dict[str, Any]:
    """The same question, and an answer whose JSON is cut off."""
    asked, answer = case.chat()["messages"]
    return {"messages": [asked, answer | {"content": answer["content"][:-1]}]}


def train(client: OpenAI, rows: Sequence[dict[str, Any]], held_out: str, **given: Any) -> Any:
    job = client.fine_tuning.jobs.create(
        model="tiny", training_file=upload(client, rows), validation_file=held_out, suffix="desk", seed=1,
        **{"method": {"type": "supervised", "supervised": {"hyperparameters": EPOCHS}}, **given},
    )  # fmt: skip
    return wait_for(client, job.id, succeeded)


@pytest.fixture(scope="module")
def desk(client: OpenAI) -> tuple[Any, str]:
    """(a job that has taught the brand `desk` tickets in JSON, its held-out file)."""
    held_out = upload(client, [case.chat() for case in TICKETS.cases("held_out", 16, 0)])
    return train(client, [case.chat() for case in TICKETS.cases("train", 160, 0)], held_out), held_out


def test_a_job_is_evaluated_beside_what_needs_no_training(
    client: OpenAI, http: httpx.Client, desk: tuple[Any, str]
) -> None:
    job, _ = desk
    found = http.get(f"fine_tuning/jobs/{job.id}/report").json()
    scores = {one["kind"]: one["score"] for one in found["subjects"] if one["kind"] != "checkpoint"}
    assert scores["new"] > 0.5 > scores["base"]
    assert scores["few_shot_base"] is not None
    assert found["verdict"]["said"] == "worth it"
    assert sum(one["kind"] == "checkpoint" for one in found["subjects"]) == 7
    page = http.get(f"fine_tuning/jobs/{job.id}/report", params={"format": "html"})
    assert page.headers["content-type"].startswith("text/html")
    assert "<svg" in page.text
    assert any(said.startswith("Evaluating") for said in events(client, job.id))


def test_a_planted_regression_is_stopped_by_the_gate(
    client: OpenAI, http: httpx.Client, desk: tuple[Any, str]
) -> None:
    job, _ = desk
    taught = TICKETS.cases("train", 160, 0)
    guard = upload(client, [case.chat() for case in taught[:32]])
    gate = {"must_not_regress": guard, "at_least_live": True}
    assert http.post("brands/desk", json={"action": "gate", "gate": gate}).status_code == 200
    own = upload(client, [broken(case) for case in TICKETS.cases("held_out", 16, 0)])  # hides it
    worse = train(client, [broken(case) for case in taught], own)
    assert worse.fine_tuned_model is not None
    brand = http.get("brands/desk").json()
    assert (brand["live"], brand["candidate"], brand["share"]) == (
        job.fine_tuned_model,
        worse.fine_tuned_model,
        0,
    )
    said = " ".join(events(client, worse.id))
    assert "that the live version passes are not passed" in said
    assert guard in said, "an event names the cases that failed"
    refused = http.post("brands/desk", json={"action": "promote"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "gate_not_passed")
    answer = client.chat.completions.create(
        model="desk", messages=TICKETS.cases("held_out", 1, 5)[0].chat()["messages"][:1], temperature=0
    )
    assert answer.model == job.fine_tuned_model
    http.post("brands/desk", json={"action": "gate", "gate": None}).raise_for_status()


def test_a_model_that_grades_says_a_label_that_there_is(client: OpenAI, desk: tuple[Any, str]) -> None:
    grader = {
        "type": "label_model", "name": "tone", "model": "desk", "labels": ["kind", "rude"],
        "passing_labels": ["kind", "rude"],
        "input": [{"role": "user", "content": "Is this kind or rude? {{sample.output_text}}"}],
    }  # fmt: skip
    run = client.fine_tuning.alpha.graders.run(grader=grader, model_sample="Thank you!", item={})
    assert run.reward == 1.0


def test_preferences_go_on_from_a_version_and_are_served_as_trained(
    client: OpenAI, http: httpx.Client, desk: tuple[Any, str]
) -> None:
    job, _ = desk
    rows = [
        {"prompt": chat[:1], "chosen": chat[1:], "rejected": broken(case)["messages"][1:]}
        for case in TICKETS.cases("train", 24, 7)
        for chat in [case.chat()["messages"]]
    ]
    method = {"type": "dpo", "dpo": {"hyperparameters": {"n_epochs": 1, "batch_size": 8, "beta": 0.1}}}
    created = client.fine_tuning.jobs.create(
        model=job.fine_tuned_model, training_file=upload(client, rows), suffix="desk-liked", method=method
    )
    liked = wait_for(client, created.id, succeeded)
    assert liked.method.type == "dpo"
    reply = client.chat.completions.create(
        model="desk-liked", messages=rows[0]["prompt"], temperature=0, max_tokens=5
    )
    assert reply.model == liked.fine_tuned_model


def test_a_paused_job_goes_on_where_it_stopped(client: OpenAI) -> None:
    rows = upload(client, [case.chat() for case in TICKETS.cases("train", 200, 3)])
    method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 6, "batch_size": 4}}}
    job = client.fine_tuning.jobs.create(model="tiny", training_file=rows, suffix="later", method=method)
    wait_for(client, job.id, lambda found: found.status == "running")
    assert client.fine_tuning.jobs.pause(job.id).status == "paused"
    client.fine_tuning.jobs.resume(job.id)
    wait_for(client, job.id, succeeded)
    said = events(client, job.id)
    assert any("taken up again after step" in message for message in said) or "again" in " ".join(said)
