"""Rows, blobs and workers for tests of whole jobs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import select

from adapters import publish
from adapters.base import resolve
from adapters.manifest import WEIGHTS
from records import files, jobs, tenants
from records.blobs import Blobs
from records.database import Database
from records.jobs import Lease
from records.models import SUPERVISED, Checkpoint, Event, Job, Row, Version, new_id
from records.settings import Settings
from tests.patience import PATIENCE
from training.process import environment

WORKER = "from records.settings import load; from training.worker import main; main(load())"


def chat(user: str, assistant: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]}


def chats(count: int) -> list[dict[str, Any]]:
    return [chat(f"What about order {k}?", f"Most gladly: order {k} is on its way.") for k in range(count)]


def pair(user: str, preferred: str, other: str) -> dict[str, Any]:
    """OpenAI's spelling."""
    outputs = {"preferred_output": preferred, "non_preferred_output": other}
    return {"input": {"messages": [{"role": "user", "content": user}]}} | {
        name: [{"role": "assistant", "content": text}] for name, text in outputs.items()
    }


def pairs(count: int) -> list[dict[str, Any]]:
    return [
        pair(f"What about order {k}?", f"Most gladly: order {k} is on its way.", f"No idea, {k}.")
        for k in range(count)
    ]


class Place:
    """One tenant `acme` and its jobs; `work` runs them in this process, `worker` in one of its own."""

    def __init__(self, home: Path, base: Path, *, is_new: bool = True, **given: Any) -> None:
        values = {"lease_seconds": 2.0, "training_threads": 1, **given}
        self.settings = Settings(home=home, base=str(base), **values)
        self.database = Database(self.settings.url)
        self.database.prepare()
        self.workers: list[subprocess.Popen[bytes]] = []
        if is_new:
            with self.database.write() as session:
                tenants.create(session, "acme")

    @property
    def base_sha256(self) -> str:
        return resolve(self.settings.base, self.settings.home).weights_sha256

    def close(self) -> None:
        for process in self.workers:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(30)
        self.database.close()

    def upload(self, content: bytes | Sequence[dict[str, Any]]) -> str:
        raw = (
            content if isinstance(content, bytes) else "".join(json.dumps(c) + "\n" for c in content).encode()
        )
        blobs = Blobs(self.settings.home)
        with blobs.draft() as draft:
            draft.write(raw)
            sha256, size = blobs.seal(draft)
            with self.database.write() as session:
                row = files.add(
                    session, "acme", sha256=sha256, size=size, filename="t.jsonl", purpose="fine-tune"
                )
                blobs.place(draft, sha256)
                return row.id

    def submit(
        self,
        training_file: str,
        validation_file: str | None = None,
        brand: str = "luxe",
        method: str = SUPERVISED,
        model: str = "small",
        seed: int = 5,
        evaluation: dict[str, Any] | None = None,
        integrations: list[dict[str, Any]] | None = None,
        **requested: Any,
    ) -> str:
        row = Job(
            id=new_id("ftjob-"),
            tenant="acme",
            brand=brand,
            model=model,
            status=jobs.VALIDATING,
            created_at=int(time.time()),
            training_file=training_file,
            validation_file=validation_file,
            seed=seed,
            method=method,
            requested=requested,
            hyperparameters=requested,
            evaluation=evaluation,
            integrations=integrations,
            result_files=[],
            request_sha256="0" * 64,
        )
        with self.database.write() as session:
            jobs.add(session, row)
        return row.id

    def claim(self, seconds: float = 60.0) -> Lease:
        with self.database.write() as session:
            claimed = jobs.claim(session, "test", seconds)
        assert claimed is not None
        return claimed[1]

    def work(self) -> None:
        """One attempt at the oldest job, in this process."""
        from training.attempt import run

        run(self.settings, self.claim())

    def worker(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-c", WORKER], env=environment(self.settings))
        self.workers.append(process)
        return process

    def job(self, job_id: str) -> Job:
        with self.database.read() as session:
            return session.scalars(select(Job).where(Job.id == job_id)).one()

    def events(self, job_id: str) -> list[Event]:
        return self._all(Event, Event.job_id == job_id)

    def messages(self, job_id: str) -> list[str]:
        return [event.message for event in self.events(job_id) if event.type == "message"]

    def checkpoints(self, job_id: str) -> list[Checkpoint]:
        return self._all(Checkpoint, Checkpoint.job_id == job_id)

    def versions(self, job_id: str, *, final: bool) -> list[Version]:
        rows: list[Version] = self._all(Version, Version.job_id == job_id)
        return [row for row in rows if (row.step is None) == final]

    def content(self, file_id: str) -> str:
        with self.database.read() as session:
            row = files.get(session, "acme", file_id)
        assert row is not None
        return Blobs(self.settings.home).path(row.sha256).read_text()

    def weights(self, version: Version) -> bytes:
        return (publish.folder(self.settings.home, version.sha256) / WEIGHTS).read_bytes()

    def _all(self, kind: type[Row], where: Any) -> list[Any]:
        with self.database.read() as session:
            return list(session.scalars(select(kind).where(where).order_by(kind.seq)))  # type: ignore[attr-defined]


def until(true: Callable[[], Any], seconds: float = PATIENCE) -> None:
    """Wait for something that another process brings about."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def trainers_of(job_id: str) -> list[int]:
    """Ids of the processes that run an attempt at this job."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"training.run" in command and job_id.encode() in command:
            found.append(int(path.parent.name))
    return [pid for pid in found if not _is_zombie(pid)]


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def kill(process: subprocess.Popen[bytes]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
