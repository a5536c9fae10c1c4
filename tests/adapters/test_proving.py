"""A verdict in the rows: what it changes, that the first one stays, and who is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from adapters import proving, resolve, rollout
from adapters.eligible import RolloutRefused
from adapters.proof import Verdict
from records.audit import By
from records.database import Database
from records.models import Audit, Event, Rollout, Version
from tests.adapters.conftest import BASE, Publish

BY = By("server")
HOLDS = Verdict(None, {"tokens": 9, "off": 0.01})
FAILS = Verdict("the engine is 1.0 nats off", {"tokens": 9, "off": 1.0})


def settle(database: Database, version: Version, verdict: Verdict) -> bool:
    with database.write() as session:
        return proving.settle(session, version.name, verdict, BY)


def change(database: Database, rule: Callable[..., Rollout], *given: Any) -> Rollout:
    with database.write() as session:
        row = rollout.find(session, "acme", "luxe", "tiny", lock=True)
        assert row is not None
        return rule(session, row, *given, BY)


def brand(database: Database) -> Rollout:
    with database.read() as session:
        row = rollout.find(session, "acme", "luxe", "tiny")
    assert row is not None
    return row


def row_of(database: Database, version: Version) -> Version:
    with database.read() as session:
        return session.scalars(select(Version).where(Version.name == version.name)).one()


def audits(database: Database) -> list[tuple[str, str]]:
    with database.read() as session:
        return [(row.action, row.object.split(":")[0]) for row in session.query(Audit).order_by(Audit.seq)]


def waiting(database: Database) -> list[str]:
    with database.read() as session:
        return [row.name for row in resolve.waiting(session, BASE)]


def answering(database: Database) -> str | None:
    """Who answers for the brand, if anybody does."""
    with database.read() as session:
        found = resolve.version_for(session, "acme", "luxe", BASE)
        return found.name if found and resolve.answers(found, BASE) else None


def test_an_unproven_version_waits_and_the_live_one_goes_on(database: Database, publish_one: Publish) -> None:
    first = publish_one(proved=False)
    assert (brand(database).live, brand(database).pending) == (None, first.name)
    assert answering(database) is None
    assert settle(database, first, HOLDS)
    assert (brand(database).live, brand(database).pending) == (first.name, None)
    second = publish_one(proved=False)
    assert (brand(database).live, brand(database).pending) == (first.name, second.name)
    assert (answering(database), waiting(database)) == (first.name, [second.name])
    assert settle(database, second, HOLDS)
    assert (brand(database).live, brand(database).previous) == (second.name, first.name)
    assert (answering(database), waiting(database)) == (second.name, [])


def test_a_proof_is_in_the_audit_with_its_figures(database: Database, publish_one: Publish) -> None:
    version = publish_one(proved=False)
    settle(database, version, HOLDS)
    assert audits(database) == [("arrived", "rollout"), ("proved", "version"), ("proved", "rollout")]
    with database.read() as session:
        noted = session.query(Audit).filter(Audit.object == f"version:{version.name}").one()
    assert (noted.actor, noted.before, noted.after) == ("server", None, HOLDS.figures)
    assert row_of(database, version).proved_at is not None


def test_a_refuted_version_gets_no_requests_and_its_job_is_told_why(
    database: Database, publish_one: Publish
) -> None:
    first, second = publish_one(), publish_one(proved=False)
    assert settle(database, second, FAILS)
    row = brand(database)
    assert (row.live, row.pending, row.previous) == (first.name, None, None)
    assert row_of(database, second).refuted == FAILS.problem
    assert audits(database)[-2:] == [("refuted", "version"), ("refuted", "rollout")]
    with database.read() as session:
        event = session.scalars(select(Event).order_by(Event.seq.desc())).first()
    assert event is not None
    assert (event.job_id, event.level) == ("ftjob-acme", "error")
    assert event.message == f"{second.name} is not used: {FAILS.problem}."
    assert waiting(database) == []


def test_the_first_verdict_stays(database: Database, publish_one: Publish) -> None:
    good, bad = publish_one(proved=False), publish_one("clinic", proved=False)
    assert settle(database, good, HOLDS)
    assert settle(database, bad, FAILS)
    before = audits(database)
    for version in (good, bad):
        assert not settle(database, version, FAILS)
        assert not settle(database, version, HOLDS)
    assert audits(database) == before
    assert row_of(database, good).refuted is None
    assert row_of(database, bad).proved_at is None


def test_a_version_that_was_deleted_in_the_meantime_gets_no_verdict(
    database: Database, publish_one: Publish
) -> None:
    version = publish_one(proved=False)
    with database.write() as session:
        mine = session.merge(version)
        rollout.release(session, mine, BY)
        mine.deleted_at = 1
    assert (brand(database).pending, waiting(database)) == (None, [])
    assert not settle(database, version, HOLDS)
    assert brand(database).live is None


def test_who_promotes_or_rolls_back_in_the_meantime_has_decided(
    database: Database, publish_one: Publish
) -> None:
    first, second = publish_one(), publish_one()
    for rule, given, live in ((rollout.rollback, (), first), (rollout.promote, (second.name,), second)):
        newest = publish_one(proved=False)
        change(database, rule, *given)
        settle(database, newest, HOLDS)
        assert brand(database).live == live.name, "what waited does not take over behind their back"
        assert row_of(database, newest).proved_at is not None


def test_a_pause_holds_back_what_is_being_proven(database: Database, publish_one: Publish) -> None:
    first, second = publish_one(), publish_one(proved=False)
    change(database, rollout.pause)
    assert waiting(database) == [second.name], "it is proven all the same, and ready when it is wanted"
    settle(database, second, HOLDS)
    row = brand(database)
    assert (row.live, row.candidate, row.share, row.pending) == (first.name, second.name, 0.0, None)


def test_a_promotion_of_an_unproven_version_waits_and_of_a_refuted_one_is_refused(
    database: Database, publish_one: Publish
) -> None:
    live, checkpoint = publish_one(), publish_one(checkpoint=True, proved=False)
    change(database, rollout.promote, checkpoint.name)
    assert (brand(database).live, brand(database).pending) == (live.name, checkpoint.name)
    settle(database, checkpoint, FAILS)
    for rule, given in ((rollout.promote, ()), (rollout.canary, (0.5,)), (rollout.shadow, ())):
        with pytest.raises(RolloutRefused, match=r"1.0 nats off. Use another version\.") as caught:
            change(database, rule, checkpoint.name, *given)
        assert (caught.value.code, caught.value.param) == ("version_refuted", None)
    assert brand(database).live == live.name


def test_an_unproven_candidate_waits_too_and_a_refuted_one_ends_its_canary(
    database: Database, publish_one: Publish
) -> None:
    _, candidate = publish_one(), publish_one(checkpoint=True, proved=False)
    row = change(database, rollout.canary, candidate.name, 0.5)
    with database.read() as session:
        assert resolve.unproven(session, row) == [candidate.name]
    assert waiting(database) == [candidate.name]
    settle(database, candidate, FAILS)
    assert (brand(database).candidate, brand(database).share) == (None, 0.0)


def test_what_was_made_for_another_base_waits_for_a_server_that_has_it(
    database: Database, publish_one: Publish
) -> None:
    publish_one(proved=False, base="large")
    publish_one(proved=False, base_weights_sha256="0" * 64)
    assert waiting(database) == []


def test_no_unproven_version_stands_in_for_a_live_one_of_an_older_base(
    database: Database, publish_one: Publish
) -> None:
    old = publish_one()
    publish_one(base_weights_sha256="0" * 64)
    assert answering(database) == old.name
    newest = publish_one(proved=False)
    assert answering(database) == old.name
    settle(database, newest, HOLDS)
    assert answering(database) == newest.name
