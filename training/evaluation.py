"""Asks a server to evaluate what a job is about to publish, and waits for it. Called by attempt.py.

Training and serving meet in the rows: the job writes what to ask, a server writes what was answered. Without
a server a job goes on and says so.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import select

from adapters import rollout
from adapters.base import Base
from adapters.gate import Gate
from records import cases, evaluations, jobs
from records.blobs import Blobs
from records.cases import Case, Material
from records.dataset import parse
from records.jobs import ACTIVE, LeaseLost
from records.models import Checkpoint, Evaluation, Job
from records.settings import Settings
from training.inputs import Inputs
from training.journal import Journal, Said

POLL_SECONDS = 0.2
SHOTS, SHOT_TEXT = 5, 2_000  # examples of a few-shot prompt, and the characters that one may have
MOST_TOKENS = 1024  # of an answer


def carry_out(
    settings: Settings, journal: Journal, job: Job, base: Base, inputs: Inputs, step: int
) -> list[Said]:
    """Have the checkpoint of `step`, which becomes the job's version, evaluated. Why it could not be is for
    the job's last transaction to say: a kill before that would double it. Raises LeaseLost.

    Returns when that is done, has failed, or no server was seen for `evaluation_wait_seconds`. After a kill
    the same evaluation is found again.
    """
    gated = _gate(journal, job, base)
    if not inputs.valid and gated is None:
        return []
    # What was asked before a kill is waited for: the server may have been killed too, and is coming back.
    if not (_is_served(settings, journal, base) or _known(journal, job)):
        return [Said(f"Not evaluated: no server of {base.slug} is running.", "warn")]
    evaluation = _ask(settings, journal, job, base, inputs, step)
    failed = _wait(settings, journal, evaluation.id)
    return [Said(f"Not evaluated: {failed}", "warn")] if failed else []


def material(home: Path, job: Job, inputs: Inputs) -> Material:
    """What is asked, read again from the job's files: at most cases.MOST_CASES held-out examples, and what a
    base may be given in their place."""
    held_out, taught = {one.line for one in inputs.valid}, {one.line for one in inputs.train}
    training = Blobs(home).path(inputs.training_sha256)
    if inputs.validation_sha256 is None:
        asked = list(_read(training, job.training_file, held_out))
    else:
        asked = list(_read(Blobs(home).path(inputs.validation_sha256), job.validation_file or "", held_out))
    source = random.Random(f"{job.seed}/evaluation")
    rows = [case for case in _read(training, job.training_file, taught) if case is not None]
    known = {row.said for row in rows}
    found = [case for case in asked if case is not None]
    chosen = [case for case in found if case.said not in known]
    repeated = len(found) - len(chosen)
    if len(chosen) > cases.MOST_CASES:
        kept = set(source.sample(range(len(chosen)), cases.MOST_CASES))
        chosen = [case for place, case in enumerate(chosen) if place in kept]
    short = [row for row in rows if sum(len(str(said)) for said in row.messages) <= SHOT_TEXT]
    shared, given = cases.shared_instruction(rows), (job.evaluation or {}).get("instruction")
    return Material(
        cases=chosen,
        shots=source.sample(short, min(SHOTS, len(short))),
        instruction=given or shared,
        from_rows=given is None and shared is not None,
        max_tokens=_longest_answer(inputs),
        left_out=sum(case is None for case in asked),
        taught=repeated,
    )


def _longest_answer(inputs: Inputs) -> int:
    """A quarter more than the tokens of the longest answer there is: who says more has lost the thread."""
    examples = [*inputs.train, *inputs.valid]
    most = max(sum(sequence.learnt) for example in examples for sequence in example.sequences)
    return min(MOST_TOKENS, most + most // 4 + 16)


def _read(path: Path, file_id: str, lines: set[int]) -> Iterable[Case | None]:
    with path.open("rb") as stream:
        for number, line in parse(stream):
            if number in lines:
                yield cases.of(line, f"{file_id}:{number}")


def _gate(journal: Journal, job: Job, base: Base) -> dict[str, Any] | None:
    with journal.database.read() as session:
        row = rollout.find(session, job.tenant, job.brand, base.slug) if job.brand else None
        return row.gate if row else None


def _known(journal: Journal, job: Job) -> bool:
    with journal.database.read() as session:
        return evaluations.of(session, job.id) is not None


def _is_served(settings: Settings, journal: Journal, base: Base) -> bool:
    with journal.database.read() as session:
        unseen = evaluations.unseen_seconds(session, base.weights_sha256)
    return unseen <= settings.evaluation_wait_seconds and math.isfinite(unseen)


def _ask(settings: Settings, journal: Journal, job: Job, base: Base, inputs: Inputs, step: int) -> Evaluation:
    found, blobs = material(settings.home, job, inputs), Blobs(settings.home)
    with blobs.draft() as draft:
        draft.write(found.model_dump_json().encode())
        sha256, _ = blobs.seal(draft)
        with journal.write() as (session, _):
            row = rollout.find(session, job.tenant, job.brand, base.slug) if job.brand else None
            steps = select(Checkpoint).where(Checkpoint.job_id == job.id).order_by(Checkpoint.step)
            checkpoints = [{"step": one.step, "model": one.version} for one in session.scalars(steps)]
            request = {
                "step": step,
                "checkpoints": checkpoints,
                "live": row.live if row else None,
                "gate": row.gate if row else None,
            }
            evaluation, new = evaluations.ask(session, job, base.weights_sha256, request, sha256)
            blobs.place(draft, sha256)
            if new:
                jobs.say(session, job.id, _said(found, row.gate if row else None, checkpoints))
            return evaluation


def _said(found: Material, gate: dict[str, Any] | None, checkpoints: Sequence[Any]) -> str:
    asked = f"{len(checkpoints)} checkpoints and the base on {len(found.cases)} held-out examples"
    if len(checkpoints) > 1 and len(found.cases) > cases.CHECKPOINT_CASES:
        asked += f" (checkpoints that are not published on {cases.CHECKPOINT_CASES})"
    rule = gate and Gate.model_validate(gate)
    cases_too = ", and the cases that must not regress" if rule and rule.must_not_regress else ""
    return f"Evaluating {asked}{cases_too}"


def _wait(settings: Settings, journal: Journal, evaluation_id: str) -> str | None:
    """Until it has ended; the reason when it has none of what was asked for. Raises LeaseLost."""
    lease, began = journal.lease, time.monotonic()
    while True:
        with journal.database.read() as session:
            held = session.scalar(
                select(Job.id).where(Job.id == lease.job_id, Job.fence == lease.fence, Job.status.in_(ACTIVE))
            )
            row = session.scalars(select(Evaluation).where(Evaluation.id == evaluation_id)).one()
            unseen = min(evaluations.unseen_seconds(session, row.base_sha256), time.monotonic() - began)
        if held is None:
            raise LeaseLost(lease.job_id)
        if row.status not in evaluations.OPEN:
            return row.error if row.status == evaluations.FAILED else None
        if unseen > settings.evaluation_wait_seconds and not evaluations.is_held(row):
            why = f"no server was seen for {settings.evaluation_wait_seconds:g} s."
            with journal.write() as (session, _):
                if evaluations.abandon(session, evaluation_id, why):
                    return why
        time.sleep(POLL_SECONDS)
