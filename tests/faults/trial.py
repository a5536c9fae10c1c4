"""A queue of short jobs, two workers, and kill -9 at random moments; check_queue.py looks at what is left."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from records import jobs
from records.models import TERMINAL, Event, Job
from tests.training.place import Place, chats, kill, trainers_of
from tests.training.small_base import build
from training.process import environment

WORKERS = 2
# A crash is tried again at once: the trial is about what a kill leaves, not about patience.
WORKER = (
    "from records.settings import load; from training import worker; "
    "worker.BACK_OFF_SECONDS = 0.2; worker.main(load())"
)
SETTINGS = {"job_attempts": 1000, "job_state_seconds": 0.0}
STALLED_SECONDS = 300.0
# What is said by others than the job's process, or before it has anything to lose.
ELSEWHERE = ("Attempt %", "Fine-tuning job paused%", "Fine-tuning job resumed%", "Validating %")
# (examples, held-out examples, hyperparameters): with and without validation, and all left to us.
KINDS: tuple[tuple[int, int, dict[str, Any]], ...] = (
    (40, 0, {"n_epochs": 4, "batch_size": 2}),
    (24, 4, {"n_epochs": 6, "batch_size": 2}),
    (12, 0, {"n_epochs": 12, "batch_size": 2}),
    (48, 0, {"batch_size": 20}),
)


class Trial:
    """`jobs` ids in the order of their making; a job's kind is its place modulo the number of KINDS."""

    def __init__(self, folder: Path, count: int, seed: int) -> None:
        self.dice = random.Random(seed)
        base = build(folder / "small")
        self.undisturbed = Place(folder / "undisturbed", base)
        self.references = [self._submit(self.undisturbed, kind) for kind in range(len(KINDS))]
        self.place = Place(folder / "home", base)
        self.place.settings = self.place.settings.model_copy(update=SETTINGS)
        self.jobs = [self._submit(self.place, number % len(KINDS)) for number in range(count)]
        self.workers: list[subprocess.Popen[bytes]] = []
        self.kills = {"worker": 0, "job": 0}
        self.paused = 0

    def _submit(self, place: Place, kind: int) -> str:
        examples, held_out, requested = KINDS[kind]
        validation = place.upload(chats(held_out)) if held_out else None
        return place.submit(place.upload(chats(examples)), validation, **requested)

    def run(self, kills: int, said: Callable[[str], None] = lambda _: None) -> None:
        """The references in peace, then the queue under `kills`, spread over its whole length."""
        for _ in self.references:
            self.undisturbed.work()
        try:
            self.workers = [self._worker() for _ in range(WORKERS)]
            cancel_at = set(self.dice.sample(range(kills), max(1, kills // 40)))
            for number in range(kills):
                # At most two jobs' share ahead of the jobs, so that kills reach to the end of the queue.
                self._wait(lambda due=number: (self._ended() + 2) * kills >= due * len(self.jobs))
                if number in cancel_at:
                    self._change(jobs.cancel, self._unfinished())
                if number % 7 == 3:
                    self._pause()
                said(f"{number + 1}: kill -9 of {self._strike()}, {self._ended()} jobs at their end")
            self._wait(lambda: self._ended() == len(self.jobs))
        finally:
            self._stop()

    def close(self) -> None:
        for place in (self.place, self.undisturbed):
            place.close()

    def _stop(self) -> None:
        for worker in self.workers:
            worker.send_signal(signal.SIGTERM)
        for worker in self.workers:
            worker.wait()

    def _strike(self) -> str:
        """kill -9 of a worker or of a job's process, soon after something was written or at any time."""
        job = None
        if self.dice.random() < 0.7:
            job = self._next_event()
            time.sleep(self.dice.uniform(0, 0.3))
        else:
            time.sleep(self.dice.uniform(0, 2))
        if self.dice.random() < 0.7:
            for one in [job] * (job is not None) + self._unfinished():
                for pid in trainers_of(one):
                    with suppress(ProcessLookupError):  # it has just ended by itself
                        os.kill(pid, signal.SIGKILL)
                        self.kills["job"] += 1
                        return f"the process of {one}"
        number = self.dice.randrange(WORKERS)
        kill(self.workers[number])
        self.workers[number] = self._worker()
        self.kills["worker"] += 1
        return f"worker {number}"

    def _pause(self) -> None:
        """Pause a job, whatever it is about, and resume it while kills go on."""
        chosen = self._unfinished()
        self._change(jobs.pause, chosen)
        time.sleep(self.dice.uniform(0, 1.5))
        self._change(jobs.resume, chosen)
        self.paused += 1

    def _change(self, rule: Callable[..., Job | None], chosen: list[str]) -> None:
        """For the first of `chosen`, if it has not ended in the meantime."""
        if not chosen:
            return
        with suppress(jobs.ChangeRefused), self.place.database.write() as session:
            rule(session, "acme", chosen[0])

    def _worker(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", WORKER]
        return subprocess.Popen(command, env=environment(self.place.settings), stderr=subprocess.DEVNULL)

    def _next_event(self) -> str | None:
        """The job whose process writes the next event; None when there is none for a while."""
        newest, end = self._newest(), time.monotonic() + 20
        own = [Event.message.not_like(text) for text in ELSEWHERE]
        while time.monotonic() < end:
            with self.place.database.read() as session:
                job = session.scalar(select(Event.job_id).where(Event.seq > newest, *own).limit(1))
            if job is not None:
                return job
            time.sleep(0.01)
        return None

    def _newest(self) -> int:
        with self.place.database.read() as session:
            return session.scalar(select(func.max(Event.seq))) or 0

    def _unfinished(self) -> list[str]:
        """Jobs that have not ended, in random order, those that are worked on first."""
        query = select(Job.id, Job.lease_owner).where(Job.status.not_in(TERMINAL))
        with self.place.database.read() as session:
            found = [(owner is None, self.dice.random(), job) for job, owner in session.execute(query)]
        return [job for _, _, job in sorted(found)]

    def _ended(self) -> int:
        return len(self.jobs) - len(self._unfinished())

    def _wait(self, true: Callable[[], bool]) -> None:
        """Until it is so; no longer when nothing happens any more, which check_queue.py then finds."""
        newest, since = self._newest(), time.monotonic()
        while not true() and time.monotonic() - since < STALLED_SECONDS:
            time.sleep(0.1)
            if (now := self._newest()) != newest:
                newest, since = now, time.monotonic()
