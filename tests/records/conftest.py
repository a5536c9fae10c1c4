"""An empty database with two tenants."""

from __future__ import annotations

from typing import Any

import pytest

from records import jobs, tenants
from records.database import Database
from records.models import VALIDATING, Job, new_id


@pytest.fixture
def database(database: Database) -> Database:
    with database.write() as session:
        for name in ("acme", "rival"):
            tenants.create(session, name)
    return database


def add_job(database: Database, tenant: str = "acme", **values: Any) -> str:
    """A job that waits for a worker; gives back its id."""
    given: dict[str, Any] = {
        "status": VALIDATING,
        "training_file": "file-x",
        "validation_file": None,
        **values,
    }
    row = Job(
        id=new_id("ftjob-"),
        tenant=tenant,
        brand="",
        model="tiny",
        created_at=1,
        seed=1,
        requested={},
        hyperparameters={},
        result_files=[],
        request_sha256="",
        **given,
    )
    with database.write() as session:
        jobs.add(session, row)
    return row.id
