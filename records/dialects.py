"""Where SQLite and PostgreSQL differ, so that no other file has to ask which of the two it is.

Both keep the same promises. Writers queue: a write transaction is alone from its beginning to its commit, so
it sees all that was committed before it, what it has looked up stays so, and rows are numbered in the order
of their commits. A reader sees one moment and waits for nobody. Called by database.py and settings.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

WAIT_MILLISECONDS = 10_000  # for the writers before this one; then OperationalError
# PostgreSQL only: a writer whose machine is gone must not hold up all others until TCP notices.
IDLE_MILLISECONDS = 60_000
WRITERS = 727274  # the advisory lock that writers queue for; no other program may use it in our database
DRIVERS = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgresql": "postgresql",
    "postgresql+psycopg": "postgresql",
}


class DatabaseRefused(ValueError):
    """The database's URL is of no use here; the message says what to do, and never the URL (a password)."""


def check(given: str) -> URL:
    """The URL of a database that can be used. Raises DatabaseRefused."""
    forms = "use postgresql://USER:PASSWORD@HOST/NAME or sqlite:///FILE"
    try:
        url = make_url(given)
    except ArgumentError:
        raise DatabaseRefused(f"it is no database URL; {forms}") from None
    if url.drivername not in DRIVERS:
        raise DatabaseRefused(f"{url.drivername!r} is not supported; {forms}")
    try:
        url.get_dialect().import_dbapi()
    except ImportError as error:
        said = f"PostgreSQL needs the driver psycopg ({error}); run: pip install 'psycopg[binary]>=3.3'"
        raise DatabaseRefused(said) from None
    return url


def connect(given: str) -> Engine:
    """The engine of a database URL; connects when it is first used. Raises DatabaseRefused."""
    url = check(given)
    if DRIVERS[url.drivername] == "postgresql":
        engine = create_engine(url, pool_pre_ping=True, isolation_level="REPEATABLE READ")
        event.listen(engine, "begin", _postgresql_begin)
        return engine
    if url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    # `timeout` is the busy wait in seconds; check_same_thread off as the pool hands out safely.
    arguments = {"timeout": WAIT_MILLISECONDS / 1000, "check_same_thread": False}
    engine = create_engine(url, connect_args=arguments)
    event.listen(engine, "connect", _sqlite_pragmas)
    event.listen(engine, "begin", _sqlite_begin)
    return engine


def writer(engine: Engine) -> Connection:
    """A connection whose transactions write, one at a time over all processes."""
    connection = engine.connect().execution_options(chorus_write=True)
    if connection.dialect.name == "postgresql":
        # REPEATABLE READ would go on to see what was there before it had waited for its turn.
        connection = connection.execution_options(isolation_level="READ COMMITTED")
    return connection


def _writes(connection: Connection) -> bool:
    return bool(connection.get_execution_options().get("chorus_write", False))


def _postgresql_begin(connection: Connection) -> None:
    # Row locks do not do: of what is not there yet (a brand's first version, a tenant's second key, another
    # file of the same bytes) there is no row to lock. Writes are few and short; reads never come here.
    if _writes(connection):
        connection.exec_driver_sql(
            f"SET LOCAL lock_timeout = {WAIT_MILLISECONDS};"
            f" SET LOCAL idle_in_transaction_session_timeout = {IDLE_MILLISECONDS};"
            f" SELECT pg_advisory_xact_lock({WRITERS})"
        )


def _sqlite_pragmas(connection: Any, _record: Any) -> None:
    # The driver must not open transactions by itself: we say BEGIN, see _sqlite_begin.
    connection.isolation_level = None
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={WAIT_MILLISECONDS}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _sqlite_begin(connection: Connection) -> None:
    # IMMEDIATE takes the write lock at once: a deferred transaction that turns into a writer can fail
    # with "database is locked" whatever the busy timeout is.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if _writes(connection) else "BEGIN")
