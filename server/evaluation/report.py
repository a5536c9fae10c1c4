"""A job's report, out of its rows: what was learnt from, how it went, how it answers, and whether it was
worth it. What was not measured is None.

Called by the route and by `chorus jobs report`; page.py makes the page of it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from records import evaluations
from records.cases import CHECKPOINT_CASES
from records.models import CANCELLED, FAILED, Checkpoint, Evaluation, Event, Job, Version
from server.evaluation import compared, subjects
from server.evaluation.summary import summary
from server.evaluation.verdict import unknown

DATA_CHECK = "Data check: "
LOSSES = ("train_loss", "valid_loss", "full_valid_loss", "train_mean_token_accuracy")

Shape = dict[str, Any]


def report(session: Session, job: Job) -> Shape:
    """JSON, also of a job that has not ended: then with what there is so far."""
    row = evaluations.of(session, job.id)
    results = row.results if row is not None and row.status == evaluations.DONE else None
    asked = results["subjects"] if results else []
    versions = session.scalars(select(Version).where(Version.job_id == job.id).order_by(Version.seq)).all()
    final = next((one for one in versions if one.name == job.fine_tuned_model), None)
    return {
        "object": "fine_tuning.job.report",
        "job": _job(job),
        **_origin(job, versions[-1] if versions else None, _data_check(session, job)),
        "effort": _effort(session, job),
        "loss": _losses(session, job),
        "checkpoints": _checkpoints(session, job, final, results),
        "evaluation": _evaluation(row, results),
        "subjects": [summary(subject, results["cases"]) for subject in asked] if results else [],
        "prompt_tokens_saved": compared.tokens_saved(asked),
        "side_by_side": compared.side_by_side(results) if results else [],
        "worst_against_live": compared.worst(results, subjects.LIVE) if results else [],
        "worst_against_base": compared.worst(results, subjects.BASE) if results else [],
        "gate": {
            "rule": row.request["gate"] if row else None,
            "outcome": results["gate"] if results else None,
            "held_back": final.held_back if final else None,
        },
        "verdict": results["verdict"] if results else unknown(_why_not(job, row)),
    }


def _job(job: Job) -> Shape:
    names = (
        "id",
        "status",
        "brand",
        "model",
        "fine_tuned_model",
        "created_at",
        "finished_at",
        "seed",
        "error",
    )
    return {name: getattr(job, name) for name in names}


def _data_check(session: Session, job: Job) -> str | None:
    """What the data doctor said of its files, in a sentence."""
    of = (Event.job_id == job.id, Event.message.startswith(DATA_CHECK))
    found = session.scalar(select(Event.message).where(*of).order_by(Event.seq).limit(1))
    return found.removeprefix(DATA_CHECK) if found else None


def _origin(job: Job, version: Version | None, data_check: str | None) -> Shape:
    """What it was trained on, with what; by the manifest of one of its versions where there is one."""
    manifest = version.manifest if version else {}
    return {
        "data": {
            "training_file": job.training_file,
            "training_sha256": manifest.get("training_sha256"),
            "validation_file": job.validation_file,
            "validation_sha256": manifest.get("validation_sha256"),
            "trained_tokens": job.trained_tokens,
            "data_check": data_check,
        },
        "base": {
            name: manifest.get(f"base_{name}") for name in ("config_sha256", "weights_sha256")
        } | {"template_sha256": manifest.get("template_sha256")},
        "hyperparameters": manifest.get("hyperparameters") or job.hyperparameters,
        "code_version": manifest.get("code_version"),
    }  # fmt: skip


def _effort(session: Session, job: Job) -> Shape | None:
    """What training was quoted to take, and what it took, by the event that says so."""
    of = (Event.job_id == job.id, Event.type == "message", Event.data.is_not(None))
    told = session.scalars(select(Event.data).where(*of).order_by(Event.seq.desc()))
    return next((data for data in told if data and "took" in data), None)


def _losses(session: Session, job: Job) -> list[Shape]:
    """As the metrics events tell them: at most a few hundred steps."""
    told = select(Event.data).where(Event.job_id == job.id, Event.type == "metrics").order_by(Event.seq)
    return [
        {"step": data["step"], **{name: data.get(name) for name in LOSSES}}
        for data in session.scalars(told)
        if data
    ]


def _checkpoints(session: Session, job: Job, final: Version | None, results: Shape | None) -> list[Shape]:
    """With its score where it was asked, on `asked` cases that are the same for all; `published` is the one
    that became the job's version."""
    cases = subjects.spread(results["cases"], CHECKPOINT_CASES) if results else []
    asked = {case["id"] for case in cases}
    scored = {one["step"]: one for one in results["subjects"] if one["step"] is not None} if results else {}
    rows = session.scalars(select(Checkpoint).where(Checkpoint.job_id == job.id).order_by(Checkpoint.step))
    best = final.manifest.get("step") if final else None
    shapes = []
    for row in rows:
        found = scored.get(row.step)
        figures = _on(asked, found, cases) if found is not None else {}
        shapes.append(
            {
                "step": row.step,
                "model": row.version,
                **{name: row.metrics.get(name) for name in LOSSES},
                "score": figures.get("score"),
                "interval": figures.get("interval"),
                "asked": figures.get("answered"),
                "published": row.step == best,
            }
        )
    return shapes


def _on(asked: Collection[str], subject: Shape, cases: Sequence[Shape]) -> Shape:
    return summary({**subject, "cases": [case for case in subject["cases"] if case["id"] in asked]}, cases)


def _evaluation(row: Evaluation | None, results: Shape | None) -> Shape | None:
    if row is None:
        return None
    return {
        "id": row.id,
        "status": row.status,
        "error": row.error,
        "items_sha256": row.items_sha256,
        "created_at": row.created_at,
        "finished_at": row.finished_at,
        "cases": len(results["cases"]) if results else None,
        "left_out": results["left_out"] if results else None,
        "taught": results.get("taught") if results else None,
        "instruction": results["instruction"] if results else None,
        "scores": results["scores"] if results else None,
    }


def _why_not(job: Job, row: Evaluation | None) -> str:
    if job.status == FAILED:
        return f"The job failed: {(job.error or {}).get('message')}"
    if job.status == CANCELLED:
        return "The job was cancelled."
    if row is not None and row.error:
        return f"It could not be evaluated: {row.error}"
    if row is not None:
        return "The evaluation has not ended."
    if job.finished_at is None:
        return "The job has not been evaluated yet."
    return "It was not evaluated: no examples were held out, or no server ran when the job ended."
