"""A full disk is recognised whoever reports it, and nothing else is taken for one."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from records.database import Database
from records.disk import is_full


@pytest.mark.parametrize(("number", "full"), [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EIO, False)])
def test_what_the_kernel_says(number: int, full: bool) -> None:
    assert is_full(OSError(number, "said")) == full


def test_what_a_library_makes_of_it() -> None:
    def write() -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError:
            raise RuntimeError("writing failed")  # noqa: B904 (as libraries do)

    with pytest.raises(RuntimeError) as caught:
        write()
    assert is_full(caught.value)
    assert not is_full(RuntimeError("the disk is full of sentences"))


def test_what_sqlite_says(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/rows.db")
    with database.write() as session:
        session.execute(text("PRAGMA max_page_count = 1"))
        with pytest.raises(DBAPIError) as full:
            session.execute(text("CREATE TABLE full (text)"))
        with pytest.raises(DBAPIError) as other:
            session.execute(text("SELECT disk FROM full"))
    database.close()
    assert is_full(full.value)
    assert not is_full(other.value)
