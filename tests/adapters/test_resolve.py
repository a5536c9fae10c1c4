"""Whose version answers to which name."""

from __future__ import annotations

from contextlib import suppress

import pytest
from sqlalchemy.exc import DataError

from adapters import resolve, rollout
from records.audit import By
from records.database import Database
from records.models import Version
from tests.adapters.conftest import BASE, Publish


def answers(database: Database, model: str, tenant: str = "acme") -> str | None:
    with database.read() as session:
        row = resolve.version_for(session, tenant, model, BASE)
        return row.name if row else None


def delete(database: Database, name: str) -> None:
    with database.write() as session:
        session.query(Version).filter(Version.name == name).update({"deleted_at": 1})


def test_a_brand_is_its_live_version_and_without_one_its_newest_final_version(
    database: Database, publish_one: Publish
) -> None:
    first, second = publish_one(), publish_one()
    publish_one(checkpoint=True)
    publish_one(brand="clinic")
    assert answers(database, "luxe") == second.name
    assert answers(database, first.name) == first.name
    with database.write() as session:
        brand = rollout.find(session, "acme", "luxe", BASE.slug)
        assert brand is not None
        rollout.rollback(session, brand, By("cli"))
    assert answers(database, "luxe") == first.name
    with database.write() as session:
        rollout.promote(session, brand, second.name, By("cli"))
    delete(database, second.name)
    assert answers(database, "luxe") == first.name
    assert answers(database, second.name) is None


def test_nothing_stands_in_for_the_live_version_of_a_retired_brand(
    database: Database, publish_one: Publish
) -> None:
    older, live = publish_one(), publish_one()
    with database.write() as session:
        brand = rollout.find(session, "acme", "luxe", BASE.slug)
        assert brand is not None
        rollout.retire(session, brand, By("cli"))
    assert answers(database, "luxe") is None
    assert [answers(database, version.name) for version in (older, live)] == [older.name, live.name]
    with database.read() as session:
        assert resolve.for_start(session, 10, BASE) == []


def test_a_candidate_does_not_answer_for_a_brand_that_has_nothing_live(
    database: Database, publish_one: Publish
) -> None:
    first = publish_one(proved=False)
    with database.write() as session:
        brand = rollout.find(session, "acme", "luxe", BASE.slug)
        assert brand is not None
        rollout.pause(session, brand, By("cli"))
        session.query(Version).filter(Version.name == first.name).update({"proved_at": 1})
    assert answers(database, "luxe") is None


def test_a_brand_with_checkpoints_only_does_not_answer(database: Database, publish_one: Publish) -> None:
    checkpoint = publish_one(checkpoint=True)
    assert answers(database, "luxe") is None
    assert answers(database, checkpoint.name) == checkpoint.name


def test_another_tenants_version_does_not_exist(database: Database, publish_one: Publish) -> None:
    theirs = publish_one(tenant="rival")
    for model in (theirs.name, "luxe"):
        assert answers(database, model) is None
        assert answers(database, model, "rival") == theirs.name


def test_versions_without_a_brand_answer_to_their_own_name_only(
    database: Database, publish_one: Publish
) -> None:
    version = publish_one(brand="")
    assert answers(database, "") is None
    assert answers(database, version.name) == version.name


def test_a_name_is_matched_as_a_whole(database: Database, publish_one: Publish) -> None:
    version = publish_one()
    for model in (
        version.name[:-1],
        version.name + " ",
        version.name.upper(),
        "LUXE",
        "lux",
        "%",
        "lux_",
    ):
        assert answers(database, model) is None


@pytest.mark.parametrize("model", ["luxe\0", "\0"])
def test_a_name_with_a_nul_names_nothing(database: Database, publish_one: Publish, model: str) -> None:
    publish_one()
    with suppress(DataError):  # PostgreSQL takes no NUL in text; server/errors.py makes it a 400
        assert answers(database, model) is None


def test_after_a_change_of_base_and_back_the_older_version_that_fits_answers_again(
    database: Database, publish_one: Publish
) -> None:
    ours = publish_one()
    other = publish_one(base_weights_sha256="0" * 64)
    assert answers(database, "luxe") == ours.name
    assert answers(database, other.name) == other.name
    with database.read() as session:
        assert [row.name for row in resolve.for_start(session, 1, BASE)] == [ours.name]
    delete(database, ours.name)
    assert answers(database, "luxe") == other.name, "so that the refusal can say what differs"


def test_a_start_loads_what_is_live_newest_first_then_what_else_rollouts_name(
    database: Database, publish_one: Publish
) -> None:
    before = publish_one(brand="a")
    theirs = publish_one(brand="a", tenant="rival")
    b = publish_one(brand="b")
    a = publish_one(brand="a")
    gone = publish_one(brand="c")
    publish_one(brand="d", checkpoint=True)
    delete(database, gone.name)
    with database.read() as session:
        assert [row.name for row in resolve.for_start(session, 10, BASE)] == [
            a.name,
            b.name,
            theirs.name,
            before.name,
        ]
        assert [row.name for row in resolve.for_start(session, 1, BASE)] == [a.name]
        assert [row.name for row in resolve.versions_of(session, "rival", BASE)] == [theirs.name]
