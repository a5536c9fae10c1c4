"""Insert a fine-tuning job exactly once, however often the client sends the request.

The SDK repeats a POST after a time-out or 5xx without an Idempotency-Key; it only says so in
`x-stainless-retry-count` (seen in openai-python 3.54). An equal body then finds the job of the first try.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from records import files, jobs
from records.models import SWEEP, VALIDATING, Job, new_id
from server.errors import invalid
from server.job_parent import Office, parent
from server.job_request import MAX_SEED, JobRequest
from server.job_servable import check_base, check_room

RETRY_SECONDS = 600
KEY_SECONDS = 24 * 3600
MAX_KEY = 255


@dataclass(frozen=True)
class Retry:
    """What tells a repeated request from a new one."""

    body_sha256: str
    key: str | None
    repeated: bool

    @classmethod
    def of(cls, body: dict[str, Any], headers: Mapping[str, str]) -> Retry:
        """Raises RequestRefused for an unusable Idempotency-Key."""
        canonical = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
        key = headers.get("idempotency-key")
        if key is not None and not (0 < len(key) <= MAX_KEY and key.isprintable()):
            raise invalid(
                f"Idempotency-Key must have 1 to {MAX_KEY} printable characters.", "idempotency-key"
            )
        count = headers.get("x-stainless-retry-count", "0")
        return cls(hashlib.sha256(canonical).hexdigest(), key, count.isdecimal() and int(count[:9]) > 0)


def create_once(office: Office, tenant: str, asked: JobRequest, retry: Retry) -> Job:
    """The job of this request, durable on return. Raises RequestRefused for what `check_base` and `checked`
    refuse."""
    with office.database.read() as session:
        known = _known(session, tenant, retry)
    if known is not None:
        return known
    check_base(office)  # reads files: nobody's write shall wait for that
    with office.database.write() as session:
        known = _known(session, tenant, retry)
        if known is not None:
            return known
        row = checked(session, office, tenant, asked, seed=secrets.randbelow(MAX_SEED + 1))
        row.request_sha256, row.idempotency_key = retry.body_sha256, retry.key
        jobs.add(session, row)
        return row


def checked(session: Session, office: Office, tenant: str, asked: JobRequest, *, seed: int) -> Job:
    """The row of the job that is asked for, not added; `seed` where none is given. Raises RequestRefused for
    a file, a model or a name that does not do, or where what it makes could not be served."""
    if asked.suffix is not None and office.base.is_named(asked.suffix):
        raise invalid("'suffix' must not be the name of the base model.", "suffix", "invalid_value")
    _check_file(session, tenant, "training_file", asked.training_file)
    if asked.validation_file is not None:
        _check_file(session, tenant, "validation_file", asked.validation_file)
    chosen, model = asked.chosen(), office.base.slug
    epochs = chosen["n_epochs"] if chosen["n_epochs"] != "auto" else None
    if office.base.is_named(asked.model):
        check_room(office, epochs)
    else:
        origin = parent(session, office, tenant, asked.model)
        model = origin.name
        check_room(office, epochs, origin.manifest["rank"], origin.manifest["target_modules"])
    return Job(
        id=new_id("ftjob-"),
        tenant=tenant,
        brand=asked.suffix or "",
        model=model,
        status=VALIDATING,
        created_at=int(time.time()),
        training_file=asked.training_file,
        validation_file=asked.validation_file,
        base_hashes=office.base.hashes,
        seed=seed if asked.seed is None else asked.seed,
        method=asked.method_type,
        requested=chosen | ({SWEEP: asked.sweep.trials} if asked.sweep else {}),
        hyperparameters=chosen,
        metadata_=asked.metadata,
        evaluation=asked.evaluation.model_dump() if asked.evaluation else None,
        integrations=[one.model_dump() for one in asked.integrations or []] or None,
        result_files=[],
    )


def _known(session: Session, tenant: str, retry: Retry) -> Job | None:
    if retry.key is not None:
        found = _newest(session, tenant, KEY_SECONDS, Job.idempotency_key == retry.key)
        if found is not None and found.request_sha256 != retry.body_sha256:
            said = "This Idempotency-Key was used for another request; use a new one."
            raise invalid(said, "idempotency-key", "idempotency_key_reused")
        return found
    if retry.repeated:
        return _newest(session, tenant, RETRY_SECONDS, Job.request_sha256 == retry.body_sha256)
    return None


def _newest(session: Session, tenant: str, seconds: int, same: ColumnElement[bool]) -> Job | None:
    recent = Job.created_at > int(time.time()) - seconds
    query = select(Job).where(Job.tenant == tenant, same, recent).order_by(Job.seq.desc()).limit(1)
    return session.scalar(query)


def _check_file(session: Session, tenant: str, param: str, file_id: str) -> None:
    row = files.get(session, tenant, file_id)
    if row is None:
        raise invalid(
            f"invalid {param}: {file_id[:80]}. Upload it first; no such file.", param, "file_not_found"
        )
    if row.purpose != "fine-tune":
        said = f"{param} {file_id} has purpose '{row.purpose}'; upload it with purpose 'fine-tune'."
        raise invalid(said, param, "invalid_file_purpose")
