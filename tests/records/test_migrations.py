"""Rows of an older release after the move to this one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

from records.database import Database
from records.models import Audit, Rollout


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Database]:
    """A database at revision 0001 with one tenant."""
    database = Database(f"sqlite:///{tmp_path}/rows.db")
    config = Config()
    config.set_main_option("script_location", "records:migrations")
    with database.engine.connect().execution_options(chorus_write=True) as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for tenant in ("acme", "rival"):
            connection.execute(text(f"INSERT INTO tenants VALUES ('{tenant}', 1)"))
    yield database
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
    with old.engine.connect().execution_options(chorus_write=True) as connection, connection.begin():
        config = Config()
        config.set_main_option("script_location", "records:migrations")
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        connection.execute(text("UPDATE rollouts SET live = 'promoted', candidate = 'tried'"))
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
