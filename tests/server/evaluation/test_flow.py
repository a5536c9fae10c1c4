"""From a job to its evaluation, and to live or candidate: real training, a scripted engine."""

from __future__ import annotations

from typing import Any

from records import evaluations, jobs
from server.evaluation import subjects
from tests.server.conftest import until
from tests.server.evaluation.conftest import Theatre, good
from tests.server.proofs import audits, brand, post


def broken(model: str, asked: str, ours: str) -> str:
    """Whatever is not `ours` has lost the end of its JSON."""
    said = good(model, asked)
    return said if ours in model or not model.startswith("ft:") else said.removesuffix("}")


def live_of(theatre: Theatre) -> str:
    until(lambda: brand(theatre.server)["live"] is not None)
    return str(brand(theatre.server)["live"])


def test_a_job_is_evaluated_before_it_ends_and_its_version_goes_live(theatre: Theatre) -> None:
    job_id = theatre.train()
    job, row = theatre.place.job(job_id), theatre.evaluation(job_id)
    assert job.status == jobs.SUCCEEDED
    assert row.status == evaluations.DONE
    assert "Evaluating 2 checkpoints and the base on 12 held-out examples" in theatre.place.messages(job_id)
    assert live_of(theatre) == job.fine_tuned_model
    results: dict[str, Any] = row.results or {}
    by_kind = {subject["kind"]: subject for subject in results["subjects"]}
    assert set(by_kind) == {subjects.NEW, subjects.LIVE, subjects.CHECKPOINT, *subjects.WITHOUT_TRAINING}
    assert [case["score"] for case in by_kind[subjects.NEW]["cases"]] == [1.0] * 12
    assert [case["score"] for case in by_kind[subjects.BASE]["cases"]] == [0.0] * 12
    assert by_kind[subjects.LIVE]["left_out"] == "nothing was live for the brand"
    assert by_kind[subjects.INSTRUCTED]["left_out"].startswith("no instruction is known")


def test_a_planted_regression_is_stopped_by_the_gate_and_can_be_forced(theatre: Theatre) -> None:
    theatre.train()
    live = live_of(theatre)
    digest = live.rsplit(":", 1)[1]
    assert post(theatre.server, action="gate", gate={"at_least_live": True}).status_code == 200
    theatre.engine.script = lambda model, asked: broken(model, asked, digest)
    job_id = theatre.train(seed=6)
    job = theatre.place.job(job_id)
    new = job.fine_tuned_model
    shown = brand(theatre.server)
    assert job.status == jobs.SUCCEEDED
    assert (shown["live"], shown["candidate"], shown["share"]) == (live, new, 0.0)
    (said,) = [event for event in theatre.place.events(job_id) if "is not passed" in event.message]
    assert said.level == "warn"
    assert "The held-out score is 0.000, that of the live version 1.000." in said.message
    assert "Failed cases (12)" in said.message
    assert "and 7 more" in said.message
    for body in ({}, {"version": new}, {"version": theatre.place.checkpoints(job_id)[-1].version}):
        refused = post(theatre.server, action="promote", **body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "gate_not_passed")
    assert brand(theatre.server)["live"] == live
    forced = post(theatre.server, action="promote", version=new, force=True)
    assert forced.status_code == 200, forced.text
    assert forced.json()["live"] == new
    (noted,) = audits(theatre.server, "promote_forced")
    assert (noted.before or {})["live"] == live
