"""The queue of evaluations: found again, claimed by one, done once, given up."""

from __future__ import annotations

import time
from typing import Any

import pytest

from records import evaluations, jobs, tenants
from records.database import Database
from records.evaluations import Hold, Lost
from records.models import Evaluation, Job, new_id

BASE = "b" * 64


@pytest.fixture
def job(database: Database) -> Job:
    row = Job(
        id=new_id("ftjob-"), tenant="acme", brand="luxe", model="tiny", status=jobs.RUNNING, created_at=1,
        training_file="file-1", seed=1, requested={}, hyperparameters={}, result_files=[],
        request_sha256="0" * 64,
    )  # fmt: skip
    with database.write() as session:
        tenants.create(session, "acme")
        session.flush()
        jobs.add(session, row)
    return row


def ask(database: Database, job: Job, **request: Any) -> bool:
    with database.write() as session:
        return evaluations.ask(session, job, BASE, request, "i" * 64)[1]


def claim(database: Database, base: str = BASE, seconds: float = 60) -> Hold | None:
    with database.write() as session:
        found = evaluations.claim(session, base, "server", seconds)
        return found[1] if found else None


def row(database: Database, job: Job) -> Evaluation:
    with database.read() as session:
        found = evaluations.of(session, job.id)
    assert found is not None
    return found


def test_a_job_that_asks_again_finds_its_evaluation_and_one_of_another_request_begins_anew(
    database: Database, job: Job
) -> None:
    assert ask(database, job, live="a")
    hold = claim(database)
    assert hold is not None
    assert not ask(database, job, live="a")
    assert row(database, job).status == evaluations.RUNNING
    assert ask(database, job, live="b")
    assert row(database, job).status == evaluations.WAITING
    with pytest.raises(Lost), database.write() as session:
        evaluations.finish(session, hold, {"of": "a"})
    assert row(database, job).status == evaluations.WAITING


def test_one_server_has_it_until_its_lease_ends_and_only_the_newest_writes(
    database: Database, job: Job
) -> None:
    ask(database, job)
    assert claim(database, base="c" * 64) is None  # another base's server
    first = claim(database, seconds=-1)
    second = claim(database)
    assert first is not None
    assert second is not None
    assert claim(database) is None
    with pytest.raises(Lost), database.write() as session:
        evaluations.finish(session, first, {"by": "first"})
    with database.write() as session:
        evaluations.finish(session, second, {"by": "second"})
    with database.read() as session:
        found = evaluations.of(session, job.id)
        assert found is not None
        assert (found.status, found.results) == (evaluations.DONE, {"by": "second"})


@pytest.mark.parametrize("status", [jobs.CANCELLED, jobs.FAILED, "paused"])
def test_nobody_evaluates_for_a_job_that_does_not_wait(database: Database, job: Job, status: str) -> None:
    ask(database, job)
    hold = claim(database)
    assert hold is not None
    with database.write() as session:
        session.merge(job).status = status
    with pytest.raises(Lost), database.write() as session:
        evaluations.renew(session, hold, 60)
    with database.write() as session:
        evaluations.give_back(session, hold, "the engine is down")
    assert claim(database) is None


def test_after_a_few_tries_it_has_failed_whether_they_were_given_back_or_killed(
    database: Database, job: Job
) -> None:
    ask(database, job, by="giving back")
    for _ in range(evaluations.ATTEMPTS):
        hold = claim(database)
        assert hold is not None
        with database.write() as session:
            evaluations.give_back(session, hold, "the engine is down")
    assert (row(database, job).status, row(database, job).error) == ("failed", "the engine is down")
    ask(database, job, by="kills")
    for _ in range(evaluations.ATTEMPTS):
        assert claim(database, seconds=-1) is not None
    assert claim(database) is None
    assert row(database, job).error == "Its server stopped unexpectedly 3 times."


def test_a_server_that_stops_in_order_costs_no_try(database: Database, job: Job) -> None:
    ask(database, job)
    hold = claim(database)
    assert hold is not None
    with database.write() as session:
        evaluations.let_go(session, hold)
    assert (row(database, job).attempts, claim(database) is not None) == (0, True)


def test_only_what_nobody_works_on_is_abandoned(database: Database, job: Job) -> None:
    ask(database, job)
    found = row(database, job)
    hold = claim(database)
    with database.write() as session:
        assert not evaluations.abandon(session, found.id, "no server")
    ask(database, job, anew=True)
    with database.write() as session:
        assert evaluations.abandon(session, found.id, "no server")
    assert (row(database, job).status, row(database, job).error) == ("failed", "no server")
    assert claim(database) is None
    assert hold is not None


def test_when_a_server_was_seen_is_known_per_base(database: Database) -> None:
    with database.write() as session:
        evaluations.beat(session, BASE)
        evaluations.beat(session, BASE)
    with database.read() as session:
        assert evaluations.unseen_seconds(session, BASE) < time.time()
        assert evaluations.unseen_seconds(session, "c" * 64) == float("inf")
