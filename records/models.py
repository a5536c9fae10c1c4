"""The rows. Times are whole seconds since the epoch (UTC); ids are ours and carry OpenAI's prefixes."""

from __future__ import annotations

import secrets
from typing import Any

from sqlalchemy import JSON, BigInteger, Float, ForeignKey, Index, Integer, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# SQLite only numbers a column by itself when its type is exactly INTEGER.
Serial = BigInteger().with_variant(Integer, "sqlite")

VALIDATING, QUEUED, RUNNING, PAUSED = "validating_files", "queued", "running", "paused"
SUCCEEDED, FAILED, CANCELLED = "succeeded", "failed", "cancelled"
ACTIVE = (VALIDATING, QUEUED, RUNNING)  # what a worker may claim
UNFINISHED = (*ACTIVE, PAUSED)
TERMINAL = (SUCCEEDED, FAILED, CANCELLED)
SUPERVISED, DPO = METHODS = ("supervised", "dpo")
SWEEP = "sweep"  # among what is requested: the number of trials


def new_id(prefix: str) -> str:
    """`prefix` and 24 random hex digits, as `file-3f...`; unguessable and free of `/` and `:`."""
    return f"{prefix}{secrets.token_hex(12)}"


class Row(DeclarativeBase):
    type_annotation_map = {dict[str, Any]: JSON, list[str]: JSON}  # noqa: RUF012 (SQLAlchemy's own form)


class Tenant(Row):
    __tablename__ = "tenants"
    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    created_at: Mapped[int]


class Key(Row):
    """An API key: the public id is in the clear, of the secret only the sha256 is kept."""

    __tablename__ = "keys"
    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.name"), index=True)
    secret_sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[int]
    revoked_at: Mapped[int | None]


class File(Row):
    __tablename__ = "files"
    seq: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(40), unique=True)
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.name"), index=True)
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    filename: Mapped[str] = mapped_column(String(512))
    purpose: Mapped[str] = mapped_column(String(32))
    created_at: Mapped[int]
    expires_at: Mapped[int | None]


class Job(Row):
    """A fine-tuning job. `fence` grows with each claim; a write with an older fence is refused.

    `model` is the base's slug, or the name of the version that training goes on from.
    """

    __tablename__ = "jobs"
    seq: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(40), unique=True)
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.name"), index=True)
    brand: Mapped[str] = mapped_column(String(64))
    model: Mapped[str] = mapped_column(String(256))
    status: Mapped[str] = mapped_column(String(20), index=True)
    paused_from: Mapped[str | None] = mapped_column(String(20))  # the status before the last pause
    created_at: Mapped[int]
    finished_at: Mapped[int | None]
    estimated_finish: Mapped[int | None]
    training_file: Mapped[str] = mapped_column(String(40))
    validation_file: Mapped[str | None] = mapped_column(String(40))
    # Hashes of the base that the server had when it took the job (adapters.base.Base.hashes).
    base_hashes: Mapped[dict[str, str] | None] = mapped_column(JSON(none_as_null=True))
    seed: Mapped[int]
    method: Mapped[str] = mapped_column(String(16), default=SUPERVISED)
    requested: Mapped[dict[str, Any]]  # hyperparameters as asked for, "auto" included
    hyperparameters: Mapped[dict[str, Any]]  # as shown: resolved once the worker has chosen
    metadata_: Mapped[dict[str, Any] | None] = mapped_column("metadata", JSON(none_as_null=True))
    evaluation: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))  # as the client gave
    integrations: Mapped[list[dict[str, Any]] | None] = mapped_column(JSON(none_as_null=True))  # the same
    error: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    result_files: Mapped[list[str]]
    trained_tokens: Mapped[int | None] = mapped_column(BigInteger)
    fine_tuned_model: Mapped[str | None] = mapped_column(String(256))
    request_sha256: Mapped[str] = mapped_column(String(64))  # (tenant, body): finds a client's retry
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    lease_owner: Mapped[str | None] = mapped_column(String(80))
    lease_until: Mapped[float | None] = mapped_column(Float)
    fence: Mapped[int] = mapped_column(default=0)
    attempts: Mapped[int] = mapped_column(default=0)

    __table_args__ = (Index("ix_jobs_retry", "tenant", "request_sha256"),)


