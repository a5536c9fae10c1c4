"""A private PostgreSQL for one test run: in a folder of its own, behind a Unix socket, gone with the run.

The fixtures `database_url` and `database` of tests/conftest.py start it when the first test wants it.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from records.database import Database
from records.models import Row

MISSING = "PostgreSQL is missing: run deploy/test-tools.sh"
# Nothing here has to outlive the run, so nothing is synced.
SETTINGS = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off", "listen_addresses": ""}
TABLES = "tables"  # the one database that is made once and emptied for each test: migrations take a while
CUT_OFF = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
EMPTY = f"TRUNCATE {', '.join(Row.metadata.tables)} RESTART IDENTITY"


class Cluster:
    """A server without databases of ours. Call `stop` at the end."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="chorus-postgres-"))
        self._numbers = itertools.count(1)
        self._has_tables = False
        # The server ends with this process, however that ends; its children end with it.
        begin = ["setpriv", "--pdeathsig", "QUIT"]
        if os.geteuid() == 0:  # as root it refuses to start; Debian's package brings a user for it
            shutil.chown(self.folder, "postgres", "postgres")
            begin += ["--reuid", "postgres", "--regid", "postgres", "--init-groups"]
        data, log = self.folder / "data", self.folder / "log"
        making = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync"]
        settings = {**SETTINGS, "unix_socket_directories": str(self.folder)}
        given = [f"--{name}={value}" for name, value in settings.items()]
        with log.open("wb") as said:
            how: dict[str, Any] = {
                "cwd": self.folder,
                "stdin": subprocess.DEVNULL,
                "stdout": said,
                "stderr": said,
            }
            done = subprocess.run([*begin, program("initdb"), "-D", data, *making], check=False, **how)
            assert done.returncode == 0, log.read_text()
            self._server = subprocess.Popen([*begin, program("postgres"), "-D", data, *given], **how)
        while not self._answers():
            assert self._server.poll() is None, log.read_text()
            time.sleep(0.02)

    @contextmanager
    def new(self) -> Iterator[str]:
        """The URL of an empty database."""
        name = f"test{next(self._numbers)}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE template0")
        yield self._url(name)
        self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def emptied(self) -> str:
        """The URL of the database that has the tables, without any row; who is still in it is cut off."""
        if not self._has_tables:
            self._execute(f"CREATE DATABASE {TABLES} TEMPLATE template0")
            made = Database(self._url(TABLES))
            made.prepare()
            made.close()
            self._has_tables = True
        self._execute(CUT_OFF, EMPTY, name=TABLES)
        return self._url(TABLES)

    def stop(self) -> None:
        self._server.send_signal(signal.SIGINT)  # "fast": who is connected is cut off
        self._server.wait()
        shutil.rmtree(self.folder)

    def _url(self, name: str) -> str:
        return f"postgresql://postgres@/{name}?host={self.folder}"

    def _answers(self) -> bool:
        try:
            self._execute("SELECT 1")
        except OperationalError:
            return False
        return True

    def _execute(self, *statements: str, name: str = "postgres") -> None:
        engine = create_engine(self._url(name), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for statement in statements:
                connection.execute(text(statement))
        engine.dispose()


def program(name: str) -> str:
    """Where it lies: in the PATH, or where Debian puts the programs of a server."""
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    found = shutil.which(name) or (str(debian[-1]) if debian else None)
    assert found, MISSING
    return found
