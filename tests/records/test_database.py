"""Durable, migrated, and safe for several processes and threads."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError

from records.database import Database
from records.models import Event, Row, Tenant, new_id
from tests.records.conftest import add_job


def test_the_migrations_make_what_the_models_say(database: Database) -> None:
    found = inspect(database.engine)
    assert set(found.get_table_names()) == {*Row.metadata.tables, "alembic_version"}
    for name, table in Row.metadata.tables.items():
        columns = {column["name"]: column for column in found.get_columns(name)}
        assert set(columns) == {column.name for column in table.columns}
        for column in table.columns:
            assert columns[column.name]["nullable"] == column.nullable, f"{name}.{column.name}"
        made = {tuple(index["column_names"]) for index in found.get_indexes(name)}
        assert {tuple(column.name for column in index.columns) for index in table.indexes} <= made


def test_preparing_twice_changes_nothing(database: Database) -> None:
    database.prepare()
    with database.read() as session:
        assert session.query(Tenant).count() == 2


def test_several_processes_may_prepare_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/fresh.db"
    code = f"from records.database import Database; Database({url!r}).prepare()"
    running = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]


def test_what_was_committed_survives_the_end_of_the_process(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/rows.db"
    code = (
        "import os; from records import tenants; from records.database import Database\n"
        f"database = Database({url!r}); database.prepare()\n"
        "with database.write() as session: tenants.create(session, 'acme')\n"
        "os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    with Database(url).read() as session:
        assert [tenant.name for tenant in session.query(Tenant)] == ["acme"]


def test_a_commit_is_synced_and_readers_do_not_wait_for_writers(database: Database) -> None:
    with database.read() as session:
        pragmas = {
            name: session.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    with database.write() as writing:
        writing.add(Tenant(name="new", created_at=1))
        writing.flush()
        with database.read() as reading:
            assert reading.get(Tenant, "new") is None


def test_writers_queue_up_and_none_fails(database: Database) -> None:
    job = add_job(database)
    failed: list[BaseException] = []

    def write() -> None:
        try:
            for _ in range(10):
                with database.write() as session:
                    session.query(Event).count()
                    session.add(
                        Event(
                            id=new_id("ftevent-"), job_id=job, created_at=1, level="info", type="message",
                            message="x", data=None,
                        )
                    )  # fmt: skip
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    with database.read() as session:
        assert session.query(Event).count() == 61


def test_a_row_of_an_unknown_tenant_is_refused(database: Database) -> None:
    with pytest.raises(IntegrityError):
        add_job(database, tenant="nobody")


def test_a_read_never_commits(database: Database, tmp_path: Path) -> None:
    with database.read() as session:
        session.add(Tenant(name="ghost", created_at=1))
        session.flush()
    rows = sqlite3.connect(tmp_path / "rows.db").execute("select name from tenants").fetchall()
    assert ("ghost",) not in rows
