"""What a job may ask of Weights & Biases, and what it is told where that cannot be."""

from __future__ import annotations

import importlib.util
from typing import Any

import httpx
import pytest

from records import jobs
from tests.conforms import conforms
from tests.server.conftest import Running

ASKED = {"project": "voices", "name": "autumn", "entity": "house", "tags": ["a", "b"]}


def create(server: Running, integrations: Any) -> httpx.Response:
    body = {"model": "tiny", "training_file": server.upload(), "integrations": integrations}
    return server.http().post("/v1/fine_tuning/jobs", json=body)


def wandb(**given: Any) -> list[dict[str, Any]]:
    return [{"type": "wandb", "wandb": {"project": "voices", **given}}]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")


def test_a_job_shows_its_integrations_as_openai_does(server: Running) -> None:
    job = create(server, [{"type": "wandb", "wandb": ASKED}]).json()
    conforms(job, "FineTuningJob")
    assert job["integrations"] == [{"type": "wandb", "wandb": ASKED}]
    assert server.http().get(f"/v1/fine_tuning/jobs/{job['id']}").json() == job


def test_what_is_left_out_is_null_and_a_job_without_has_none(server: Running) -> None:
    shown = {"project": "voices", "name": None, "entity": None, "tags": []}
    job = create(server, wandb()).json()
    conforms(job, "FineTuningJob")
    assert job["integrations"] == [{"type": "wandb", "wandb": shown}]
    for none in (None, []):
        job = create(server, none).json()
        assert job["integrations"] == []
        with server.house.database.read() as session:
            row = jobs.get(session, "acme", job["id"])
            assert row is not None
            assert row.integrations is None


@pytest.mark.parametrize(
    ("integrations", "param"),
    [
        ([{"type": "comet", "wandb": {"project": "x"}}], "integrations.0.type"),
        ([{"type": "wandb"}], "integrations.0.wandb"),
        ([{"type": "wandb", "wandb": {}}], "integrations.0.wandb.project"),
        (wandb(project=""), "integrations.0.wandb.project"),
        (wandb(project="a/b"), "integrations.0.wandb.project"),
        (wandb(project="p" * 129), "integrations.0.wandb.project"),
        (wandb(project="a\nb"), "integrations.0.wandb.project"),
        (wandb(entity="a:b"), "integrations.0.wandb.entity"),
        (wandb(name=""), "integrations.0.wandb.name"),
        (wandb(tags="a"), "integrations.0.wandb.tags"),
        (wandb(tags=["t" * 65]), "integrations.0.wandb.tags.0"),
        (wandb(tags=[1]), "integrations.0.wandb.tags.0"),
        (wandb(api_key="secret"), "integrations.0.wandb.api_key"),
        (wandb() + wandb(project="other"), "integrations"),
        ({"type": "wandb"}, "integrations"),
    ],
    ids=str,
)
def test_a_field_at_fault_is_a_400_that_names_it(server: Running, integrations: Any, param: str) -> None:
    answer = create(server, integrations)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param


def test_a_server_without_an_account_says_what_its_operator_can_do(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_MODE")
    answer = create(server, wandb())
    assert answer.status_code == 400
    conforms(answer.json(), "ErrorResponse")
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == ("integrations", "integration_unavailable")
    for word in ("WANDB_API_KEY", "WANDB_MODE", "leave 'integrations' out"):
        assert word in error["message"]
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    assert create(server, wandb()).status_code == 200
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert "WANDB_MODE is 'disabled'" in create(server, wandb()).json()["error"]["message"]


def test_a_server_without_the_package_names_the_extra(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    error = create(server, wandb()).json()["error"]
    assert (error["param"], error["code"]) == ("integrations", "integration_unavailable")
    assert "extra `wandb`" in error["message"]
