"""Whether an error means that the disk is full: the one that can be told what to do about.

Python, SQLite and compiled libraries say it in three ways. Called by the server's error handlers, the cli and
training/run.py.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from sqlite3 import Error as SqliteError

FULL = (errno.ENOSPC, errno.EDQUOT)
# SHMSIZE: the file beside the database that its readers share could not grow.
SQLITE_FULL = ("SQLITE_FULL", "SQLITE_IOERR_SHMSIZE")


def is_full(error: BaseException) -> bool:
    """Whether `error`, or one that it came from, says so."""
    return any(_says_so(one) for one in _chain(error))


def _says_so(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in FULL
    if isinstance(error, SqliteError):
        return getattr(error, "sqlite_errorname", None) in SQLITE_FULL
    return False


def _chain(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__
