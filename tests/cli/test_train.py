"""`chorus train` as a shell sees it: the job that it makes, the quote that makes none, how it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from typer.testing import CliRunner, Result

from cli import jobs_shown
from cli.commands import app
from cli.quote_shown import span
from records import jobs, tenants
from records.blobs import Blobs
from records.database import Database
from records.models import File, Job
from records.settings import Settings
from tests.training.place import chats
from tests.training.small_base import build


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("base") / "small")


class Shell:
    """Runs `chorus train` in this process on one home; a job ends as soon as it is followed."""

    def __init__(self, folder: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home, self.base, self.folder = folder / "home", base, folder
        self.settings = Settings(home=self.home)
        self.home.mkdir()
        self.database = Database(self.settings.url)
        self.database.prepare()
        with self.database.write() as session:
            tenants.create(session, "acme")
        monkeypatch.setattr(jobs_shown, "follow", self.follow)
        self.followed: list[str] = []
        self.status = jobs.SUCCEEDED

    def follow(self, console: object, database: Database, tenant: str, job_id: str) -> Job | None:
        self.followed.append(job_id)
        if self.status == "interrupted":
            raise KeyboardInterrupt
        with database.read() as session:
            row = jobs.get(session, tenant, job_id)
        assert row is not None
        row.status = self.status
        return row

    def file(self, rows: list[dict[str, Any]] | str, name: str = "t.jsonl") -> str:
        text = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
        (self.folder / name).write_text(text)
        return str(self.folder / name)

    def __call__(self, *words: str, tenant: str = "acme", brand: str = "luxe") -> Result:
        where = ["--home", str(self.home), "--base", str(self.base), "--tenant", tenant, "--brand", brand]
        return CliRunner().invoke(app, ["train", *where, *words], env={"COLUMNS": "200"})

    def all(self, kind: Any) -> list[Any]:
        with self.database.read() as session:
            return list(session.scalars(select(kind).order_by(kind.seq)))


@pytest.fixture
def shell(tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    return Shell(tmp_path, small, monkeypatch)


def test_it_makes_a_job_of_files_and_follows_it(shell: Shell) -> None:
    file, held_out = shell.file(chats(12)), shell.file(chats(2), "v.jsonl")
    done = shell(
        file, "--validation", held_out, "--epochs", "3", "--learning-rate-multiplier", "0.5", "--sweep", "4"
    )
    assert done.exit_code == 0, done.output
    (job,) = shell.all(Job)
    training, validation = shell.all(File)
    assert (job.id, job.brand, job.model, job.status) == (shell.followed[0], "luxe", "small", jobs.VALIDATING)
    assert (job.training_file, job.validation_file) == (training.id, validation.id)
    wanted = {"n_epochs": 3, "batch_size": "auto", "learning_rate_multiplier": 0.5, "sweep": 4}
    assert job.requested == wanted
    assert Blobs(shell.home).path(training.sha256).read_bytes() == Path(file).read_bytes()


def test_a_job_that_does_not_succeed_is_exit_1_and_ctrl_c_leaves_it_running(shell: Shell) -> None:
    shell.status = jobs.FAILED
    assert shell(shell.file(chats(12))).exit_code == 1
    shell.status = "interrupted"
    done = shell(shell.file(chats(12)))
    assert done.exit_code == 130
    assert f"chorus jobs follow --tenant acme {shell.followed[1]}" in done.output


def test_torch_is_not_loaded_before_the_variables_of_a_dry_run_are_set() -> None:
    before = (
        "cli.train, server.job_parent, server.names, server.job_request, server.job_create, server.quotes"
    )
    code = f"import sys, {before}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_dry_run_shows_what_it_takes_and_creates_nothing(shell: Shell) -> None:
    file = shell.file(chats(12))
    done = shell(file, "--dry-run", "--epochs", "2", "--batch-size", "4")
    assert done.exit_code == 0, done.output
    for said in ("12 to train on, 0 held out", "2, 6", "no price is set", "0 jobs, 0:00:00", "GB (cpu)"):
        assert said in done.output
    shown = shell(file, "--dry-run", "--json", "--epochs", "2", "--batch-size", "4")
    offer = json.loads(shown.output)
    assert (offer["steps"], offer["stops_early"], offer["cost"]) == (6, False, None)
    assert not shell.all(Job)
    assert not shell.all(File)
    assert not shell.followed


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
@pytest.mark.parametrize(
    ("words", "given", "said"),
    [
        (["--epochs", "0"], {}, "a whole number from 1 to 50"),
        (["--method", "magic"], {}, "magic"),
        (["--model", "ft:nothing"], {}, "The model `ft:nothing` does not exist"),
        ([], {"brand": "small"}, "'suffix' must not be the name of the base model"),
        ([], {"tenant": "nobody"}, "nobody"),
    ],
)
def test_what_a_job_is_refused_for_is_a_sentence_and_makes_no_job(
    shell: Shell, words: list[str], given: dict[str, str], said: str, more: list[str]
) -> None:
    done = shell(shell.file(chats(12)), *words, *more, **given)
    assert done.exit_code == 2
    assert said in done.output
    assert not shell.all(Job)
    assert not shell.all(File)


def test_lines_that_cannot_be_used_are_named(shell: Shell) -> None:
    file = shell.file("{nonsense\n")
    for more in ([], ["--dry-run"]):
        done = shell(file, *more)
        assert done.exit_code == 2
        assert "line 1" in done.output.lower()
    assert not shell.all(File)


def test_seconds_are_shown_as_hours_minutes_and_seconds() -> None:
    assert [span(seconds) for seconds in (0, 69.6, 3725)] == ["0:00:00", "0:01:10", "1:02:05"]
