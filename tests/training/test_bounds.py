"""What a job may take: its time ends with the best there is; what does not fit is refused with figures."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from adapters import publish, room
from adapters.room import Need
from records import jobs
from records.settings import Settings
from tests.training.place import Place, chats
from training import bounds
from training.attempt import Attempt
from training.bounds import Clock
from training.checkpoint import Folder, State
from training.loop import Step

HOUR = 3600.0


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock of one's own: its only element is the time."""
    seconds = [1000.0]
    monkeypatch.setattr(bounds.time, "monotonic", lambda: seconds[0])
    return seconds


def test_the_time_of_all_attempts_counts(now: list[float]) -> None:
    clock = Clock(Settings(job_max_seconds=100), before=70.0)
    now[0] += 29
    assert (clock.seconds, clock.is_over()) == (99.0, False)
    now[0] += 1
    assert clock.is_over()
    assert not Clock(Settings(), before=1e9).is_over(), "no bound unless one is set"


def test_states_between_checkpoints_take_a_fiftieth_of_the_time_at_most(now: list[float]) -> None:
    clock = Clock(Settings(job_state_seconds=60), before=0.0)
    now[0] += 59
    assert not clock.is_due()
    now[0] += 1
    assert clock.is_due()
    with clock.keeping():
        now[0] += 3
    now[0] += 149
    assert not clock.is_due()
    now[0] += 1
    assert clock.is_due()


def end_at(monkeypatch: pytest.MonkeyPatch, when: int) -> None:
    count = Attempt.count

    def count_and_wait(self: Attempt, step: Step) -> None:
        count(self, step)
        if step.step == when:
            self.clock.began -= HOUR

    monkeypatch.setattr(Attempt, "count", count_and_wait)


def bounded(place: Place, **settings: object) -> None:
    place.settings = place.settings.model_copy(update=settings)


def test_a_job_whose_time_is_over_publishes_its_best_checkpoint(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounded(place, job_max_seconds=HOUR)
    end_at(monkeypatch, 12)
    job_id = place.submit(place.upload(chats(20)), n_epochs=3, batch_size=4)
    place.work()
    job = place.job(job_id)
    assert job.status == jobs.SUCCEEDED
    (version,) = place.versions(job_id, final=True)
    assert version.manifest["step"] == 10
    assert place.messages(job_id)[-5:-3] == [
        "The job's time is over, so training ended at step 12",
        "Publishing the checkpoint of step 10, the last one",
    ]
    assert len(place.content(job.result_files[0]).splitlines()) == 1 + 12


def test_a_job_whose_time_is_over_before_its_first_checkpoint_says_what_to_change(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounded(place, job_max_seconds=HOUR)
    end_at(monkeypatch, 3)
    job_id = place.submit(place.upload(chats(20)), n_epochs=3, batch_size=4)
    place.work()
    error = place.job(job_id).error
    assert error is not None
    assert (error["code"], error["param"]) == ("time_limit_reached", "training_file")
    for figure in ("3600 s", "at step 3", "at step 5", "job_max_seconds"):
        assert figure in error["message"]
    assert place.versions(job_id, final=True) == []


def test_a_job_that_the_disk_has_no_room_for_is_refused_with_figures(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: SimpleNamespace(free=100_000))
    job_id = place.submit(place.upload(chats(20)), n_epochs=3)
    place.work()
    error = place.job(job_id).error
    assert error is not None
    assert (error["code"], error["param"]) == ("not_enough_disk", "hyperparameters")
    assert "3 checkpoints of 0." in error["message"]
    assert "0.1 MB are free" in error["message"]
    assert not (place.settings.home / "adapters").exists()


def test_a_job_that_would_write_more_than_it_may_is_refused_with_figures(place: Place) -> None:
    bounded(place, job_max_bytes=200_000)
    job_id = place.submit(place.upload(chats(20)), n_epochs=3)
    place.work()
    error = place.job(job_id).error
    assert error is not None
    assert error["code"] == "job_too_large"
    assert "a job may write 0.2 MB here. Lower n_epochs" in error["message"]


def test_a_job_writes_no_more_than_was_foreseen(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    needs, states = [], []
    save, of = Folder.save, Need.of

    def remember(epochs: int, parameters: int) -> Need:
        needs.append(of(epochs, parameters))
        return needs[-1]

    def measure(self: Folder, state: State) -> None:
        save(self, state)
        states.append(self.file.stat().st_size)

    monkeypatch.setattr(Need, "of", remember)
    monkeypatch.setattr(Folder, "save", measure)
    job_id = place.submit(place.upload(chats(20)), place.upload(chats(4)), n_epochs=3, batch_size=4)
    place.work()
    (need,) = needs
    assert need.state / 2 < max(states) <= need.state
    for version in place.versions(job_id, final=False):
        folder = publish.folder(place.settings.home, version.sha256)
        size = sum(path.stat().st_size for path in folder.iterdir())
        assert need.version / 4 < size <= need.version
