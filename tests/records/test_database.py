"""Durable, migrated, and safe for several processes and threads."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError

from records import jobs
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


def test_several_processes_may_prepare_at_once(database_url: str) -> None:
    code = f"from records.database import Database; Database({database_url!r}).prepare()"
    running = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]


def test_what_was_committed_survives_the_end_of_the_process(database_url: str) -> None:
    code = (
        "import os; from records import tenants; from records.database import Database\n"
        f"database = Database({database_url!r}); database.prepare()\n"
        "with database.write() as session: tenants.create(session, 'acme')\n"
        "os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    with Database(database_url).read() as session:
        assert [tenant.name for tenant in session.query(Tenant)] == ["acme"]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_commit_on_sqlite_is_synced(database: Database) -> None:
    with database.read() as session:
        pragmas = {
            name: session.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_writer_on_postgresql_whose_machine_is_gone_lets_the_others_go_on(database: Database) -> None:
    with database.write() as session:
        limits = [
            session.execute(text(f"SHOW {name}")).scalar_one()
            for name in ("lock_timeout", "idle_in_transaction_session_timeout")
        ]
    assert limits == ["10s", "1min"]
    with database.read() as session:
        assert session.execute(text("SHOW lock_timeout")).scalar_one() == "0"


def test_readers_do_not_wait_for_writers(database: Database) -> None:
    with database.write() as writing:
        writing.add(Tenant(name="new", created_at=1))
        writing.flush()
        with database.read() as reading:
            assert reading.get(Tenant, "new") is None


def test_a_reader_sees_one_moment(database: Database) -> None:
    with database.read() as reading:
        assert reading.query(Tenant).count() == 2
        with database.write() as writing:
            writing.add(Tenant(name="new", created_at=1))
        assert reading.query(Tenant).count() == 2
    with database.read() as reading:
        assert reading.query(Tenant).count() == 3


def test_a_writer_waits_for_the_one_before_it_and_sees_what_that_wrote(database: Database) -> None:
    job, seen = add_job(database), list[int]()

    def write() -> None:
        with database.write() as session:
            seen.append(session.query(Event).count())
            jobs.say(session, job, "second")

    other = threading.Thread(target=write)
    with database.write() as session:
        other.start()
        other.join(0.3)  # time to go wrong in
        jobs.say(session, job, "first")
    other.join()
    with database.read() as session:
        events = [event.message for event in session.query(Event).order_by(Event.seq)]
    assert (seen, events[1:]) == ([2], ["first", "second"])


def test_a_block_that_writes_nothing_yet_is_alone_already(database: Database) -> None:
    """records/blobs.py gives a file its name before the first row of the transaction."""
    steps: list[str] = []

    def write() -> None:
        with database.write():
            steps.append("other")

    other = threading.Thread(target=write)
    with database.write():
        other.start()
        other.join(0.3)
        steps.append("one")
    other.join()
    assert steps == ["one", "other"]


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


def test_a_read_never_commits(database: Database) -> None:
    with database.read() as session:
        session.add(Tenant(name="ghost", created_at=1))
        session.flush()
    with database.read() as session:
        assert session.get(Tenant, "ghost") is None
