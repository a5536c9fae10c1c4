"""`chorus jobs` as an operator uses it: what it changes, what it prints, how it refuses."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli import jobs_shown
from cli.commands import app
from records import jobs, tenants
from records.database import Database
from records.models import FAILED, RUNNING, SUCCEEDED, Job
from records.settings import Settings
from tests.records.conftest import add_job


class Shell:
    """Runs `chorus jobs ...` in this process on one home."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.database = Database(Settings(home=home).url)
        self.database.prepare()
        with self.database.write() as session:
            for tenant in ("acme", "rival"):
                tenants.create(session, tenant)

    def __call__(self, *words: str, tenant: str = "acme") -> Result:
        where = ["--home", str(self.home), "--tenant", tenant]
        return CliRunner().invoke(app, ["jobs", words[0], *where, *words[1:]], env={"COLUMNS": "200"})

    def status(self, job: str) -> str:
        with self.database.read() as session:
            row = jobs.get(session, "acme", job)
        assert row is not None
        return row.status

    def step(self, job: str, step: int, **data: Any) -> None:
        data = {"step": step, "total_steps": 8, "train_loss": 1 / step, "tokens_per_second": 4500.0, **data}
        with self.database.write() as session:
            jobs.say(session, job, f"Step {step}", data=data, type="metrics")

    def end(self, job: str, status: str) -> None:
        with self.database.write() as session:
            lease = jobs.Lease(job, 0)
            error = (
                {"code": "x", "message": "The [file] is bad.", "param": None} if status == FAILED else None
            )
            jobs.finish(session, lease, status, "over", error=error, estimated_finish=None)


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setattr(jobs_shown, "POLL_SECONDS", 0.01)
    return Shell(tmp_path)


def test_each_command_makes_its_change_and_shows_the_job(shell: Shell) -> None:
    job = add_job(shell.database, status=RUNNING)
    for verb, status in (("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled")):
        for _ in range(2):
            done = shell(verb, job)
            assert done.exit_code == 0, done.output
            assert job in done.output
            assert status in done.output
            assert shell.status(job) == status


def test_what_cannot_be_is_a_sentence_and_changes_nothing(shell: Shell) -> None:
    job = add_job(shell.database)
    for verb, tenant, said in (
        ("resume", "acme", "is not paused (status: validating_files)"),
        ("pause", "rival", "Tenant 'rival' has no such job"),
        ("follow", "rival", "Tenant 'rival' has no such job"),
    ):
        done = shell(verb, job, tenant=tenant)
        assert done.exit_code == 2
        assert said in done.output
    assert shell.status(job) == "validating_files"


def test_the_list_shows_the_newest_first_and_what_became_of_them(shell: Shell) -> None:
    first, second = add_job(shell.database), add_job(shell.database)
    add_job(shell.database, "rival")
    shell.end(first, FAILED)
    done = shell("list")
    assert done.output.index(second) < done.output.index(first)
    assert done.output.count("ftjob-") == 2
    assert "The [file] is bad." in done.output
    assert shell("list", "--limit", "1").output.count("ftjob-") == 1


@pytest.mark.parametrize(("status", "exit_code"), [(SUCCEEDED, 0), (FAILED, 1)])
def test_following_shows_messages_and_steps_until_the_end(shell: Shell, status: str, exit_code: int) -> None:
    job = add_job(shell.database, status=RUNNING)
    shell.step(job, 4)
    later = threading.Timer(0.3, lambda: (shell.step(job, 8), shell.end(job, status)))
    later.start()
    done = shell("follow", job)
    later.join()
    assert done.exit_code == exit_code
    assert f"Created fine-tuning job: {job}" in done.output
    assert "8/8" in done.output
    assert "loss 0.125, 4,500 tokens/s" in done.output
    assert done.output.count("over") == 1


def test_the_pace_says_what_a_step_took() -> None:
    event = jobs_shown.Event(
        data={"train_loss": 0.5, "tokens_per_second": 4500.4, "peak_memory_bytes": 1_240_000_000}
    )
    assert jobs_shown._pace(event) == "loss 0.500, 4,500 tokens/s, peak 1.24 GB"
    assert jobs_shown._pace(jobs_shown.Event(data=None)) == ""


@pytest.mark.parametrize(
    ("status", "end", "shown"),
    [
        (RUNNING, 4725, "1:02:05 left"),
        (RUNNING, 1000, ""),  # it is being evaluated, or takes longer than was thought
        (RUNNING, None, ""),
        (FAILED, 4725, ""),
    ],
)
def test_the_time_left_is_counted_down_until_nobody_knows(
    monkeypatch: pytest.MonkeyPatch, status: str, end: int | None, shown: str
) -> None:
    monkeypatch.setattr(jobs_shown.time, "time", lambda: 1000.0)
    assert jobs_shown._left(Job(status=status, estimated_finish=end)) == shown
