"""One door to the rows: `read()` and `write()` transactions on SQLite or PostgreSQL (see dialects.py).

What `write()` has committed survives kill -9 and power loss, on SQLite in WAL mode with synchronous=FULL.
Sync on purpose: the worker and the server share it; the server's hot path reads caches, not rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from records import dialects


class Database:
    """Engine and transactions for one database URL; makes or migrates the tables on `prepare()`.

    Raises DatabaseRefused for a URL that cannot be used.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine: Engine = dialects.connect(url)

    def prepare(self, revision: str = "head") -> None:
        """Bring the tables up to a revision, the newest; safe when several processes do it at once."""
        config = Config()
        config.set_main_option("script_location", "records:migrations")
        with dialects.writer(self.engine) as connection, connection.begin():
            config.attributes["connection"] = connection
            command.upgrade(config, revision)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one moment, whose rows stay readable after it closes; never commits."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction: committed at the end of the block, rolled back on any exception. It is the only
        one, on any machine, from the block's first line on: keep it short."""
        connection = dialects.writer(self.engine)
        with connection, Session(connection, expire_on_commit=False) as session, session.begin():
            session.connection()  # begins now, not with the first statement
            yield session

    def close(self) -> None:
        self.engine.dispose()
