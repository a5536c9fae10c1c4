"""A job that is broken off, however and how often, ends as one that never was: to the last bit."""

from __future__ import annotations

import os
import random
import signal
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from adapters import publish
from adapters.manifest import WEIGHTS
from records import jobs
from records.jobs import LeaseLost
from tests.training.breaks import At, break_off, change, killed
from tests.training.place import Place, chats
from training import adapter, auto, bounds, progress
from training.attempt import Attempt
from training.checkpoint import Folder, State

SHORT: dict[str, Any] = {"n_epochs": 3, "batch_size": 4}  # of 20 examples: an epoch is five steps


@dataclass
class Outcome:
    """All that a job leaves but its names and times."""

    results: str
    weights: bytes
    tokens: int | None
    checkpoints: list[tuple[int, dict[str, Any]]]


def outcome(place: Place, job_id: str) -> Outcome:
    job = place.job(job_id)
    assert job.status == jobs.SUCCEEDED, job.error
    (version,) = place.versions(job_id, final=True)
    weights = publish.folder(place.settings.home, version.sha256) / WEIGHTS
    points = [(row.step, row.metrics) for row in place.checkpoints(job_id)]
    return Outcome(place.content(job.result_files[0]), weights.read_bytes(), job.trained_tokens, points)


def told(place: Place, job_id: str) -> list[int]:
    return [event.data["step"] for event in place.events(job_id) if event.type == "metrics" and event.data]


def state(place: Place, job_id: str) -> State | None:
    return Folder(place.settings.home, job_id, 0).load(place.base_sha256)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bf16"])
@pytest.mark.parametrize("validation", [True, False], ids=["own validation file", "held out by auto"])
def test_kills_at_random_steps_change_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch, at: At, validation: bool, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(adapter, "dtype_for", lambda *_: dtype)
    monkeypatch.setattr(auto, "STEPS_WANTED", 50)
    dice = random.Random(20261123 + validation)
    files = (place.upload(chats(48)), place.upload(chats(4)) if validation else None)
    whole, broken = place.submit(*files), place.submit(*files)
    place.work()
    last = len(outcome(place, whole).results.splitlines()) - 1
    monkeypatch.setattr(bounds.Clock, "is_due", lambda _: dice.random() < 0.3)
    for step in sorted(dice.sample(range(1, last + 1), 4)):
        at(step, killed)
        break_off(place, broken, MemoryError)
    place.work()
    assert outcome(place, broken) == outcome(place, whole)
    steps = told(place, broken)
    assert steps == sorted(set(steps)), "no step is told twice"
    assert {1, last, *(row.step for row in place.checkpoints(broken))} <= set(steps), "none is lost"
    messages = place.messages(broken)
    assert sum(message.startswith("Fine-tuning job taken up again") for message in messages) >= 2
    for once in ("Files validated, moving job to queued state", "The job has successfully completed"):
        assert messages.count(once) == 1


def test_a_job_that_is_paused_goes_on_from_that_step_and_owes_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch, at: At
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN", 0.0)  # each step is told, so each finds out
    training = place.upload(chats(20))
    whole, paused = place.submit(training, **SHORT), place.submit(training, **SHORT)
    place.work()
    for step in (7, 10, 13, 15):  # 10 and 15 end an epoch
        at(step, lambda _: change(place, jobs.pause, paused))
        break_off(place, paused, LeaseLost)
        assert place.job(paused).status == jobs.PAUSED
        found = state(place, paused)
        assert found is not None
        assert found.step == step
        change(place, jobs.resume, paused)
    place.work()
    assert outcome(place, paused) == outcome(place, whole)
    again = [event for event in place.events(paused) if "taken up again" in event.message]
    assert [event.message.split()[-1] for event in again] == ["7", "10", "13", "15"]
    assert {event.level for event in again} == {"info"}, "nothing went wrong"
    assert told(place, paused) == list(range(1, 16))


def test_a_process_that_is_asked_to_stop_keeps_its_last_step(place: Place, at: At) -> None:
    training = place.upload(chats(20))
    whole, stopped = place.submit(training, **SHORT), place.submit(training, **SHORT)
    place.work()
    before = signal.getsignal(signal.SIGTERM)
    at(8, lambda _: os.kill(os.getpid(), signal.SIGTERM))
    leaving = break_off(place, stopped, SystemExit)
    assert isinstance(leaving, SystemExit)
    assert leaving.code == 143
    assert signal.getsignal(signal.SIGTERM) == before
    place.work()
    assert "Fine-tuning job taken up again after step 8" in place.messages(stopped)
    assert outcome(place, stopped) == outcome(place, whole)


def test_a_cancelled_job_and_one_that_another_has_write_no_state(
    place: Place, monkeypatch: pytest.MonkeyPatch, at: At
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN", 0.0)
    training = place.upload(chats(20))
    cancelled, taken = place.submit(training, **SHORT), place.submit(training, **SHORT)
    at(7, lambda _: change(place, jobs.cancel, cancelled))
    break_off(place, cancelled, LeaseLost)

    def take(_: Attempt) -> None:
        with place.database.write() as session:
            jobs.let_go(session, taken, "test")
            assert jobs.claim(session, "another", 60.0)

    at(7, take)
    break_off(place, taken, LeaseLost)
    for job_id in (cancelled, taken):
        found = state(place, job_id)
        assert found is not None
        assert found.step == 5, "its last checkpoint's"


def test_early_stop_and_the_best_checkpoint_survive_a_kill(place: Place, at: At) -> None:
    """Held-out answers that say otherwise: their loss rises while the training's falls."""
    others = [
        {
            "messages": [
                one["messages"][0],
                {"role": "assistant", "content": f"Most gladly: order {k} was lost, my dear."},
            ]
        }
        for k, one in enumerate(chats(8))
    ]
    files = (place.upload(chats(40)), place.upload(others))
    whole, broken = place.submit(*files), place.submit(*files)
    place.work()
    points = place.checkpoints(whole)
    losses = [row.metrics["full_valid_loss"] for row in points]
    best, last = points[auto.best(losses)].step, points[-1].step
    assert best < last < 200, f"it stops early, and not at the best: {losses}"
    said = [
        f"The held-out loss no longer fell, so training ended at step {last}",
        f"Publishing the checkpoint of step {best}: it is best on what is held out",
    ]
    for step in (best + 1, last):
        at(step, killed)
        break_off(place, broken, MemoryError)
    place.work()
    assert outcome(place, broken) == outcome(place, whole)
    for job_id in (whole, broken):
        assert [message for message in place.messages(job_id) if message in said] == said
        (version,) = place.versions(job_id, final=True)
        assert version.manifest["step"] == best


def test_what_a_kill_left_half_written_goes_with_the_next_attempt(place: Place, at: At) -> None:
    job_id = place.submit(place.upload(chats(20)), **SHORT)
    at(7, killed)
    break_off(place, job_id, MemoryError)
    scratch = Folder(place.settings.home, job_id, 0).path
    (scratch / "draft-1-10").mkdir()
    (scratch / "draft-1-10" / WEIGHTS).write_text("half")
    (scratch / "state-1.new").write_text("half")
    at(8, killed)
    break_off(place, job_id, MemoryError)
    assert [path.name for path in scratch.iterdir()] == ["state.pt"]
