"""One idempotency key is one job, however many requests carry it at once, on either database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from records import files, tenants
from records.database import Database
from records.models import Job
from records.settings import Settings
from server.job_create import Retry, create_once
from server.job_parent import Office
from server.job_request import JobRequest
from server.names import Names
from tests.server.conftest import a_base


def test_one_idempotency_key_is_one_job_even_at_the_same_time(database: Database, tmp_path: Path) -> None:
    with database.write() as session:
        tenants.create(session, "acme")
        file = files.add(session, "acme", sha256="0" * 64, size=1, filename="a", purpose="fine-tune")
    body = {"model": "tiny", "training_file": file.id}
    settings = Settings(home=tmp_path)
    base = a_base(tmp_path)
    office = Office(settings, database, base, Names(database, base))
    asked, retry = JobRequest.model_validate(body), Retry.of(body, {"idempotency-key": "k"})
    with ThreadPoolExecutor(6) as pool:
        made = [pool.submit(create_once, office, "acme", asked, retry) for _ in range(6)]
        assert len({done.result().id for done in made}) == 1
    with database.read() as session:
        assert session.query(Job).count() == 1
