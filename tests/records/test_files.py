"""Rows of files and their blobs: shared by content, seen by one tenant, gone when nobody names them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from records import files
from records.blobs import Blobs
from records.database import Database
from records.models import CANCELLED, PAUSED, RUNNING, File
from tests.records.conftest import add_job


def keep(
    database: Database, blobs: Blobs, content: bytes, tenant: str = "acme", seconds: int | None = None
) -> File:
    with blobs.draft() as draft:
        draft.write(content)
        sha256, size = blobs.seal(draft)
        with database.write() as session:
            blobs.place(draft, sha256)
            return files.add(
                session,
                tenant,
                sha256=sha256,
                size=size,
                filename="a",
                purpose="fine-tune",
                keep_seconds=seconds,
            )


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path)


def test_equal_uploads_share_one_blob(database: Database, blobs: Blobs) -> None:
    one, other = keep(database, blobs, b"same"), keep(database, blobs, b"same", "rival")
    assert one.sha256 == other.sha256
    assert blobs.path(one.sha256).read_bytes() == b"same"
    assert len(list(blobs.root.glob("*/*"))) == 1
    assert not list(blobs.incoming.iterdir())


def test_a_draft_that_was_not_placed_leaves_nothing(blobs: Blobs) -> None:
    with blobs.draft() as draft:
        draft.write(b"half")
    assert not list(blobs.incoming.iterdir())
    assert not blobs.root.exists()


def test_a_file_is_seen_by_its_tenant_only(database: Database, blobs: Blobs) -> None:
    row = keep(database, blobs, b"x")
    with database.read() as session:
        assert files.get(session, "acme", row.id) is not None
        assert files.get(session, "rival", row.id) is None


def test_the_last_row_to_go_frees_the_blob(database: Database, blobs: Blobs) -> None:
    rows = [keep(database, blobs, b"same") for _ in range(2)]
    freed = []
    for row in rows:
        with database.write() as session:
            found = files.get(session, "acme", row.id)
            assert found is not None
            freed.append(files.remove(session, found))
    assert freed == [False, True]


def test_an_upload_while_an_equal_file_is_deleted_keeps_its_blob(database: Database, blobs: Blobs) -> None:
    def upload_and_delete() -> None:
        for _ in range(8):
            row = keep(database, blobs, b"same")
            assert blobs.path(row.sha256).exists()
            with database.write() as session:
                found = files.get(session, "acme", row.id)
                assert found is not None
                if files.remove(session, found):
                    blobs.remove(row.sha256)

    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(upload_and_delete) for _ in range(3)]:
            done.result()
    assert not list(blobs.root.glob("*/*"))


@pytest.mark.parametrize("status", [RUNNING, PAUSED])
def test_an_expired_file_is_gone_but_kept_for_a_job_that_needs_it(
    database: Database, blobs: Blobs, status: str
) -> None:
    row, other = keep(database, blobs, b"1", seconds=-1), keep(database, blobs, b"2", seconds=-1)
    kept = keep(database, blobs, b"3", seconds=3600)
    add_job(database, status=status, training_file=row.id)
    add_job(database, status=CANCELLED, training_file=other.id)
    with database.read() as session:
        assert [files.get(session, "acme", file.id) is None for file in (row, other, kept)] == [
            True,
            True,
            False,
        ]
        assert [file.id for file in files.expired(session, now=kept.created_at)] == [other.id]
        assert files.needed_by(session, row) is not None
        assert files.needed_by(session, other) is None
