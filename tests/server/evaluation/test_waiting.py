"""A job waits for its evaluation: what is killed, cancelled or gone in the meantime."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest

from records import evaluations, jobs
from records.jobs import LeaseLost
from records.models import Evaluation, Serving
from tests.patience import PATIENCE
from tests.server.conftest import until
from tests.server.evaluation.conftest import Theatre, tickets
from tests.server.proofs import brand, post
from tests.training.place import trainers_of
from training import attempt


@pytest.fixture(autouse=True)
def _no_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt here is a thread, and signals are the main thread's."""
    monkeypatch.setattr(attempt, "asked_to_stop", lambda: nullcontext(lambda: False))


class Attempt(threading.Thread):
    """One attempt at the oldest job, as its process runs it; `error` is what ended it."""

    def __init__(self, theatre: Theatre) -> None:
        super().__init__(daemon=True)
        self.place, self.lease = theatre.place, theatre.place.claim()
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            attempt.run(self.place.settings, self.lease)
        except BaseException as error:
            self.error = error


def begin(theatre: Theatre) -> str:
    """A job whose evaluation has begun and cannot end, as the engine answers nobody."""
    files = (theatre.place.upload(tickets(20)), theatre.place.upload(tickets(12, first=100)))
    theatre.engine.stuck = True
    return theatre.place.submit(*files, n_epochs=1, batch_size=8)


def found(theatre: Theatre, job_id: str, holds: Callable[[Evaluation], Any]) -> bool:
    with theatre.place.database.read() as session:
        row = evaluations.of(session, job_id)
        return row is not None and bool(holds(row))


def seen(theatre: Theatre, seconds: float) -> None:
    """A server was, so long from now; nobody says anything else of it."""
    with theatre.place.database.write() as session:
        session.merge(Serving(base_sha256=theatre.base.weights_sha256, seen_at=time.time() + seconds))


def runs(theatre: Theatre, job_id: str) -> Callable[[], bool]:
    return lambda: found(theatre, job_id, lambda row: row.status == evaluations.RUNNING)


def test_after_a_kill_the_next_attempt_finds_the_same_evaluation(theatre: Theatre) -> None:
    job_id = begin(theatre)
    first = Attempt(theatre)
    until(runs(theatre, job_id))
    began = theatre.evaluation(job_id)
    with theatre.place.database.write() as session:  # a worker has seen that the process is gone
        jobs.held(session, first.lease, lease_until=time.time() - 1)
    second = Attempt(theatre)
    first.join(PATIENCE)
    assert isinstance(first.error, LeaseLost)
    theatre.engine.stuck = False
    second.join(PATIENCE)
    ended = theatre.evaluation(job_id)
    assert second.error is None
    assert (ended.id, ended.status, ended.attempts) == (began.id, evaluations.DONE, 1)
    assert len(theatre.place.versions(job_id, final=True)) == 1
    assert sum(message.startswith("Evaluating") for message in theatre.place.messages(job_id)) == 1


def test_a_job_whose_process_is_killed_while_it_waits_ends_once_with_one_version(theatre: Theatre) -> None:
    job_id = begin(theatre)
    theatre.place.worker()
    until(runs(theatre, job_id))
    (killed,) = trainers_of(job_id)
    os.kill(killed, signal.SIGKILL)
    until(lambda: trainers_of(job_id) not in ([], [killed]))
    theatre.engine.stuck = False
    until(lambda: theatre.place.job(job_id).status == jobs.SUCCEEDED)
    assert len(theatre.place.versions(job_id, final=True)) == 1
    assert theatre.evaluation(job_id).status == evaluations.DONE
    messages = theatre.place.messages(job_id)
    assert sum(message.startswith("Evaluating") for message in messages) == 1
    assert sum(message.startswith("New fine-tuned model created") for message in messages) == 1


def test_what_a_killed_server_had_begun_is_done_by_the_next_one(theatre: Theatre) -> None:
    """The evaluation is in the hands of a server that says nothing any more; ours takes it when its lease
    ends."""
    job_id = begin(theatre)
    waiting = Attempt(theatre)
    until(runs(theatre, job_id))
    with theatre.place.database.write() as session:
        row = evaluations.of(session, job_id)
        assert row is not None
        row.fence, row.lease_owner, row.lease_until = row.fence + 1, "server-killed", time.time() + 1
    theatre.engine.stuck = False
    waiting.join(PATIENCE)
    row = theatre.evaluation(job_id)
    assert waiting.error is None
    assert (row.status, row.attempts) == (evaluations.DONE, 2)
    assert theatre.place.job(job_id).status == jobs.SUCCEEDED


