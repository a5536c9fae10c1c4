"""A job that goes on from a version: refused at its creation when it could not, and no deletion under it."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update

from adapters import publish
from records.models import ACTIVE, CANCELLED, Version
from server import sweep
from tests.server.conftest import Running
from tests.server.routes.test_jobs import count, create


def change(server: Running, name: str, **values: Any) -> None:
    with server.house.database.write() as session:
        session.execute(update(Version).where(Version.name == name).values(**values))


@pytest.mark.parametrize("step", [None, 5])
def test_a_job_may_go_on_from_a_version_or_a_checkpoint(server: Running, step: int | None) -> None:
    version = server.publish("luxe", step=step)
    job = create(server, model=version, suffix="luxe").json()
    assert job["model"] == version
    assert server.client().fine_tuning.jobs.retrieve(job["id"]).model == version


def refusal(server: Running, model: str) -> tuple[int, str, str]:
    before = count(server)
    answer = create(server, model=model)
    error = answer.json()["error"]
    assert error["param"] == "model"
    assert count(server) == before
    return answer.status_code, error["code"], error["message"]


def test_a_version_that_is_not_there_is_an_unknown_model(server: Running) -> None:
    for name in ("ft:tiny:acme:luxe:01234567", "ft:", server.publish("luxe", tenant="rival")):
        status, code, said = refusal(server, name)
        assert (status, code) == (404, "model_not_found")
        assert said == f"The model `{name}` does not exist or you do not have access to it."


def test_a_brand_is_no_place_to_go_on_from_and_the_answer_says_what_is(server: Running) -> None:
    server.publish("luxe")
    status, code, said = refusal(server, "luxe")
    assert (status, code) == (400, "model_not_available")
    assert "the full name of a version (ft:...) to go on from it" in said


def test_a_deleted_version_is_said_to_be_deleted(server: Running) -> None:
    version = server.publish("luxe", step=5)
    assert server.http().delete(f"/v1/models/{version}").status_code == 200
    status, code, said = refusal(server, version)
    assert (status, code) == (404, "model_not_found")
    assert "was deleted; go on from another version, or use 'tiny'" in said


def test_a_refuted_version_is_refused_with_the_reason(server: Running) -> None:
    version = server.publish("luxe")
    change(server, version, refuted="the engine answers as without it")
    status, code, said = refusal(server, version)
    assert (status, code) == (410, "version_unusable")
    assert "the engine answers as without it. Use another version" in said


def test_a_version_of_another_base_is_refused(server: Running) -> None:
    status, code, said = refusal(server, server.publish("luxe", base_weights_sha256="0" * 64))
    assert (status, code) == (404, "model_not_found")
    assert "train it again on this base" in said


def test_a_version_of_a_rank_that_is_not_served_is_refused(server: Running) -> None:
    status, code, said = refusal(server, server.publish("luxe", rank=128))
    assert (status, code) == (400, "rank_too_large")
    assert "has rank 128, and this server serves" in said


def test_a_repeated_request_finds_its_job_though_the_version_is_gone(server: Running) -> None:
    version, file = server.publish("luxe", step=5), server.upload()
    first = create(server, {"idempotency-key": "k"}, model=version, training_file=file).json()
    change(server, version, deleted_at=1)
    again = create(server, {"idempotency-key": "k"}, model=version, training_file=file).json()
    assert again["id"] == first["id"]


@pytest.mark.parametrize("status", ACTIVE)
def test_a_version_is_not_deleted_under_a_job_that_goes_on_from_it(server: Running, status: str) -> None:
    version = server.publish("luxe", step=5)
    job = server.job(status=status, model=version)
    answer = server.http().delete(f"/v1/models/{version}")
    assert answer.status_code == 409
    assert answer.headers["x-should-retry"] == "false"
    error = answer.json()["error"]
    assert error["code"] == "version_in_use"
    assert f"{job} goes on from; cancel it or wait for its end" in error["message"]
    assert server.client().fine_tuning.jobs.cancel(job).status == CANCELLED
    assert server.http().delete(f"/v1/models/{version}").status_code == 200


def test_the_files_of_a_version_stay_as_long_as_a_job_begins_with_them(server: Running) -> None:
    """A server of an older release may still delete the version's name."""
    version = server.publish("luxe", step=5)
    server.job(status=ACTIVE[0], model=version)
    change(server, version, deleted_at=1)
    house = server.house
    with house.database.read() as session:
        (row,) = session.query(Version).all()
    folder = publish.folder(house.settings.home, row.sha256)
    sweep.sweep(house.database, house.blobs, house.settings.home)
    assert folder.is_dir()
