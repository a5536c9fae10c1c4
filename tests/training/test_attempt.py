"""A job's life as its rows show it: each attempt here runs in this process, so that it is quick."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import text

from adapters import publish
from adapters.manifest import Manifest
from adapters.refused import Refused
from records import jobs
from records.jobs import LeaseLost
from tests.adapters.spoil import each
from tests.training.place import Place, chat, chats
from training import adapter, attempt, auto
from training.journal import Journal
from training.progress import COLUMNS, Progress
from training.trackers import Trackers


def break_off(place: Place, monkeypatch: pytest.MonkeyPatch, at_step: int) -> None:
    """An attempt at the oldest job that crashes at that step."""

    def count(self: attempt.Attempt, step: attempt.loop.Step) -> None:
        if step.step == at_step:
            raise MemoryError
        whole(self, step)

    whole = attempt.Attempt.count
    with monkeypatch.context() as patched:
        patched.setattr(attempt.Attempt, "count", count)
        lease = place.claim(seconds=0.01)
        with pytest.raises(MemoryError):
            attempt.run(place.settings, lease)
    time.sleep(0.02)


def test_a_job_becomes_a_version(place: Place) -> None:
    job_id = place.submit(place.upload(chats(20)), n_epochs=2, batch_size=4)
    place.work()
    job = place.job(job_id)
    (version,) = place.versions(job_id, final=True)
    assert job.status == jobs.SUCCEEDED
    assert job.error is None
    assert job.finished_at is not None
    assert job.fine_tuned_model == version.name == f"ft:small:acme:luxe:{version.sha256[:8]}"
    assert job.hyperparameters == {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 1.0}
    assert job.trained_tokens
    took = r"Training took \d+\.\d s and ([\d,]+ tokens in 10)"
    messages = [
        re.sub(rf"{took} steps; quoted were \d+\.\d s and \1", "took", one) for one in place.messages(job_id)
    ]
    assert messages == [
        f"Created fine-tuning job: {job_id}",
        f"Validating training file: {job.training_file}",
        "Data check: too few. 20 different examples: put them into the prompt (few-shot prompting), and "
        "fine-tune from 50 on.",
        "Files validated, moving job to queued state",
        f"20 examples to train on ({job.trained_tokens // 2} tokens an epoch), 0 held out",
        "Fine-tuning job started",
        "Checkpoint created at step 5",
        "Checkpoint created at step 10",
        "took",
        f"New fine-tuned model created: {version.name}",
        "The job has successfully completed",
    ]
    folder = publish.folder(place.settings.home, version.sha256)
    assert Manifest.model_validate_json((folder / "manifest.json").read_text()) == Manifest.model_validate(
        version.manifest
    )


def test_each_epoch_leaves_a_checkpoint_that_is_a_version(place: Place) -> None:
    job_id = place.submit(place.upload(chats(20)), n_epochs=3, batch_size=4)
    place.work()
    rows, versions = place.checkpoints(job_id), place.versions(job_id, final=False)
    assert [row.step for row in rows] == [5, 10, 15]
    assert [row.version for row in rows] == [version.name for version in versions]
    assert all(version.name.endswith(f":ckpt-step-{version.step}") for version in versions)
    assert len({version.sha256 for version in versions}) == 3
    assert place.versions(job_id, final=True)[0].sha256 == versions[-1].sha256


def test_metrics_events_carry_openais_names_and_the_pace(place: Place) -> None:
    job_id = place.submit(place.upload(chats(20)), place.upload(chats(4)), n_epochs=2, batch_size=4)
    place.work()
    told = [event for event in place.events(job_id) if event.type == "metrics"]
    assert told[0].message.startswith("Step 1/10: training loss=")
    assert [event.data["step"] for event in told if event.data][-1] == 10
    last = told[-1].data
    assert last is not None
    more = {"total_steps", "epoch", "learning_rate", "tokens_per_second", "peak_memory_bytes"}
    assert set(last) == {*COLUMNS, *more}
    assert last["tokens_per_second"] > 0
    assert last["peak_memory_bytes"] > 1e8


def test_the_results_file_has_a_line_for_each_step(place: Place) -> None:
    job_id = place.submit(place.upload(chats(20)), place.upload(chats(4)), n_epochs=2, batch_size=4)
    place.work()
    (file_id,) = place.job(job_id).result_files
    rows = list(csv.DictReader(io.StringIO(place.content(file_id))))
    assert tuple(rows[0]) == COLUMNS
    assert [row["step"] for row in rows] == [str(step) for step in range(1, 11)]
    assert all(float(row["train_loss"]) > 0 for row in rows)
    assert [bool(row["full_valid_loss"]) for row in rows] == [step % 5 == 0 for step in range(1, 11)]


def test_a_bad_line_ends_the_job_with_an_event_that_names_it(place: Place) -> None:
    content = "".join(json.dumps(c) + "\n" for c in chats(12)).encode() + b'{"messages": []}\n'
    job_id = place.submit(place.upload(content))
    place.work()
    job = place.job(job_id)
    assert job.status == jobs.FAILED
    assert job.error is not None
    assert (job.error["code"], job.error["param"]) == ("invalid_training_file", "training_file")
    assert "Line 13" in job.error["message"]
    last = place.events(job_id)[-1]
    assert (last.level, "Line 13" in last.message) == ("error", True)
    assert place.versions(job_id, final=True) == []


def test_a_bad_validation_file_is_blamed_by_name(place: Place) -> None:
    job_id = place.submit(place.upload(chats(12)), place.upload(b"no\n"))
    place.work()
    error = place.job(job_id).error
    assert error is not None
    assert (error["code"], error["param"]) == ("invalid_validation_file", "validation_file")


def test_a_file_that_is_gone_ends_the_job(place: Place) -> None:
    job_id = place.submit("file-gone")
    place.work()
    error = place.job(job_id).error
    assert error is not None
    assert (error["code"], error["param"]) == ("file_not_found", "training_file")


def test_examples_that_were_cut_are_reported(place: Place) -> None:
    job_id = place.submit(place.upload([*chats(12), chat("Hm?", "word " * 1500)]), n_epochs=1)
    place.work()
    (told,) = [event for event in place.events(job_id) if "were cut at the end" in event.message]
    assert told.level == "warn"
    assert "1 examples of" in told.message
    assert re.search(r"longer than 512 tokens \(longest: \d{4}\) and were cut at the end", told.message)
    assert place.job(job_id).status == jobs.SUCCEEDED


def test_a_loss_that_is_no_number_ends_the_job(place: Place) -> None:
    job_id = place.submit(place.upload(chats(12)), n_epochs=30, learning_rate_multiplier=1e30)
    place.work()
    error = place.job(job_id).error
    assert error is not None
    assert error["code"] == "training_diverged"
    assert "lower learning_rate_multiplier" in error["message"]


def test_what_was_trained_passes_the_admission_check_before_it_is_published(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = adapter.save

    def save_without_effect(model: Any, folder: Path, base_slug: str) -> None:
        save(model, folder, base_slug)
        each(torch.zeros_like, "lora_B")(folder)

    monkeypatch.setattr(adapter, "save", save_without_effect)
    job_id = place.submit(place.upload(chats(12)), n_epochs=1)
    place.work()
    error = place.job(job_id).error
    assert error is not None
    assert error["code"] == "no_effect"
    assert "zero in every layer; train it for more steps" in error["message"]
    assert place.checkpoints(job_id) == []
    assert not (place.settings.home / "adapters").exists()


def test_a_disk_that_fails_in_the_check_is_worth_another_attempt(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("adapters.values.measure", broken)
    job_id = place.submit(place.upload(chats(12)), n_epochs=1)
    with pytest.raises(Refused, match="cannot be read"):
        place.work()
    assert place.job(job_id).status == jobs.RUNNING


@pytest.mark.parametrize("held_out", [True, False])
def test_an_update_that_ruins_the_adapter_is_not_published(place: Place, held_out: bool) -> None:
    validation = place.upload(chats(4)) if held_out else None
    job_id = place.submit(
        place.upload(chats(16)), validation, n_epochs=1, batch_size=16, learning_rate_multiplier=1e30
    )
    place.work()
    error = place.job(job_id).error
    assert error is not None
    assert (error["code"], error["param"]) == ("training_diverged", "hyperparameters")
    assert place.checkpoints(job_id) == []
    told = [event.data for event in place.events(job_id) if event.data]
    assert "NaN" not in json.dumps(told)


def test_auto_holds_examples_back_and_stops_when_their_loss_rises(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto, "stopped_falling", lambda losses: len(losses) == 2)
    job_id = place.submit(place.upload(chats(48)))
    place.work()
    assert [row.step for row in place.checkpoints(job_id)] == [10, 20]
    messages = place.messages(job_id)
    assert "The held-out loss no longer fell, so training ended at step 20" in messages
    assert any("40 examples to train on" in message and "8 held out" in message for message in messages)


def test_an_attempt_that_broke_off_is_taken_up_from_its_last_checkpoint(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    training, request = place.upload(chats(20)), {"n_epochs": 3, "batch_size": 4}
    whole = place.submit(training, **request)
    place.work()
    broken = place.submit(training, **request)
    break_off(place, monkeypatch, at_step=12)
    place.work()

    assert "Fine-tuning job taken up again after step 10" in place.messages(broken)
    assert place.job(broken).status == jobs.SUCCEEDED
    assert [row.step for row in place.checkpoints(broken)] == [5, 10, 15]
    for step, other in zip(place.checkpoints(broken), place.checkpoints(whole), strict=True):
        assert step.metrics == other.metrics, "the same seed takes the same course"
    told = [event.data["step"] for event in place.events(broken) if event.type == "metrics" and event.data]
    assert told == sorted(set(told)), "no step is told twice"
    results = [place.content(place.job(one).result_files[0]) for one in (whole, broken)]
    assert results[0] == results[1]


def test_a_worker_that_lost_its_lease_publishes_nothing(place: Place) -> None:
    job_id = place.submit(place.upload(chats(20)), n_epochs=1, batch_size=4)
    stale = place.claim(seconds=0.0)
    prepared = attempt.prepare(place.settings, journal := Journal(place.database, stale))
    prepared.begin()
    prepared.train(Progress(journal, Trackers(journal, prepared.plan, prepared.state, {})))
    place.claim(seconds=60.0)
    with pytest.raises(LeaseLost):
        prepared.publish()
    assert place.versions(job_id, final=True) == []
    assert place.job(job_id).result_files == []
    assert place.job(job_id).status == jobs.RUNNING


def test_a_job_for_another_base_is_refused(place: Place) -> None:
    job_id = place.submit(place.upload(chats(12)))
    with place.database.write() as session:
        session.execute(text("UPDATE jobs SET model = 'gpt-4o-mini'"))
    place.work()
    error = place.job(job_id).error
    assert error is not None
    assert (error["code"], error["param"]) == ("model_not_found", "model")