class Event(Row):
    __tablename__ = "events"
    seq: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(40), unique=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    created_at: Mapped[int]
    level: Mapped[str] = mapped_column(String(8))
    type: Mapped[str] = mapped_column(String(16))
    message: Mapped[str]
    data: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))


class Checkpoint(Row):
    __tablename__ = "checkpoints"
    seq: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(40), unique=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    version: Mapped[str] = mapped_column(String(256))
    step: Mapped[int]
    created_at: Mapped[int]
    metrics: Mapped[dict[str, Any]]


class Version(Row):
    """Immutable adapter weights; `sha256` names the folder. `step` is set for a checkpoint's version.

    `proof` (adapters/proof.py) is None where nobody knows what was trained. An engine that was asked sets
    `proved_at`, or `refuted` to the reason why it is not used: adapters/proving.py. `held_back` is why its
    brand's gate did not let it go live: adapters/gate.py.
    """

    __tablename__ = "versions"
    seq: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    name: Mapped[str] = mapped_column(String(256), unique=True)
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.name"))
    brand: Mapped[str] = mapped_column(String(64))
    base: Mapped[str] = mapped_column(String(128))
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    step: Mapped[int | None]
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"))
    created_at: Mapped[int]
    deleted_at: Mapped[int | None]
    manifest: Mapped[dict[str, Any]]
    proof: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), deferred=True)  # is large
    proved_at: Mapped[int | None]
    refuted: Mapped[str | None]
    held_back: Mapped[str | None]

    __table_args__ = (
        Index("ix_versions_brand", "tenant", "brand"),
        Index("ix_versions_deleted", "deleted_at"),  # counted four times a second by each server
    )


class Rollout(Row):
    """What a brand means on one base. Versions stand here by name: each is of this tenant, brand and base.

    Changed by adapters/rollout.py only: `generation` grows by one with every change, and servers watch it.
    """

    __tablename__ = "rollouts"
    seq: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.name"))
    brand: Mapped[str] = mapped_column(String(64))
    base: Mapped[str] = mapped_column(String(128))
    live: Mapped[str | None] = mapped_column(String(256))
    previous: Mapped[str | None] = mapped_column(String(256))
    candidate: Mapped[str | None] = mapped_column(String(256))
    share: Mapped[float] = mapped_column(Float)  # of the requests, from 0 to 1, that the candidate answers
    shadow: Mapped[str | None] = mapped_column(String(256))
    pending: Mapped[str | None] = mapped_column(String(256))  # goes live once an engine has proven it
    paused: Mapped[bool]
    gate: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))  # adapters/gate.py
    generation: Mapped[int]
    updated_at: Mapped[int]

    __table_args__ = (UniqueConstraint("tenant", "brand", "base"),)


class Evaluation(Row):
    """How a job's version answers what was held out, beside the base and what is live. The job asks for it,
    a server does it (records/evaluations.py); `fence` grows with each claim, as a job's does."""

    __tablename__ = "evaluations"
    seq: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(40), unique=True)
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.name"))
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), unique=True)
    base_sha256: Mapped[str] = mapped_column(String(64))  # of the base's weights: who serves it may do it
    status: Mapped[str] = mapped_column(String(20), index=True)
    request: Mapped[dict[str, Any]]
    items_sha256: Mapped[str] = mapped_column(String(64), index=True)  # a blob: records/cases.py
    results: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), deferred=True)  # is large
    error: Mapped[str | None]
    lease_owner: Mapped[str | None] = mapped_column(String(80))
    lease_until: Mapped[float | None] = mapped_column(Float)
    fence: Mapped[int] = mapped_column(default=0)
    attempts: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[int]
    finished_at: Mapped[int | None]


class Serving(Row):
    """When a server that chats with a base, named by its weights' sha256, was last seen."""

    __tablename__ = "serving"
    base_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    seen_at: Mapped[float] = mapped_column(Float)


class Audit(Row):
    """Who changed what, and how it was before: written in the transaction of the change, never altered."""

    __tablename__ = "audit"
    seq: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(40), unique=True)
    at: Mapped[int]
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.name"))
    actor: Mapped[str] = mapped_column(String(80))
    action: Mapped[str] = mapped_column(String(32))
    object: Mapped[str] = mapped_column(String(320))
    before: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    after: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    request_id: Mapped[str | None] = mapped_column(String(64))

    __table_args__ = (Index("ix_audit_object", "tenant", "object"),)
