"""What a running job writes counts for the attempts that follow."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import text

from adapters import proving, rollout
from adapters.proof import Verdict
from records import jobs
from records.audit import By
from records.models import Audit
from tests.training.place import Place, chats
from training.checkpoint import Saved
from training.failure import JobFailed
from training.journal import Journal


def saved(job_id: str, step: int) -> Saved:
    manifest = {
        "base": "small", "base_config_sha256": "a", "base_weights_sha256": "b", "template_sha256": "c",
        "rank": 8, "alpha": 16, "target_modules": ["q_proj"], "job_id": job_id, "step": step, "seed": 1,
        "training_sha256": "d", "validation_sha256": None, "hyperparameters": {}, "metrics": {},
        "code_version": "0",
    }  # fmt: skip
    return Saved(step, f"{step:08}".ljust(64, "0"), manifest, {"step": step, "train_loss": 1.0})


def test_only_a_new_checkpoint_lets_attempts_count_again(place: Place) -> None:
    job_id = place.submit(place.upload(chats(12)))
    for _ in range(3):
        lease = place.claim(seconds=0.0)
        Journal(place.database, lease).checkpoint(saved(job_id, 5))
    assert place.job(job_id).attempts == 3, "1, kept by the first, and two that only took it up again"
    Journal(place.database, lease).checkpoint(saved(job_id, 10))
    assert place.job(job_id).attempts == 1
    assert [row.step for row in place.checkpoints(job_id)] == [5, 10]


def test_a_file_that_expires_while_its_job_waits_is_still_read(place: Place) -> None:
    file_id = place.upload(chats(12))
    job_id = place.submit(file_id)
    with place.database.write() as session:
        session.execute(text("UPDATE files SET expires_at = 1"))
    assert Journal(place.database, place.claim()).blob(file_id, "training_file")
    assert place.job(job_id).status == jobs.VALIDATING


def test_a_version_whose_name_other_content_has_ends_the_job_with_what_to_do(place: Place) -> None:
    def twin(job_id: str, digit: str) -> Saved:
        return replace(saved(job_id, 5), sha256="00000005".ljust(64, digit))

    first = place.submit(place.upload(chats(12)))
    journal = Journal(place.database, place.claim())
    journal.succeed(twin(first, "a"), b"step\n", place.settings.home, 12)
    second = place.submit(place.upload(chats(12)))
    journal = Journal(place.database, place.claim())
    journal.checkpoint(twin(second, "b"))  # its name ends in its step: it is another one
    with pytest.raises(JobFailed, match="another seed") as caught:
        journal.succeed(twin(second, "b"), b"step\n", place.settings.home, 12)
    assert caught.value.code == "name_taken"
    assert place.job(second).fine_tuned_model is None


def finish(place: Place, step: int) -> tuple[str, str]:
    """A job brought to its end without training; its id and its version's name."""
    job_id = place.submit(place.upload(chats(12)))
    journal = Journal(place.database, place.claim())
    return job_id, journal.succeed(saved(job_id, step), b"step\n", place.settings.home, 12)


def prove(place: Place, name: str) -> None:
    with place.database.write() as session:
        assert proving.settle(session, name, Verdict(None, {"tokens": 1}), By("server"))


def test_a_finished_jobs_version_goes_live_once_it_is_proven_and_the_audit_names_the_job(
    place: Place,
) -> None:
    _, first = finish(place, 5)
    prove(place, first)
    job_id, second = finish(place, 6)
    with place.database.read() as session:
        row = rollout.find(session, "acme", "luxe", "small")
        newest = session.query(Audit).order_by(Audit.seq.desc()).first()
    assert row is not None
    assert newest is not None
    assert (row.live, row.pending) == (first, second)
    assert (newest.action, newest.actor) == ("arrived", f"job:{job_id}")


def test_a_version_for_a_paused_brand_waits_and_the_job_says_so(place: Place) -> None:
    _, first = finish(place, 5)
    prove(place, first)
    with place.database.write() as session:
        row = rollout.find(session, "acme", "luxe", "small")
        assert row is not None
        rollout.pause(session, row, By("cli"))
    job_id, second = finish(place, 6)
    with place.database.read() as session:
        row = rollout.find(session, "acme", "luxe", "small")
    assert row is not None
    assert (row.live, row.candidate) == (first, second)
    assert place.messages(job_id)[-2:] == [
        "Brand 'luxe' is paused: promote the model to use it.",
        "The job has successfully completed",
    ]


def test_a_brandless_jobs_version_is_in_no_rollout(place: Place) -> None:
    job_id = place.submit(place.upload(chats(12)), brand="")
    journal = Journal(place.database, place.claim())
    assert "::" in journal.succeed(saved(job_id, 5), b"step\n", place.settings.home, 12)
    with place.database.read() as session:
        assert session.query(Audit).count() == 0