def test_a_cancelled_job_stops_waiting_and_nobody_goes_on_with_its_evaluation(theatre: Theatre) -> None:
    job_id = begin(theatre)
    waiting = Attempt(theatre)
    until(runs(theatre, job_id))
    theatre.server.client().fine_tuning.jobs.cancel(job_id)
    waiting.join(PATIENCE)
    assert isinstance(waiting.error, LeaseLost)
    assert theatre.place.versions(job_id, final=True) == []
    until(lambda: theatre.engine.running == 0)
    theatre.engine.stuck = False
    next_one = theatre.train(seed=9)  # the server is free for the next one
    assert theatre.place.job(next_one).status == jobs.SUCCEEDED
    assert theatre.evaluation(job_id).results is None


def test_an_engine_that_dies_in_the_middle_is_asked_again(theatre: Theatre) -> None:
    job_id = begin(theatre)
    waiting = Attempt(theatre)
    until(runs(theatre, job_id))
    until(lambda: theatre.engine.running > 0)
    theatre.engine.alive = theatre.engine.stuck = False
    waiting.join(PATIENCE)
    row = theatre.evaluation(job_id)
    assert waiting.error is None
    assert row.status == evaluations.DONE
    assert row.attempts > 1
    assert theatre.place.job(job_id).status == jobs.SUCCEEDED


def test_with_no_server_left_the_job_goes_on_and_a_gate_keeps_its_version_candidate(
    theatre: Theatre, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert post(theatre.server, action="gate", gate={"thresholds": {"score": 0.1}}).status_code == 200
    monkeypatch.setattr(evaluations, "beat", lambda *_: None)
    monkeypatch.setattr(evaluations, "claim", lambda *_: None)  # it is seen, and then it is not
    theatre.place.settings = theatre.place.settings.model_copy(update={"evaluation_wait_seconds": 1.0})
    seen(theatre, 3600)  # from now: until the job has asked
    job_id = begin(theatre)
    waiting = Attempt(theatre)
    until(lambda: found(theatre, job_id, lambda row: row.status == evaluations.WAITING))
    seen(theatre, -3600)
    waiting.join(PATIENCE)
    job = theatre.place.job(job_id)
    assert job.status == jobs.SUCCEEDED
    messages = theatre.place.messages(job_id)
    assert "Not evaluated: no server was seen for 1 s." in messages
    (said,) = [message for message in messages if "is not passed" in message]
    assert "It could not be evaluated: no server was seen for 1 s." in said
    shown = brand(theatre.server)
    assert (shown["live"], shown["candidate"]) == (None, job.fine_tuned_model)
    report = theatre.server.http().get(f"/v1/fine_tuning/jobs/{job_id}/report").json()
    assert report["verdict"]["worth_it"] is None
    assert report["subjects"] == []


def test_a_pause_while_it_is_evaluated_does_not_count_as_a_servers_death(theatre: Theatre) -> None:
    job_id = begin(theatre)
    waiting = Attempt(theatre)
    until(runs(theatre, job_id))
    assert found(theatre, job_id, lambda row: row.attempts == 1)
    theatre.server.client().fine_tuning.jobs.pause(job_id)
    waiting.join(PATIENCE)
    assert isinstance(waiting.error, LeaseLost)
    until(lambda: found(theatre, job_id, lambda row: row.lease_until is None))
    assert found(theatre, job_id, lambda row: (row.status, row.attempts) == (evaluations.WAITING, 0))


def test_what_was_asked_before_all_was_killed_is_waited_for_until_a_server_is_back(
    theatre: Theatre, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(evaluations, "claim", lambda *_: None)
        job_id = begin(theatre)
        first = Attempt(theatre)
        until(lambda: found(theatre, job_id, lambda row: row.status == evaluations.WAITING))
        patched.setattr(evaluations, "beat", lambda *_: None)
        seen(theatre, -420)
        with theatre.place.database.write() as session:
            jobs.held(session, first.lease, lease_until=time.time() - 1)
        second = Attempt(theatre)
        first.join(PATIENCE)
        time.sleep(1)
        assert second.is_alive()
    theatre.engine.stuck = False
    second.join(PATIENCE)
    assert second.error is None
    assert theatre.evaluation(job_id).status == evaluations.DONE
