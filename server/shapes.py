"""Rows as OpenAI's objects: field for field what reference documents of the API say, nothing more.

Brands and the audit are ours, in the same style.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from records.models import DPO, SUPERVISED, Audit, Checkpoint, Event, File, Job, Rollout
from server.graders.base import Fault, Grade

T = TypeVar("T")
Shape = dict[str, Any]
# fmt: off
GRADE_FLAGS = (
    "formula_parse_error", "sample_parse_error", "truncated_observation_error", "unresponsive_reward_error",
    "invalid_variable_error", "other_error", "python_grader_server_error", "python_grader_runtime_error",
    "model_grader_server_error", "model_grader_refusal_error", "model_grader_parse_error",
)
# fmt: on
HYPERPARAMETERS = ("n_epochs", "batch_size", "learning_rate_multiplier")
OF_METHOD = {SUPERVISED: HYPERPARAMETERS, DPO: ("beta", *HYPERPARAMETERS)}


def file(row: File) -> Shape:
    shape: Shape = {
        "id": row.id,
        "object": "file",
        "bytes": row.bytes,
        "created_at": row.created_at,
        "filename": row.filename,
        "purpose": row.purpose,
        # "uploaded" is not an end for the SDK, which would wait for 30 minutes.
        "status": "processed",
    }
    if row.expires_at is not None:
        shape["expires_at"] = row.expires_at
    return shape


def job(row: Job) -> Shape:
    chosen = {name: row.hyperparameters.get(name, "auto") for name in OF_METHOD[row.method]}
    return {
        "id": row.id,
        "object": "fine_tuning.job",
        "created_at": row.created_at,
        "finished_at": row.finished_at,
        "model": row.model,
        "fine_tuned_model": row.fine_tuned_model,
        "organization_id": row.tenant,
        "status": row.status,
        "training_file": row.training_file,
        "validation_file": row.validation_file,
        "result_files": row.result_files,
        "trained_tokens": row.trained_tokens,
        "seed": row.seed,
        "hyperparameters": chosen if row.method == SUPERVISED else {},  # required, of supervised jobs only
        "method": {"type": row.method, row.method: {"hyperparameters": chosen}},
        "error": row.error,
        "estimated_finish": row.estimated_finish,
        "integrations": row.integrations or [],
        "metadata": row.metadata_,
    }


def event(row: Event) -> Shape:
    return {
        "id": row.id,
        "object": "fine_tuning.job.event",
        "created_at": row.created_at,
        "level": row.level,
        "type": row.type,
        "message": row.message,
        "data": row.data or {},
    }


def checkpoint(row: Checkpoint) -> Shape:
    return {
        "id": row.id,
        "object": "fine_tuning.job.checkpoint",
        "created_at": row.created_at,
        "fine_tuning_job_id": row.job_id,
        "fine_tuned_model_checkpoint": row.version,
        "step_number": row.step,
        "metrics": row.metrics,
    }


def model(name: str, created: int, owner: str) -> Shape:
    return {"id": name, "object": "model", "created": created, "owned_by": owner}


def brand(row: Rollout) -> Shape:
    return {
        "id": row.brand,
        "object": "brand",
        "base": row.base,
        "live": row.live,
        "previous": row.previous,
        "candidate": row.candidate,
        "share": row.share,
        "shadow": row.shadow,
        "pending": row.pending,
        "paused": row.paused,
        "gate": row.gate,
        "generation": row.generation,
        "updated_at": row.updated_at,
    }


def audit(row: Audit) -> Shape:
    return {
        "id": row.id,
        "object": "audit",
        "created_at": row.at,
        "actor": row.actor,
        "action": row.action,
        "subject": row.object,
        "before": row.before,
        "after": row.after,
        "request_id": row.request_id,
    }


def grade(name: str, kind: str, given: Grade) -> Shape:
    """`passed` and `reason` are ours; whichever flag is not among Fault is never true here."""
    broken = given.reason if Fault.ENGINE in given.faults else None
    rewards = {part: one.reward for part, one in given.parts.items()}
    return {
        "reward": given.reward,
        "metadata": {
            "name": name,
            "type": kind,
            "errors": {
                **dict.fromkeys(GRADE_FLAGS, False),
                **{fault.value: True for fault in given.faults},
                "python_grader_server_error_type": None,
                "python_grader_runtime_error_details": None,
                "model_grader_server_error_details": broken,
            },
            "execution_time": given.seconds,
            "scores": rewards,
            "token_usage": sum(given.tokens.values()) if given.tokens else None,
            "sampled_model_name": next(iter(given.tokens)) if len(given.tokens) == 1 else None,
            "passed": given.passed,
            "reason": given.reason,
        },
        "sub_rewards": rewards,
        "model_grader_token_usage_per_model": dict(given.tokens),
    }


def deleted(kind: str, name: str) -> Shape:
    return {"id": name, "object": kind, "deleted": True}


def listed(rows: Sequence[T], shape: Callable[[T], Shape], has_more: bool, empty: str | None = None) -> Shape:
    """A cursor page. `empty` stands for the ids of an empty page: the file list's schema forbids null."""
    data = [shape(row) for row in rows]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else empty,
        "last_id": data[-1]["id"] if data else empty,
        "has_more": has_more,
    }
