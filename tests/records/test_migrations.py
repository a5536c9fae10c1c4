"""Rows of an older release after the move to this one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from records.database import Database
from records.models import Audit, Rollout, Row


@pytest.fixture
def old(database_url: str) -> Iterator[Database]:
    """A database at revision 0001 with two tenants."""
    database = Database(database_url)
    database.prepare("0001")
    with database.write() as session:
        for tenant in ("acme", "rival"):
            session.execute(text(f"INSERT INTO tenants VALUES ('{tenant}', 1)"))
    yield database
    database.close()


@pytest.mark.parametrize(
    "revision", ["base", "0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009"]
)
def test_from_each_revision_come_the_tables_that_the_models_say(database_url: str, revision: str) -> None:
    database = Database(database_url)
    if revision != "base":
        database.prepare(revision)
    database.prepare()
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Row.metadata) == []
    database.close()


def add(database: Database, name: str, *, tenant: str = "acme", brand: str = "luxe", **given: object) -> None:
    values = {"base": "tiny", "step": None, "deleted_at": None, **given}
    with database.write() as session:
        session.execute(
            text(
                "INSERT INTO versions"
                " (name, tenant, brand, base, sha256, step, created_at, deleted_at, manifest)"
                " VALUES (:name, :tenant, :brand, :base, 'x', :step, 1, :deleted_at, '{}')"
            ),
            {"name": name, "tenant": tenant, "brand": brand, **values},
        )


def test_each_brand_gets_a_rollout_of_its_newest_final_versions(old: Database) -> None:
    add(old, "luxe-1")
    add(old, "luxe-2")
    add(old, "luxe-3")
    add(old, "luxe-4", step=5)
    add(old, "luxe-5", deleted_at=2)
    add(old, "clinic-1", brand="clinic")
    add(old, "luxe-large", base="large")
    add(old, "theirs", tenant="rival")
    add(old, "nameless", brand="")
    add(old, "only-checkpoint", brand="draft", step=1)
    add(old, "all-gone", brand="gone", deleted_at=2)
    old.prepare()
    with old.read() as session:
        rows = {(row.tenant, row.brand, row.base): row for row in session.query(Rollout)}
        noted = session.query(Audit).all()
    assert {key: (row.live, row.previous) for key, row in rows.items()} == {
        ("acme", "luxe", "tiny"): ("luxe-3", "luxe-2"),
        ("acme", "clinic", "tiny"): ("clinic-1", None),
        ("acme", "luxe", "large"): ("luxe-large", None),
        ("rival", "luxe", "tiny"): ("theirs", None),
    }
    for row in rows.values():
        assert (row.candidate, row.shadow, row.share, row.paused, row.generation) == (None, None, 0, False, 1)
    assert {(row.actor, row.action, row.before) for row in noted} == {("migration", "arrived", None)}
    assert len(noted) == len(rows)


def test_what_answered_before_there_were_proofs_goes_on_to(old: Database) -> None:
    add(old, "final")
    add(old, "promoted", step=5)
    add(old, "tried", step=6)
    add(old, "checkpoint", step=7)
    old.prepare("0002")
    with old.write() as session:
        session.execute(text("UPDATE rollouts SET live = 'promoted', candidate = 'tried'"))
    old.prepare()
    with old.read() as session:
        rows = session.execute(text("SELECT name, proved_at, refuted, proof FROM versions")).all()
        pending = session.execute(text("SELECT pending FROM rollouts")).scalars().all()
    assert {row.name for row in rows if row.proved_at} == {"final", "promoted", "tried"}
    assert {(row.refuted, row.proof) for row in rows} == {(None, None)}
    assert pending == [None]


def test_an_empty_database_gets_empty_tables(old: Database) -> None:
    old.prepare()
    with old.read() as session:
        assert session.query(Rollout).count() == session.query(Audit).count() == 0
