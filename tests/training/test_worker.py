"""Workers as processes: what they do when they, their jobs or their users stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from sqlalchemy import update

from records import jobs
from records.models import Job
from tests.training.place import Place, chats, kill, trainers_of, until
from training import owner, scratch, worker
from training.checkpoint import Folder
from training.worker import Worker

LONG = {"n_epochs": 30, "batch_size": 2}


def has_checkpoint(place: Place, job_id: str) -> bool:
    return bool(place.checkpoints(job_id))


def steps_told(place: Place, job_id: str) -> list[int]:
    return [event.data["step"] for event in place.events(job_id) if event.type == "metrics" and event.data]


def test_a_job_whose_worker_is_killed_is_taken_up_again_and_succeeds(place: Place) -> None:
    job_id = place.submit(place.upload(chats(20)), **LONG)
    first = place.worker()
    until(lambda: has_checkpoint(place, job_id))
    kill(first)
    until(lambda: not trainers_of(job_id))
    assert place.job(job_id).status == jobs.RUNNING, "it was in the middle"
    place.worker()
    until(lambda: place.job(job_id).status == jobs.SUCCEEDED)
    messages = place.messages(job_id)
    assert any(message.startswith("Fine-tuning job taken up again after step") for message in messages)
    assert len(place.versions(job_id, final=True)) == 1
    assert [row.step for row in place.checkpoints(job_id)] == [10 * epoch for epoch in range(1, 31)]
    steps = [line.split(",")[0] for line in place.content(place.job(job_id).result_files[0]).splitlines()]
    assert steps[1:] == [str(step) for step in range(1, 301)]


def test_two_workers_make_one_version_of_each_job(place: Place) -> None:
    training = place.upload(chats(12))
    ids = [place.submit(training, brand=f"brand-{k}", n_epochs=1) for k in range(2)]
    place.worker()
    place.worker()
    until(lambda: all(place.job(one).status == jobs.SUCCEEDED for one in ids))
    for one in ids:
        assert len(place.versions(one, final=True)) == 1
        assert place.job(one).fence == 1
        assert place.messages(one).count("The job has successfully completed") == 1


def test_a_cancelled_job_stops_at_once_and_leaves_no_version(place: Place) -> None:
    job_id = place.submit(place.upload(chats(20)), **LONG)
    place.worker()
    until(lambda: has_checkpoint(place, job_id))
    with place.database.write() as session:
        jobs.cancel(session, "acme", job_id)
    until(lambda: not trainers_of(job_id))
    until(lambda: not scratch.folder(place.settings.home, job_id).exists())
    assert place.job(job_id).status == jobs.CANCELLED
    assert place.versions(job_id, final=True) == []


def test_a_paused_job_ends_its_process_and_goes_on_where_it_was(place: Place) -> None:
    job_id = place.submit(place.upload(chats(20)), **LONG)
    place.worker()
    until(lambda: has_checkpoint(place, job_id))
    with place.database.write() as session:
        jobs.pause(session, "acme", job_id)
        highest = steps_told(place, job_id)[-1]
    until(lambda: not trainers_of(job_id))
    until(lambda: place.job(job_id).lease_owner is None)
    assert place.job(job_id).status == jobs.PAUSED
    state = Folder(place.settings.home, job_id, 0).load(place.base_sha256)
    assert state is not None
    assert highest <= state.step < 300
    other = place.submit(place.upload(chats(12)), brand="other", n_epochs=1)
    until(lambda: place.job(other).status == jobs.SUCCEEDED)
    with place.database.write() as session:
        jobs.resume(session, "acme", job_id)
    until(lambda: place.job(job_id).status == jobs.SUCCEEDED)
    assert f"Fine-tuning job taken up again after step {state.step}" in place.messages(job_id)
    steps = [line.split(",")[0] for line in place.content(place.job(job_id).result_files[0]).splitlines()]
    assert steps[1:] == [str(step) for step in range(1, 301)]
    assert place.job(job_id).attempts == 1


def test_a_worker_that_is_asked_to_stop_leaves_its_job_to_the_next_at_once(place: Place) -> None:
    job_id = place.submit(place.upload(chats(20)), **LONG)
    first = place.worker()
    until(lambda: has_checkpoint(place, job_id))
    first.send_signal(signal.SIGTERM)
    assert first.wait(30) == 0
    assert trainers_of(job_id) == []
    job = place.job(job_id)
    assert (job.status, job.lease_until, job.lease_owner) == (jobs.RUNNING, None, None)
    state = Folder(place.settings.home, job_id, 0).load(place.base_sha256)
    assert state is not None
    assert state.step >= steps_told(place, job_id)[-1], "its last step is on disk"
    assert job.attempts == 0, "stopping is not the job's fault"


def test_a_job_that_crashes_is_tried_again_after_a_while_and_then_given_up(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["false"], start_new_session=True)

    monkeypatch.setattr(worker, "start", crash)
    monkeypatch.setattr(worker, "BACK_OFF_SECONDS", 60.0)
    job_id = place.submit(place.upload(chats(12)))
    one = Worker(place.settings.model_copy(update={"job_attempts": 2}), place.database)
    assert one.work_once()
    assert "Attempt 1 of 2 stopped unexpectedly (exit status 1); trying again in 60 s." in place.messages(
        job_id
    )
    assert not one.work_once(), "not before the back-off is over"
    with place.database.write() as session:
        session.execute(update(Job).values(lease_until=Job.lease_until - 60))
    assert one.work_once()
    job = place.job(job_id)
    assert job.status == jobs.FAILED
    assert job.error is not None
    assert job.error["code"] == "server_error"
    assert "2 times (last: exit status 1)" in job.error["message"]


@pytest.mark.parametrize(("status", "left"), [(jobs.FAILED, [scratch.LOG]), (jobs.SUCCEEDED, None)])
def test_of_an_ended_job_only_the_log_of_a_failure_stays(
    place: Place, status: str, left: list[str] | None
) -> None:
    ended, running, unknown = place.submit("file-1"), place.submit("file-1"), "ftjob-of-another-database"
    folders = [scratch.folder(place.settings.home, one) for one in (ended, running, unknown)]
    for folder in folders:
        (folder / "draft-1-10").mkdir(parents=True)
        (folder / scratch.LOG).write_text("Traceback")
        (folder / "state.pt").touch()
    with place.database.write() as session:
        jobs.held(session, jobs.Lease(ended, 0), status=status)
    with place.database.read() as session:
        scratch.sweep(session, place.settings.home)
    assert (sorted(path.name for path in folders[0].iterdir()) if folders[0].exists() else None) == left
    assert all(len(list(folder.iterdir())) == 3 for folder in folders[1:])


def test_a_job_that_takes_its_workers_with_it_is_given_up(place: Place) -> None:
    job_id = place.submit(place.upload(chats(12)))
    settings = place.settings.model_copy(update={"job_attempts": 2})
    for _ in range(2):
        place.claim(seconds=0.0)
    assert Worker(settings, place.database).work_once()
    assert place.job(job_id).status == jobs.FAILED


def test_a_job_whose_worker_died_on_this_machine_need_not_wait_for_the_lease(place: Place) -> None:
    job_id = place.submit(place.upload(b"no\n"))
    gone = subprocess.Popen(["sleep", "60"])
    with place.database.write() as session:
        assert jobs.claim(session, owner.name_of(gone.pid), 3600)
    one = Worker(place.settings, place.database)
    assert not one.work_once(), "as long as it lives the job is its own"
    gone.kill()
    gone.wait()
    assert one.work_once()
    assert place.job(job_id).status == jobs.FAILED


@pytest.mark.parametrize("name", ["", "test", "elsewhere:1:1", f"{owner.name_of(1).split(':')[0]}:x"])
def test_of_other_machines_workers_nothing_is_known(name: str) -> None:
    assert not owner.is_dead(name)


def test_a_later_process_with_the_same_number_is_another_worker() -> None:
    machine, pid, started = owner.name_of(os.getpid()).split(":")
    assert not owner.is_dead(f"{machine}:{pid}:{started}")
    assert owner.is_dead(f"{machine}:{pid}:{int(started) - 1}")


def test_a_worker_without_a_job_does_nothing(place: Place) -> None:
    assert not Worker(place.settings, place.database).work_once()


def test_a_worker_stays_small(place: Place) -> None:
    """It must import neither torch nor transformers: it sleeps beside the server all day."""
    code = "import sys, training.worker; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
