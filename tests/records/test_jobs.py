"""The queue: one holder at a time, nothing written with an old fence, every end final."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from sqlalchemy import update

from records import jobs
from records.database import Database
from records.jobs import Lease, LeaseLost
from records.models import CANCELLED, FAILED, PAUSED, QUEUED, RUNNING, SUCCEEDED, VALIDATING, Event, Job
from tests.records.conftest import add_job


def claim(database: Database, seconds: float = 30) -> Lease | None:
    with database.write() as session:
        claimed = jobs.claim(session, "worker", seconds)
        return claimed[1] if claimed else None


def status(database: Database, job: str) -> str:
    with database.read() as session:
        row = jobs.get(session, "acme", job)
        assert row is not None
        return row.status


def end(database: Database, lease: Lease, at: int) -> None:
    with database.write() as session:
        jobs.finish(session, lease, SUCCEEDED, "done")
        session.execute(update(Job).where(Job.id == lease.job_id).values(finished_at=at))


def test_the_oldest_job_is_claimed_first(database: Database) -> None:
    first, second = add_job(database), add_job(database)
    claimed = [claim(database), claim(database)]
    assert [lease and lease.job_id for lease in claimed] == [first, second]
    assert claim(database) is None


def test_a_tenant_does_not_wait_behind_all_of_anothers_jobs(database: Database) -> None:
    first, second, third = (add_job(database) for _ in range(3))
    other = add_job(database, "rival")
    running = claim(database)
    assert running is not None
    assert running.job_id == first
    beside = claim(database)
    assert beside is not None
    assert beside.job_id == other, "a second worker turns to who has none running"
    end(database, beside, at=5)
    end(database, running, at=9)
    late = add_job(database, "rival")
    turns = []
    for now in (11, 13, 17):
        lease = claim(database)
        assert lease is not None
        turns.append(lease.job_id)
        end(database, lease, at=now)
    assert turns == [late, second, third]


def test_a_silent_holders_job_keeps_its_place(database: Database) -> None:
    job = add_job(database)
    claim(database, seconds=-1)
    add_job(database, "rival")
    again = claim(database)
    assert again is not None
    assert again.job_id == job


def test_many_claimers_never_share_a_job(database: Database) -> None:
    wanted = {add_job(database) for _ in range(12)}
    got: list[str] = []

    def work() -> None:
        while (lease := claim(database)) is not None:
            got.append(lease.job_id)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == sorted(wanted)


def test_a_silent_holder_loses_its_job_and_can_write_no_more(database: Database) -> None:
    job = add_job(database)
    slept = claim(database, seconds=-1)
    taken = claim(database)
    assert slept is not None
    assert taken is not None
    assert (taken.job_id, taken.fence) == (job, slept.fence + 1)
    writes: list[Callable[..., object]] = [
        lambda session: jobs.held(session, slept, status=RUNNING),
        lambda session: jobs.renew(session, slept, 30),
        lambda session: jobs.finish(session, slept, SUCCEEDED, "done", fine_tuned_model="ft:x"),
    ]
    for write in writes:
        with pytest.raises(LeaseLost), database.write() as session:
            write(session)
    with database.write() as session:
        jobs.held(session, taken, status=RUNNING)
    assert status(database, job) == RUNNING


def test_a_renewed_lease_is_not_free(database: Database) -> None:
    add_job(database)
    lease = claim(database, seconds=-1)
    assert lease is not None
    with database.write() as session:
        jobs.renew(session, lease, 30)
    assert claim(database) is None


@pytest.mark.parametrize("end", [SUCCEEDED, FAILED])
def test_an_end_is_final(database: Database, end: str) -> None:
    job = add_job(database)
    lease = claim(database)
    assert lease is not None
    with database.write() as session:
        jobs.finish(session, lease, end, "over", trained_tokens=7)
    assert claim(database) is None
    for after in (SUCCEEDED, FAILED):
        with pytest.raises(LeaseLost), database.write() as session:
            jobs.finish(session, lease, after, "again")
    for rule in (jobs.cancel, jobs.pause, jobs.resume):
        with pytest.raises(jobs.ChangeRefused, match=f"status: {end}"):
            ask(database, rule, job)
    with database.read() as session:
        row = jobs.get(session, "acme", job)
        assert row is not None
        assert (row.status, row.trained_tokens) == (end, 7)
        events = session.query(Event).order_by(Event.seq).all()
        assert [event.message for event in events] == [f"Created fine-tuning job: {job}", "over"]
        assert events[-1].level == ("error" if end == FAILED else "info")


def test_a_cancelled_job_tells_its_worker_at_the_next_write(database: Database) -> None:
    job = add_job(database)
    lease = claim(database)
    assert lease is not None
    with database.write() as session:
        assert jobs.get(session, "acme", job)  # a row that the session knew before
        row = jobs.cancel(session, "acme", job)
        assert row is not None
        assert row.status == CANCELLED
    with pytest.raises(LeaseLost), database.write() as session:
        jobs.renew(session, lease, 30)
    assert claim(database) is None


def test_nobody_cancels_the_job_of_another_tenant(database: Database) -> None:
    job = add_job(database)
    with database.write() as session:
        assert jobs.cancel(session, "rival", job) is None
        assert jobs.get(session, "rival", job) is None
    assert status(database, job) != CANCELLED


def test_a_write_that_fails_leaves_nothing(database: Database) -> None:
    job = add_job(database)

    def fail() -> None:
        with database.write() as session:
            jobs.say(session, job, "half")
            session.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with database.read() as session:
        assert session.query(Event).count() == 1
        assert session.query(Job).count() == 1


def ask(database: Database, rule: Callable[..., Job | None], job: str, tenant: str = "acme") -> Job | None:
    with database.write() as session:
        return rule(session, tenant, job)


@pytest.mark.parametrize(("before", "after"), [(VALIDATING, VALIDATING), (QUEUED, QUEUED), (RUNNING, QUEUED)])
def test_a_paused_job_is_claimed_by_nobody_until_it_is_resumed(
    database: Database, before: str, after: str
) -> None:
    job = add_job(database, status=before, estimated_finish=9, attempts=4, lease_until=4e9)  # it crashed
    paused = ask(database, jobs.pause, job)
    assert paused is not None
    assert (paused.status, paused.estimated_finish, paused.finished_at) == (PAUSED, None, None)
    assert claim(database) is None
    resumed = ask(database, jobs.resume, job)
    assert resumed is not None
    assert (resumed.status, resumed.attempts) == (after, 0)
    lease = claim(database)
    assert lease is not None
    assert lease.job_id == job
    with database.read() as session:
        said = [event.message for event in session.query(Event).order_by(Event.seq)][1:]
    assert said == ["Fine-tuning job paused by request.", "Fine-tuning job resumed by request."]


def test_a_paused_job_stays_in_its_workers_hand_until_that_lets_it_go(database: Database) -> None:
    job = add_job(database)
    lease = claim(database)
    assert lease is not None
    ask(database, jobs.pause, job)
    ask(database, jobs.resume, job)
    with pytest.raises(LeaseLost), database.write() as session:
        jobs.renew(session, lease, 30)
    assert claim(database) is None, "its process may not have ended yet"
    with database.write() as session:
        assert jobs.is_in_hand(session, job, "worker")
        assert not jobs.is_in_hand(session, job, "another")
        jobs.let_go(session, job, "another")
        assert jobs.is_in_hand(session, job, "worker")
        jobs.let_go(session, job, "worker")
        assert not jobs.is_in_hand(session, job, "worker")
        assert not jobs.is_in_hand(session, job, None)
    again = claim(database)
    assert again is not None
    assert again.fence > lease.fence


def test_what_is_already_so_is_not_said_again(database: Database) -> None:
    job = add_job(database)
    for rule in (jobs.pause, jobs.pause, jobs.resume, jobs.resume):
        ask(database, rule, job)
    with database.read() as session:
        assert session.query(Event).count() == 3


def test_a_paused_job_can_be_cancelled_and_an_ended_one_not_paused(database: Database) -> None:
    job = add_job(database)
    assert claim(database) is not None
    ask(database, jobs.pause, job)
    cancelled = ask(database, jobs.cancel, job)
    assert cancelled is not None
    assert (cancelled.status, cancelled.lease_owner) == (CANCELLED, None)
    for rule in (jobs.pause, jobs.resume):
        with pytest.raises(jobs.ChangeRefused):
            ask(database, rule, job)
    assert status(database, job) == CANCELLED


def test_nobody_pauses_the_job_of_another_tenant(database: Database) -> None:
    job = add_job(database)
    assert ask(database, jobs.pause, job, "rival") is None
    ask(database, jobs.pause, job)
    assert ask(database, jobs.resume, job, "rival") is None
    assert status(database, job) == PAUSED
