"""The data doctor's reports of uploaded files: made beside the server, once, for their tenant alone."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from pathlib import Path

import httpx
import openai
import pytest

from adapters import base as bases
from records.models import File
from records.reports import write
from server.aside import Aside
from server.sweep import sweep
from tests.server.conftest import EXAMPLE, TRAINING, Running, Stage, until


def reports_of(server: Running) -> Path:
    return server.house.settings.home / "reports"


def ask(server: Running, file: str, tenant: str = "acme") -> httpx.Response:
    return server.http(tenant).get(f"/v1/files/{file}/report")


class Doctor:
    """Stands in for the process: counts its calls, and ends with `status`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, status: int = 0) -> None:
        self.calls = 0
        self.status = status
        self.may_end = threading.Event()
        self.may_end.set()
        doctor = self

        async def run(aside: Aside, path: Path, module: str, *arguments: str) -> int:
            assert module == "training.doctor"
            doctor.calls += 1
            await asyncio.to_thread(doctor.may_end.wait)
            if doctor.status == 0:
                write(path, b'{"made": true}')
            return doctor.status

        monkeypatch.setattr(Aside, "_run", run)


def test_the_report_of_an_upload_is_made_without_being_asked_for(serve: Stage) -> None:
    server = serve(base=bases.resolve("tiny", serve.folder))
    file = server.upload()
    until(lambda: any(reports_of(server).glob("*/*.json")))
    answer = ask(server, file)
    assert answer.status_code == 200
    report = answer.json()
    assert report["verdict"]["kind"] == "too_few"
    assert report["base"] == "tiny"
    assert report["counts"]["rows"] == 12
    assert [(found["code"], found["count"]) for found in report["findings"]] == [("duplicate", 11)]


def test_whoever_asks_while_it_is_made_waits_for_the_one_report(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    doctor, file = Doctor(monkeypatch), server.upload()
    doctor.may_end.clear()
    answers: list[httpx.Response] = []
    threads = [threading.Thread(target=lambda: answers.append(ask(server, file))) for _ in range(4)]
    for thread in threads:
        thread.start()
    until(lambda: doctor.calls > 0)
    time.sleep(0.1)
    assert not answers
    doctor.may_end.set()
    for thread in threads:
        thread.join()
    assert [answer.json() for answer in answers] == [{"made": True}] * 4
    assert ask(server, file).json() == {"made": True}
    assert doctor.calls == 1


def test_an_upload_does_not_wait_for_reports(serve: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    doctor = Doctor(monkeypatch)
    server = serve(base=bases.resolve("tiny", serve.folder))
    doctor.may_end.clear()
    for k in range(5):
        server.upload(content=TRAINING + (json.dumps(EXAMPLE).encode() + b"\n") * k)
    until(lambda: doctor.calls == 1)
    doctor.may_end.set()
    until(lambda: doctor.calls == 5)


def test_a_doctor_that_crashes_is_a_clear_500_and_hurts_no_upload(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    doctor, file = Doctor(monkeypatch, status=-9), server.upload()
    answer = ask(server, file)
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "report_failed"
    assert "The file itself is kept" in answer.json()["error"]["message"]
    assert server.client().files.content(file).read() == TRAINING
    doctor.status = 0
    assert ask(server, file).json() == {"made": True}


def test_a_base_that_no_doctor_can_read_is_a_500_too(server: Running) -> None:
    assert ask(server, server.upload()).status_code == 500


def test_another_tenants_file_has_no_report_and_another_purpose_none_either(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    doctor, file = Doctor(monkeypatch), server.upload()
    other = server.upload(content=b"x", purpose="assistants")
    assert ask(server, file, "rival").status_code == 404
    assert ask(server, "file-" + "0" * 24).status_code == 404
    refused = ask(server, other)
    assert refused.status_code == 400
    assert "purpose 'assistants'" in refused.json()["error"]["message"]
    assert doctor.calls == 0


def test_the_report_goes_with_the_last_name_of_its_file(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    Doctor(monkeypatch)
    first, second = server.upload(), server.upload(tenant="rival")
    assert ask(server, first).content == ask(server, second, "rival").content
    server.client().files.delete(first)
    assert len(list(reports_of(server).iterdir())) == 1
    server.client("rival").files.delete(second)
    assert not list(reports_of(server).iterdir())
    with pytest.raises(openai.NotFoundError):
        server.client().files.retrieve(first)


def test_a_report_that_was_finished_after_its_file_was_deleted_is_swept(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    Doctor(monkeypatch)
    file = server.upload()
    ask(server, file)
    write(reports_of(server) / ("a" * 64) / "1-x.json", b"{}")
    sweep(server.house.database, server.house.blobs, server.house.settings.home)
    with server.house.database.read() as session:
        assert [path.name for path in reports_of(server).iterdir()] == [session.query(File.sha256).scalar()]
