"""Several who change one brand in one moment: one after the other, none fails, the audit has no gap."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from adapters import rollout
from records.audit import By
from records.database import Database
from records.models import Audit, Rollout
from tests.adapters.conftest import Publish


def at_once(*changes: Callable[[], object]) -> None:
    """Each in a thread of its own; raises what one of them raised."""
    with ThreadPoolExecutor(len(changes)) as pool:
        for done in [pool.submit(change) for change in changes]:
            done.result()


def brand_and_story(database: Database) -> tuple[Rollout, list[Audit]]:
    with database.read() as session:
        row = rollout.find(session, "acme", "luxe", "tiny")
        rows = session.query(Audit).filter(Audit.object == "rollout:tiny:luxe").order_by(Audit.seq).all()
    assert row is not None
    return row, rows


def check_story(row: Rollout, story: list[Audit]) -> None:
    assert [noted.before for noted in story] == [None, *(noted.after for noted in story[:-1])]
    assert story[-1].after == rollout.state(row)
    assert len(story) == row.generation


def test_promotions_follow_one_another(database: Database, publish_one: Publish) -> None:
    versions = [publish_one() for _ in range(4)]

    def promote(name: str) -> None:
        for _ in range(5):
            with database.write() as session:
                row = rollout.find(session, "acme", "luxe", "tiny", lock=True)
                assert row is not None
                rollout.promote(session, row, name, By("cli"))

    at_once(*(lambda name=version.name: promote(name) for version in versions))
    row, story = brand_and_story(database)
    check_story(row, story)
    assert row.live in {version.name for version in versions}
    assert row.previous != row.live


def test_the_first_versions_of_a_brand_arrive_one_after_the_other(
    database: Database, publish_one: Publish
) -> None:
    at_once(*[publish_one] * 6)
    row, story = brand_and_story(database)
    check_story(row, story)
    assert row.generation == 6


def test_one_version_that_is_published_twice_is_one_row(database: Database, publish_one: Publish) -> None:
    at_once(*[lambda: publish_one(seed=5)] * 6)
    row, story = brand_and_story(database)
    check_story(row, story)
    assert row.generation == 1
