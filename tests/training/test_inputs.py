"""What a job says of its data before it trains."""

from __future__ import annotations

import pytest

from adapters import base as bases
from records import jobs
from records.models import Event
from records.reports import Reports
from tests.training.doctor.test_examine import ailing
from tests.training.place import Place, chats
from training import inputs


def diagnosis(place: Place, job_id: str) -> Event:
    (found,) = (event for event in place.events(job_id) if event.message.startswith("Data check:"))
    return found


def test_a_job_warns_of_what_ails_its_data_and_keeps_the_report(place: Place) -> None:
    train, valid = ailing("clinic")
    uploaded = place.upload(train), place.upload(valid)
    job_id = place.submit(*uploaded, n_epochs=1, batch_size=64)
    place.work()
    event = diagnosis(place, job_id)
    assert event.level == "warn"
    assert event.data is not None
    assert event.data["verdict"] == "contradictory"
    assert {"contradiction", "duplicate", "validation_leak"} <= event.data["findings"].keys()
    assert "contradict each other" in event.message
    (version,) = place.versions(job_id, final=True)
    base = bases.resolve(place.settings.base, place.settings.home)
    shas = version.manifest["training_sha256"], version.manifest["validation_sha256"]
    assert Reports(place.settings.home).path(shas[0], base.reads_as, shas[1]).is_file()


def test_a_doctor_that_fails_ends_no_job(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the doctor is ill")

    monkeypatch.setattr(inputs, "report_of", fail)
    job_id = place.submit(place.upload(chats(20)), n_epochs=1, batch_size=4)
    place.work()
    assert place.job(job_id).status == jobs.SUCCEEDED
    assert any("goes on without a data report" in message for message in place.messages(job_id))
    assert not any("is ill" in message for message in place.messages(job_id))
