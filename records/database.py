"""One door to the rows: `read()` and `write()` transactions on SQLite or PostgreSQL.

SQLite runs in WAL mode with synchronous=FULL: what `write()` has committed survives kill -9 and power loss.
Sync on purpose: the worker and the server share it; the server's hot path reads caches, not rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, event, make_url, text
from sqlalchemy.orm import Session

BUSY_MILLISECONDS = 10_000


class Database:
    """Engine and transactions for one database URL; makes or migrates the tables on `prepare()`."""

    def __init__(self, url: str) -> None:
        self.url = url
        sqlite = make_url(url).get_backend_name() == "sqlite"
        if sqlite and (path := make_url(url).database):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        # SQLite: `timeout` is the busy wait in seconds; check_same_thread off as the pool hands out safely.
        arguments: dict[str, Any] = (
            {"timeout": BUSY_MILLISECONDS / 1000, "check_same_thread": False} if sqlite else {}
        )
        self.engine: Engine = create_engine(url, connect_args=arguments, pool_pre_ping=not sqlite)
        if sqlite:
            event.listen(self.engine, "connect", _sqlite_pragmas)
            event.listen(self.engine, "begin", _sqlite_begin)

    def prepare(self) -> None:
        """Bring the tables to the newest revision; safe when several processes do it at once."""
        config = Config()
        config.set_main_option("script_location", "records:migrations")
        with self.engine.connect().execution_options(chorus_write=True) as connection, connection.begin():
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(727274)"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session whose rows stay readable after it closes; never commits."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction: committed at the end of the block, rolled back on any exception."""
        connection = self.engine.connect().execution_options(chorus_write=True)
        with connection, Session(connection, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        self.engine.dispose()


def _sqlite_pragmas(connection: Any, _record: Any) -> None:
    # The driver must not open transactions by itself: we say BEGIN, see _sqlite_begin.
    connection.isolation_level = None
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={BUSY_MILLISECONDS}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _sqlite_begin(connection: Any) -> None:
    # IMMEDIATE takes the write lock at once: a deferred transaction that turns into a writer can fail
    # with "database is locked" whatever the busy timeout is.
    write = connection.get_execution_options().get("chorus_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
