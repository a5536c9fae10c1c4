"""Pages: complete, in order, without repeats, whatever is added between two of them."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from records import pages
from records.database import Database
from records.models import Job
from tests.records.conftest import add_job


@pytest.fixture
def ids(database: Database) -> list[str]:
    return [add_job(database) for _ in range(7)]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limit=st.integers(1, 9), order=st.sampled_from(["asc", "desc"]))
def test_pages_join_to_the_whole_list(
    database: Database, ids: list[str], limit: int, order: Literal["asc", "desc"]
) -> None:
    seen: list[str] = []
    after = None
    with database.read() as session:
        while True:
            page = pages.page(session, Job, Job.tenant == "acme", after=after, limit=limit, order=order)
            seen += [row.id for row in page.rows]
            assert len(page.rows) == limit or not page.has_more
            if not page.has_more:
                break
            after = seen[-1]
    assert seen == (ids if order == "asc" else ids[::-1])


def test_what_is_added_meanwhile_shifts_no_page(database: Database, ids: list[str]) -> None:
    with database.read() as session:
        first = pages.page(session, Job, after=None, limit=3)
    add_job(database)
    with database.read() as session:
        second = pages.page(session, Job, after=first.rows[-1].id, limit=3)
    assert [row.id for row in first.rows + second.rows] == ids[:0:-1]


def test_a_cursor_from_another_list_is_unknown(database: Database, ids: list[str]) -> None:
    theirs = add_job(database, tenant="rival")
    for after in (theirs, "ftjob-none", ""):
        with pytest.raises(pages.UnknownCursor), database.read() as session:
            pages.page(session, Job, Job.tenant == "acme", after=after, limit=3)
