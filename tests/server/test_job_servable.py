"""A job whose version could not be served is refused when it is created, with what to change."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from adapters import room
from adapters.base import resolve
from records.models import Job
from server.engine.fake import FakeEngine
from tests.server.conftest import Running, Stage, a_base
from tests.server.routes.test_jobs import count, create
from tests.training.place import Place
from tests.training.small_base import build

NAMES = {
    "chat_template.jinja": "chat template",
    "config.json": "configuration",
    "model.safetensors": "weights",
}


def refusal(server: Running, status: int, **given: Any) -> tuple[str, str]:
    """(code, message)."""
    before = count(server)
    answer = create(server, **given)
    assert answer.status_code == status, answer.text
    assert count(server) == before
    error = answer.json()["error"]
    return error["code"], error["message"]


@pytest.mark.parametrize("name", NAMES)
def test_a_base_that_was_changed_under_the_engine_takes_no_job_until_a_restart(
    serve: Stage, name: str
) -> None:
    server = serve()
    file = server.house.base.path / name
    was = file.read_bytes()
    file.write_bytes(was.replace(b"}", b" }") if name != "model.safetensors" else was[:-1] + b"1")
    code, said = refusal(server, 409)
    assert code == "base_changed"
    assert f"the {NAMES[name]} of base model 'tiny' is no longer what its engine has loaded" in said
    assert "restart the server" in said
    file.write_bytes(was)
    assert create(server).status_code == 200


def test_a_base_whose_files_are_gone_takes_no_job(server: Running) -> None:
    (server.house.base.path / "config.json").unlink()
    code, said = refusal(server, 409)
    assert code == "base_changed"
    assert "there is no config.json in" in said


def test_a_base_without_a_layer_to_adapt_is_said_at_creation(serve: Stage) -> None:
    base = a_base(serve.folder)
    weights = base.path / "model.safetensors"
    weights.write_bytes(weights.read_bytes().replace(b"q_proj", b"conv_1"))
    code, said = refusal(serve(base=a_base(serve.folder)), 400)
    assert code == "base_unreadable"
    assert "takes no adapter" in said


def test_a_full_disk_takes_no_job_and_says_how_much_it_needs(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = server.upload()
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: SimpleNamespace(free=100_000))
    code, said = refusal(server, 507, training_file=file)
    assert code == "not_enough_disk"
    assert "The job would write at least 0.2 MB (a checkpoint of 0.1 MB" in said
    assert "0.1 MB are free on the server's disk. Have the operator make room." in said


def test_a_job_above_the_operators_bound_is_refused_with_what_to_lower(serve: Stage) -> None:
    server = serve(job_max_bytes=400_000)
    assert create(server, hyperparameters={"n_epochs": 1}).status_code == 200
    code, said = refusal(server, 400, hyperparameters={"n_epochs": 10})
    assert code == "job_too_large"
    assert "10 checkpoints" in said
    assert "Lower n_epochs, or have the operator raise job_max_bytes" in said


def test_a_repeated_request_finds_its_job_also_when_no_new_one_is_taken(server: Running) -> None:
    key = {"headers": {"Idempotency-Key": "k"}}
    body = {"model": "tiny", "training_file": server.upload()}
    first = server.http().post("/v1/fine_tuning/jobs", json=body, **key)
    (server.house.base.path / "config.json").unlink()
    again = server.http().post("/v1/fine_tuning/jobs", json=body, **key)
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])


def test_a_job_keeps_the_hashes_of_the_base_that_it_was_created_against(server: Running) -> None:
    job_id = create(server).json()["id"]
    with server.house.database.read() as session:
        row = session.query(Job).where(Job.id == job_id).one()
        assert row.base_hashes == server.house.base.hashes


@pytest.mark.parametrize("planted", [" ", "{# a comment #}\n"], ids=["a space", "a line break"])
def test_a_worker_whose_template_is_not_the_servers_publishes_nothing(
    serve: Stage, tmp_path: Path, planted: str
) -> None:
    ours = build(tmp_path / "ours" / "small")
    theirs = shutil.copytree(ours, tmp_path / "theirs" / "small")
    template = theirs / "chat_template.jinja"
    template.write_text(template.read_text() + planted)
    server = serve(FakeEngine(base="small"), base=resolve(str(ours), tmp_path))
    body = {"model": "small", "suffix": "luxe", "hyperparameters": {"n_epochs": 1}}
    job_id = create(server, **body).json()["id"]
    worker = Place(server.house.settings.home, theirs, is_new=False)
    worker.work()
    job = worker.job(job_id)
    assert (job.status, (job.error or {})["code"]) == ("failed", "base_changed")
    assert "The chat template of base model 'small'" in (job.error or {})["message"]
    assert worker.versions(job_id, final=False) == worker.versions(job_id, final=True) == []
    assert not (worker.settings.home / "adapters").exists()
    worker.close()
    equal = Place(server.house.settings.home, ours, is_new=False, evaluation_wait_seconds=0.0)
    again = create(server, **body).json()["id"]
    equal.work()
    assert equal.job(again).status == "succeeded"
    equal.close()
