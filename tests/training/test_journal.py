"""What a running job writes counts for the attempts that follow."""

from __future__ import annotations

from sqlalchemy import text

from records import jobs
from tests.training.place import Place, chats
from training.checkpoint import Saved
from training.journal import Journal


def saved(job_id: str, step: int) -> Saved:
    manifest = {
        "base": "small", "base_config_sha256": "a", "base_weights_sha256": "b", "template_sha256": "c",
        "rank": 8, "alpha": 16, "target_modules": ["q_proj"], "job_id": job_id, "step": step, "seed": 1,
        "training_sha256": "d", "validation_sha256": None, "hyperparameters": {}, "metrics": {},
        "code_version": "0",
    }  # fmt: skip
    return Saved(step, f"{step:064}", manifest, {"step": step, "train_loss": 1.0})


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
