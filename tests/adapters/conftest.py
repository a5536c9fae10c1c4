"""Rows with two tenants, a base that is only hashes, and a way to publish."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adapters import publish, rollout
from adapters.base import Base
from adapters.manifest import CONFIG, WEIGHTS, Manifest
from records import jobs, tenants
from records.audit import By
from records.database import Database
from records.models import SUCCEEDED, Job, Version, new_id

BASE = Base("tiny", "tiny", Path("/nowhere"), "c" * 64, "w" * 64, "t" * 64)
Publish = Callable[..., Version]


@pytest.fixture
def database(database: Database) -> Database:
    with database.write() as session:
        for name in ("acme", "rival"):
            tenants.create(session, name)
            row = Job(
                id=f"ftjob-{name}", tenant=name, brand="", model="tiny", status=SUCCEEDED, created_at=1,
                training_file="f", seed=1, requested={}, hyperparameters={}, result_files=[],
                request_sha256="",
            )  # fmt: skip
            jobs.add(session, row)
    return database


def manifest(**given: Any) -> Manifest:
    values: dict[str, Any] = {
        "base": BASE.slug,
        "base_config_sha256": BASE.config_sha256,
        "base_weights_sha256": BASE.weights_sha256,
        "template_sha256": BASE.template_sha256,
        "rank": 8,
        "alpha": 16.0,
        "target_modules": ["q_proj"],
        "job_id": "ftjob-acme",
        "step": 10,
        "seed": 1,
        "training_sha256": "0" * 64,
        "validation_sha256": None,
        "hyperparameters": {},
        "metrics": {},
        "code_version": "test",
    }
    return Manifest(**{**values, **given})


def draft(home: Path, weights: bytes = b"weights") -> Path:
    folder = home / new_id("draft-")
    folder.mkdir()
    (folder / CONFIG).write_text("{}")
    (folder / WEIGHTS).write_bytes(weights)
    return folder


@pytest.fixture
def publish_one(database: Database, tmp_path: Path) -> Publish:
    seeds = iter(range(1000))

    def publish_it(
        brand: str = "luxe",
        tenant: str = "acme",
        checkpoint: bool = False,
        proved: bool = True,
        **given: Any,
    ) -> Version:
        made = manifest(**{"seed": next(seeds), "job_id": f"ftjob-{tenant}", **given})
        sha256 = publish.store(tmp_path, draft(tmp_path), made)
        with database.write() as session:
            row = publish.record(session, made, sha256, tenant=tenant, brand=brand, checkpoint=checkpoint)
            row.proved_at = 1 if proved else None
            if not checkpoint:
                rollout.arrived(session, row, By(f"job:{made.job_id}"))
            return row

    return publish_it
