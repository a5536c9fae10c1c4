"""TensorBoard's files hold each step of a job once, whatever became of it, and can never end it."""

from __future__ import annotations

import csv
import errno
import io
from pathlib import Path
from typing import Any

import pytest
from tensorboardX.record_writer import RecordWriter

from records import jobs
from records.jobs import LeaseLost
from tests.training import logs
from tests.training.breaks import At, break_off, change, killed
from tests.training.logs import Steps
from tests.training.place import Place, chats, pairs
from training import bounds, progress, tensorboard

SHORT: dict[str, Any] = {"n_epochs": 3, "batch_size": 4}  # of 20 examples: an epoch is five steps


def folder(place: Place, job_id: str, brand: str = "luxe") -> Path:
    return place.settings.home / "tensorboard" / "acme" / brand / job_id


def shown(place: Place, job_id: str) -> Steps:
    """Without what no two attempts share."""
    found = logs.tensorboard(folder(place, job_id))
    for figures in found.values():
        assert figures.pop("tokens_per_second") > 0
    return found


def warnings(place: Place, job_id: str) -> list[str]:
    return [
        event.message
        for event in place.events(job_id)
        if event.level == "warn" and "left out" in event.message
    ]


def test_every_step_is_shown_by_openais_names_as_the_results_file_has_it(place: Place) -> None:
    job_id = place.submit(place.upload(chats(20)), place.upload(chats(4)), **SHORT)
    place.work()
    found = shown(place, job_id)
    rows = list(csv.DictReader(io.StringIO(place.content(place.job(job_id).result_files[0]))))
    assert list(found) == [int(row["step"]) for row in rows] == list(range(1, 16))
    for row in rows:
        figures = found[int(row.pop("step"))]
        assert figures.pop("learning_rate") > 0
        named = {name.replace("/", "_"): value for name, value in figures.items()}
        assert named == {name: pytest.approx(float(value)) for name, value in row.items() if value}
    assert set(found[5]) == {
        f"{split}/{figure}"
        for split in ("train", "valid", "full_valid")
        for figure in ("loss", "mean_token_accuracy")
    }


def test_a_pairs_job_shows_its_rewards(place: Place) -> None:
    job_id = place.submit(place.upload(pairs(12)), method="dpo", brand="", n_epochs=1, batch_size=4)
    place.work()
    found = logs.tensorboard(folder(place, job_id, brand=""))
    assert {"train/reward_accuracy", "train/reward_margin"} < set(found[1])


def test_what_is_shown_of_a_job_that_was_killed_and_paused_is_what_it_would_be_without(
    place: Place, monkeypatch: pytest.MonkeyPatch, at: At
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN", 0.0)
    training = place.upload(chats(20))
    whole, broken = place.submit(training, **SHORT), place.submit(training, **SHORT)
    place.work()
    at(3, killed)  # before there is any state
    break_off(place, broken, MemoryError)
    at(9, killed)
    break_off(place, broken, MemoryError)
    assert list(shown(place, broken)) == list(range(1, 9)), "three more than its state has"
    monkeypatch.setattr(bounds.Clock, "is_due", lambda _: True)
    at(11, lambda _: change(place, jobs.pause, broken))
    break_off(place, broken, LeaseLost)
    change(place, jobs.resume, broken)
    assert list(shown(place, broken)) == list(range(1, 12))
    at(13, killed)
    break_off(place, broken, MemoryError)
    place.work()
    assert shown(place, broken) == shown(place, whole)


def test_what_a_kill_has_cut_off_is_whole_again_with_the_next_attempt(place: Place, at: At) -> None:
    job_id = place.submit(place.upload(chats(20)), **SHORT)
    at(12, killed)
    break_off(place, job_id, MemoryError)
    (path,) = folder(place, job_id).iterdir()
    path.write_bytes(path.read_bytes()[:700])
    place.work()
    assert list(shown(place, job_id)) == list(range(1, 16))


def test_a_log_that_cannot_be_made_is_said_once_and_the_job_succeeds(place: Place, at: At) -> None:
    (place.settings.home / "tensorboard").write_text("in the way")
    job_id = place.submit(place.upload(chats(20)), **SHORT)
    at(7, killed)
    break_off(place, job_id, MemoryError)
    place.work()
    assert place.job(job_id).status == jobs.SUCCEEDED
    assert warnings(place, job_id) == [
        "TensorBoard is left out from here on (Not a directory); training goes on"
    ]


@pytest.mark.parametrize("when", [1, 4, 15])
def test_a_disk_that_is_full_for_the_log_is_said_once_and_the_job_succeeds(
    place: Place, monkeypatch: pytest.MonkeyPatch, when: int
) -> None:
    monkeypatch.setattr(tensorboard, "FLUSH_SECONDS", 0.0)
    flushes = iter(range(100))
    flush = RecordWriter.flush

    def full(self: RecordWriter) -> None:
        if next(flushes) >= when:
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(self)

    monkeypatch.setattr(RecordWriter, "flush", full)
    job_id = place.submit(place.upload(chats(20)), **SHORT)
    place.work()
    assert place.job(job_id).status == jobs.SUCCEEDED
    assert warnings(place, job_id) == [
        "TensorBoard is left out from here on (No space left on device); training goes on"
    ]
    assert next(flushes) == when + 1, "it is not tried again"
