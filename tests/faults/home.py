"""A home that is struck, and what must hold of it whenever it is looked at."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from sqlalchemy import select

from adapters import base as bases
from adapters import publish
from adapters.check import admit
from adapters.content import content_digest
from records.blobs import Blobs
from records.database import Database
from records.jobs import Lease
from records.models import SUCCEEDED, Audit, Checkpoint, Event, File, Job, Rollout, Row, Version
from records.settings import Settings
from server.sweep import sweep
from tests.faults.stage import Stage
from tests.faults.tracer import Ended, Point
from training import worker
from training.process import environment
from training.worker import Worker

NAMES = ("live", "previous", "candidate", "shadow", "pending")
TWO_DAYS = 2 * 24 * 3600
DRAFT = "/draft-"


class Home:
    """`work` is one attempt at a job, under a real worker; `take_in` is `chorus adapters import`."""

    def __init__(
        self, path: Path, stage: Stage, template: Path | None = None, rows: Path | None = None
    ) -> None:
        self.path, self.stage, self.template, self.rows_at = path, stage, template, rows
        base = stage.log.parent / "small"
        url = f"sqlite:///{rows}" if rows else None
        self.settings = Settings(home=path, base=str(base), training_threads=1, database_url=url)
        if template is not None:
            self.renew()

    def renew(self) -> None:
        """As in the template again."""
        assert self.template is not None
        shutil.rmtree(self.path, ignore_errors=True)
        shutil.copytree(self.template / "home", self.path)
        if self.rows_at:
            shutil.move(self.path / "chorus.db", self.rows_at)
        self.before = self._acknowledged()

    def take_in(self, at: Point | None = None, *, full: bool = False, place: Path | None = None) -> Ended:
        """`place`: a copy of this home elsewhere."""
        path = place or self.path
        assert self.template is not None
        command = ("chorus", "adapters", "import", str(self.template / "adapter"), "--brand", "luxe")
        where = ("--tenant", "acme", "--base", self.settings.base, "--home", str(path))
        return self.stage(*command, *where, home=path, at=at, full=full)

    def work(
        self, at: Point | None = None, *, full: bool = False, begin: Callable[[], None] = lambda: None
    ) -> Ended:
        """Its calls are those of its publication, from its first draft on. `begin` is called when the job is
        claimed."""
        ended = Ended()

        def start(settings: Settings, lease: Lease, _log: Path) -> Any:
            nonlocal ended
            begin()
            command = ("training.run", "--job", lease.job_id, "--fence", str(lease.fence))
            ended = self.stage(
                *command, "--parent", str(self.stage.process.pid),
                home=self.path, variables=environment(settings), since=DRAFT, at=at, full=full,
            )  # fmt: skip
            return SimpleNamespace(poll=lambda: ended.status, returncode=ended.status)

        changed = {"start": start, "stop": lambda *_: None, "BACK_OFF_SECONDS": 0.0}
        with self.rows() as database, patch.multiple(worker, **changed):
            assert Worker(self.settings, database).work_once(), "there was nothing to do"
        return ended

    @contextmanager
    def rows(self) -> Iterator[Database]:
        """Opened anew, as by the next process."""
        database = Database(self.settings.url)
        try:
            yield database
        finally:
            database.close()

    def all(self, kind: type[Row]) -> list[Any]:
        with self.rows() as database, database.read() as session:
            return list(session.scalars(select(kind).order_by(kind.seq)))  # type: ignore[attr-defined]

    def check(self) -> None:
        """Nothing is half there, and what was there before is as it was."""
        base = bases.resolve(self.settings.base, self.path)
        versions = {row.name: row for row in self.all(Version)}
        for row in versions.values():
            folder = publish.folder(self.path, row.sha256)
            admit(folder, base, max_rank=32, expected_sha256=row.sha256)
        for folder in (self.path / "adapters").iterdir():
            assert content_digest(folder) == folder.name, "a folder is whole or not there"
        for brand in self.all(Rollout):
            assert {getattr(brand, name) for name in NAMES} - {None} <= set(versions)
        for checkpoint in self.all(Checkpoint):
            assert checkpoint.version in versions
        files = {row.id: row for row in self.all(File)}
        for row in files.values():
            assert hashlib.sha256(Blobs(self.path).path(row.sha256).read_bytes()).hexdigest() == row.sha256
        for job in self.all(Job):
            assert (job.status == SUCCEEDED) == (job.fine_tuned_model in versions) == bool(job.result_files)
            assert set(job.result_files) <= set(files)
        assert self._acknowledged()[: len(self.before)] == self.before

    def check_done(self, versions: int) -> None:
        """After the retry: so many versions are new, and the sweep finds what the fault has left."""
        self.check()
        rows = self.all(Version)
        assert len(rows) == len(self.before) + versions
        assert len({(row.name, row.sha256) for row in rows}) == len(rows)
        for place in ("imports", "incoming"):
            for left in (self.path / place).glob("*"):
                os.utime(left, times=(left.stat().st_mtime - TWO_DAYS,) * 2)
        with self.rows() as database:
            sweep(database, Blobs(self.path), self.path)
        assert {folder.name for folder in (self.path / "adapters").iterdir()} == {row.sha256 for row in rows}
        assert not list((self.path / "incoming").iterdir())
        assert not list((self.path / "jobs").iterdir())

    def messages(self) -> list[str]:
        return [row.message for row in self.all(Event)]

    def audits(self) -> list[tuple[str, str]]:
        return [(row.action, row.object) for row in self.all(Audit)]

    def _acknowledged(self) -> list[tuple[Any, ...]]:
        """Of each version: its row, and the bytes of its files."""
        return [
            (row.name, row.sha256, row.manifest, row.proved_at, row.deleted_at,
             content_digest(publish.folder(self.path, row.sha256)))
            for row in self.all(Version)
        ]  # fmt: skip


def strikes(ended: Ended) -> list[Point]:
    """Where to strike: before the first and the last call of each row."""
    nexts = [*(call.at for call in ended.calls[1:]), Point(-1, 0)]
    return [call.at for call, following in zip(ended.calls, nexts, strict=True)
            if call.at.place == 0 or following.place == 0]  # fmt: skip
