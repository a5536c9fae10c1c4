"""Weights & Biases runs by the real package: each step once, and no job waits or ends for what is there."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from records import jobs
from records.jobs import LeaseLost
from tests.patience import PATIENCE
from tests.training import logs, wandb_server
from tests.training.breaks import At, break_off, change, killed
from tests.training.place import Place, chats, trainers_of, until
from tests.training.wandb_server import WandbServer
from training import progress, wandb_run

SHORT: dict[str, Any] = {"n_epochs": 3, "batch_size": 4}  # of 20 examples: an epoch is five steps
KEY = "a1b2c3d4e5" * 4
ASKED = {"project": "voices", "name": None, "entity": None, "tags": ["autumn"]}
INTEGRATIONS = [{"type": "wandb", "wandb": ASKED}]


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    for name in ("LEAVING_SECONDS", "FINISH_SECONDS"):  # a busy machine takes its time
        monkeypatch.setattr(wandb_run, name, 120.0)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    with wandb_server.running() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        yield server


def submit(place: Place, **given: Any) -> str:
    return place.submit(place.upload(chats(20)), integrations=INTEGRATIONS, **{**SHORT, **given})


def folder(place: Place, job_id: str) -> Path:
    return place.settings.home / "wandb" / "acme" / "luxe" / job_id


def said(place: Place, job_id: str) -> list[tuple[str, str]]:
    return [(event.level, event.message) for event in place.events(job_id) if "Biases" in event.message]


def test_an_offline_run_of_a_jobs_own_process_is_kept_whole_and_names_no_key(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    job_id = submit(place)
    place.worker()
    until(lambda: place.job(job_id).status in (jobs.SUCCEEDED, jobs.FAILED))
    records = logs.wandb_offline(folder(place, job_id))
    (run,) = [record.run for record in records if record.HasField("run")]
    assert (run.run_id, run.project, run.display_name) == (job_id, "voices", job_id)
    assert list(run.tags) == ["chorus/finetune", "autumn"]
    config = {item.key: item.value_json for item in run.config.update}
    assert config["n_epochs"] == "3"
    assert config["model"] == '"small"'
    found = logs.history(records)
    assert list(found) == list(range(1, 16))
    shown = logs.tensorboard(place.settings.home / "tensorboard" / "acme" / "luxe" / job_id)
    assert {step: set(figures) for step, figures in found.items()} == {k: set(v) for k, v in shown.items()}
    assert found[7]["train/loss"] == pytest.approx(shown[7]["train/loss"])
    assert said(place, job_id) == [("info", wandb_run.OFFLINE)]
    files = [path for path in place.settings.home.rglob("*") if path.is_file()]
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_an_offline_run_of_a_job_that_was_broken_off_is_one_run(
    place: Place, monkeypatch: pytest.MonkeyPatch, at: At
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    job_id = submit(place)
    at(9, killed)
    break_off(place, job_id, MemoryError)
    assert list(logs.history(logs.wandb_offline(folder(place, job_id)))) == list(range(1, 9))
    place.work()
    assert list(logs.history(logs.wandb_offline(folder(place, job_id)))) == list(range(1, 16))
    assert len(said(place, job_id)) == 1


def test_kill_9_of_a_job_ends_wandbs_processes_and_its_run_is_whole_in_the_end(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    job_id = submit(place, n_epochs=20, batch_size=1)
    place.worker()
    until(lambda: any(folder(place, job_id).rglob("run-*.wandb")))
    (trainer,) = map(psutil.Process, trainers_of(job_id))
    helpers = trainer.children(recursive=True)
    assert any("wandb-core" in process.name() for process in helpers)
    trainer.kill()
    _, left = psutil.wait_procs(helpers, PATIENCE)
    assert not left
    until(lambda: place.job(job_id).status in (jobs.SUCCEEDED, jobs.FAILED))
    assert list(logs.history(logs.wandb_offline(folder(place, job_id)))) == list(range(1, 401))


def test_an_online_run_has_each_step_once_after_a_kill_and_a_pause(
    place: Place, monkeypatch: pytest.MonkeyPatch, at: At, server: WandbServer
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN", 0.0)
    job_id = submit(place)
    at(9, killed)
    break_off(place, job_id, MemoryError)
    assert list(server.history(job_id)) == list(range(1, 9)), "three more than its state has"
    at(12, lambda _: change(place, jobs.pause, job_id))
    break_off(place, job_id, LeaseLost)
    change(place, jobs.resume, job_id)
    assert list(server.history(job_id)) == list(range(1, 13))
    place.work()
    assert place.job(job_id).status == jobs.SUCCEEDED
    assert list(server.history(job_id)) == list(range(1, 16))
    assert {given["project"] for given in server.made} == {"voices"}
    assert server.exits == [1, 1, 0]
    assert said(place, job_id) == [("info", f"Weights & Biases run: {server.url}/house/voices/runs/{job_id}")]
    assert not folder(place, job_id).exists(), "what W&B has need not lie here too"


def test_steps_that_wandb_has_lost_come_from_the_jobs_state(
    place: Place, at: At, server: WandbServer
) -> None:
    job_id = submit(place)
    at(13, killed)
    break_off(place, job_id, MemoryError)
    del server.lines[job_id][4:]
    place.work()
    assert list(server.history(job_id)) == list(range(1, 16))


def test_a_service_that_refuses_is_said_once_and_the_job_succeeds(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wandb_run, "INIT_SECONDS", 1.0)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    job_id = submit(place)
    place.work()
    assert place.job(job_id).status == jobs.SUCCEEDED
    ((level, message),) = said(place, job_id)
    assert level == "warn"
    assert message.startswith("Weights & Biases is left out from here on (CommError:")


def test_a_service_that_never_answers_is_left_behind(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb_run, "FINISH_SECONDS", 0.5)
    monkeypatch.setattr(wandb_run, "GRACE_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{deaf.getsockname()[1]}")
        job_id = submit(place)
        place.work()
    assert place.job(job_id).status == jobs.SUCCEEDED
    assert said(place, job_id) == [
        ("warn", "Weights & Biases is left out from here on (it did not answer in time); training goes on")
    ]


def test_a_worker_without_the_package_says_so(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "wandb.py").write_text("raise ImportError(\"No module named 'wandb'\")")
    monkeypatch.syspath_prepend(tmp_path)
    job_id = submit(place)
    place.work()
    assert place.job(job_id).status == jobs.SUCCEEDED
    ((level, message),) = said(place, job_id)
    assert level == "warn"
    assert "(ImportError: No module named 'wandb')" in message


def test_a_refused_key_is_said_without_the_key(
    place: Place, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY[:39])
    job_id = submit(place)
    place.work()
    assert place.job(job_id).status == jobs.SUCCEEDED
    ((level, message),) = said(place, job_id)
    assert level == "warn"
    assert "AuthenticationError: WANDB_API_KEY invalid" in message
    assert KEY[:39] not in message
    assert KEY[:39] not in capfd.readouterr().err, "which is the job's log"
