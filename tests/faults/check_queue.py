"""What must hold of a home when all its jobs have ended, however disturbed: found offline, and counted."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from adapters import publish
from adapters.content import content_digest
from adapters.manifest import FILE, WEIGHTS
from records import jobs
from records.blobs import Blobs
from records.models import File, Version
from server.sweep import sweep
from tests.faults.trial import KINDS, Trial
from tests.training.logs import tensorboard
from tests.training.place import Place
from training import scratch

TWO_DAYS = 2 * 24 * 3600
ENDS = ("The job has successfully completed", "The job failed", "Fine-tuning job cancelled by request.")
# Said of disturbances, and of what is begun again after one; all else is said exactly once.
AGAIN = (
    "Attempt ",
    "Fine-tuning job taken up again",
    "Fine-tuning job started again",
    "Fine-tuning job paused",
    "Fine-tuning job resumed",
    "Validating ",
)


@dataclass
class Findings:
    """`what` tells each; the counts are by kind of fault."""

    what: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, kind: str, text: str) -> None:
        self.counts[kind] += 1
        self.what.append(f"{kind}: {text}")


def check(trial: Trial) -> Findings:
    found = Findings()
    for number, job_id in enumerate(trial.jobs):
        _check_job(found, trial, job_id, trial.references[number % len(KINDS)])
    _check_files(found, trial.place)
    return found


def _check_job(found: Findings, trial: Trial, job_id: str, reference: str) -> None:
    place, job = trial.place, trial.place.job(job_id)
    messages = place.messages(job_id)
    ends = [message for message in messages if message.startswith(ENDS)]
    if job.status not in (jobs.SUCCEEDED, jobs.CANCELLED) or len(ends) != 1 or messages[-1] != ends[0]:
        found.add("not_ended", f"{job_id} is {job.status}, with {ends}")
    versions = place.versions(job_id, final=True)
    if len(versions) != (job.status == jobs.SUCCEEDED):
        found.add("doubled_versions", f"{job_id} ({job.status}) has {len(versions)} versions")
    steps = [event.data["step"] for event in place.events(job_id) if event.type == "metrics" and event.data]
    if steps != sorted(set(steps)):
        found.add("lost_events", f"{job_id} tells its steps in this order: {steps}")
    if job.status == jobs.SUCCEEDED:
        _compare(found, trial, job_id, reference, steps)


def _compare(found: Findings, trial: Trial, job_id: str, reference: str, steps: list[int]) -> None:
    """A job that succeeded has told and learnt what the undisturbed one has."""
    said, should = _told(trial.place, job_id), _told(trial.undisturbed, reference)
    if said != should:
        found.add("lost_events", f"{job_id} has said {said}, not {should}")
    other = _learnt(trial.undisturbed, reference)
    if _learnt(trial.place, job_id) != other:
        found.add("wrong_losses", f"{job_id} has learnt otherwise than {reference}")
    rows = list(csv.DictReader(io.StringIO(other[0])))
    (log,) = (trial.place.settings.home / "tensorboard").glob(f"*/*/{job_id}")
    if list(tensorboard(log)) != [int(row["step"]) for row in rows]:
        found.add("lost_events", f"{job_id} shows TensorBoard the steps {list(tensorboard(log))}")
    must = {int(row["step"]) for row in rows if row["valid_loss"] or row["full_valid_loss"]}
    must |= {1, len(rows), *(row.step for row in trial.undisturbed.checkpoints(reference))}
    if not must <= set(steps) <= set(range(1, len(rows) + 1)):
        found.add("lost_events", f"{job_id} has not told of the steps {sorted(must - set(steps))}")


def _told(place: Place, job_id: str) -> list[str]:
    """Without names and seconds."""
    return [
        re.sub(r"ft(job-\w+|:\S+)|file-\w+|[\d.]+ s\b", "", message)
        for message in place.messages(job_id)
        if not message.startswith(AGAIN)
    ]


def _learnt(place: Place, job_id: str) -> tuple[Any, ...]:
    """(the results file, the weights, tokens, step and figures of each checkpoint)."""
    job, (version,) = place.job(job_id), place.versions(job_id, final=True)
    weights = (publish.folder(place.settings.home, version.sha256) / WEIGHTS).read_bytes()
    points = [(row.step, row.metrics) for row in place.checkpoints(job_id)]
    return place.content(job.result_files[0]), weights, job.trained_tokens, points


def _check_files(found: Findings, place: Place) -> None:
    """After the sweeps that a server and a worker make: whole, named by a row, and nothing else."""
    home = place.settings.home
    for left in (home / "incoming").glob("*"):
        os.utime(left, times=(left.stat().st_mtime - TWO_DAYS,) * 2)
    sweep(place.database, Blobs(home), home)
    with place.database.read() as session:
        scratch.sweep(session, home)
        versions = set(session.scalars(select(Version.sha256)))
        files = set(session.scalars(select(File.sha256)))
    for sha256 in versions:
        if not publish.folder(home, sha256).is_dir():
            found.add("half_files", f"the version {sha256} has no folder")
    for text in _left_over(place, versions, files):
        found.add("half_files", text)


def _left_over(place: Place, versions: set[str], files: set[str]) -> Iterator[str]:
    home = place.settings.home
    for folder in (home / "adapters").iterdir():
        if content_digest(folder) != folder.name:
            yield f"{folder} is not whole"
        elif folder.name not in versions:
            # Stored when its job was cancelled, before its row was written: it is nobody's.
            maker = json.loads((folder / FILE).read_text())["job_id"]
            if place.job(maker).status != jobs.CANCELLED:
                yield f"{folder} has no row"
    for blob in (home / "files").glob("*/*"):
        if hashlib.sha256(blob.read_bytes()).hexdigest() != blob.name or blob.name not in files:
            yield f"{blob} is not whole, or has no row"
    for left in [*(home / "incoming").glob("*"), *(home / "jobs").glob("*")]:
        yield f"{left} is left"
