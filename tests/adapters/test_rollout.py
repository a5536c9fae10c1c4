"""The rules of rollouts: what each change does, what is refused, and what the audit keeps of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from adapters import rollout
from adapters.eligible import RolloutRefused
from records.audit import By
from records.database import Database
from records.models import Audit, Rollout, Version
from tests.adapters.conftest import Publish

BY = By("0123abcd", "req_1")
Change = Callable[..., Rollout]


@pytest.fixture
def change(database: Database) -> Change:
    """`change(rollout.promote, version)`: one change of brand `luxe`, in a transaction of its own."""

    def change_it(rule: Callable[..., Rollout], *arguments: Any) -> Rollout:
        with database.write() as session:
            row = rollout.find(session, "acme", "luxe", "tiny", lock=True)
            assert row is not None
            return rule(session, row, *arguments, BY)

    return change_it


def brand(database: Database, tenant: str = "acme") -> Rollout:
    with database.read() as session:
        row = rollout.find(session, tenant, "luxe", "tiny")
    assert row is not None
    return row


def audit(database: Database) -> list[Audit]:
    with database.read() as session:
        return list(session.query(Audit).order_by(Audit.seq))


def release(database: Database, version: Version) -> None:
    with database.write() as session:
        rollout.release(session, session.merge(version), BY)


def test_the_first_version_goes_live(database: Database, publish_one: Publish) -> None:
    version = publish_one()
    row = brand(database)
    assert (row.live, row.previous, row.candidate, row.shadow) == (version.name, None, None, None)
    assert (row.share, row.paused, row.generation) == (0.0, False, 1)
    (noted,) = audit(database)
    assert (noted.actor, noted.action, noted.object) == ("job:ftjob-acme", "arrived", "rollout:tiny:luxe")
    assert noted.before is None
    assert noted.after == rollout.state(row)


def test_a_later_version_goes_live_at_once_and_the_old_one_is_kept(
    database: Database, publish_one: Publish
) -> None:
    first, second = publish_one(), publish_one()
    row = brand(database)
    assert (row.live, row.previous, row.generation) == (second.name, first.name, 2)


def test_a_version_without_a_brand_and_a_checkpoint_are_in_no_rollout(
    database: Database, publish_one: Publish
) -> None:
    publish_one(brand="")
    publish_one(checkpoint=True)
    with database.read() as session:
        assert session.query(Rollout).count() == 0
    assert audit(database) == []


def test_a_brand_on_two_bases_has_two_rollouts(database: Database, publish_one: Publish) -> None:
    ours, other = publish_one(), publish_one(base="large")
    assert brand(database).live == ours.name
    with database.read() as session:
        row = rollout.find(session, "acme", "luxe", "large")
    assert row is not None
    assert row.live == other.name


def test_two_tenants_with_one_brand_name_do_not_meet(database: Database, publish_one: Publish) -> None:
    ours, theirs = publish_one(), publish_one(tenant="rival")
    assert (brand(database).live, brand(database, "rival").live) == (ours.name, theirs.name)


def test_while_paused_a_new_version_waits_as_a_candidate_without_a_share(
    database: Database, publish_one: Publish, change: Change
) -> None:
    first = publish_one()
    change(rollout.pause)
    second = publish_one()
    row = brand(database)
    assert (row.live, row.candidate, row.share, row.paused) == (first.name, second.name, 0.0, True)
    assert change(rollout.promote, None).live == second.name
    third = publish_one()
    assert change(rollout.resume).candidate == third.name, "what waits is not promoted by itself"
    assert publish_one().name == brand(database).live


def test_while_paused_a_new_version_does_not_inherit_the_share_of_the_candidate_before_it(
    publish_one: Publish, change: Change
) -> None:
    first, _ = publish_one(), publish_one()
    change(rollout.canary, first.name, 0.5)
    change(rollout.pause)
    third = publish_one()
    row = change(rollout.resume)
    assert (row.candidate, row.share) == (third.name, 0.0)


def test_promote_takes_the_candidate_or_a_named_version_or_a_checkpoint(
    publish_one: Publish, change: Change
) -> None:
    first, second, checkpoint = publish_one(), publish_one(), publish_one(checkpoint=True)
    change(rollout.canary, first.name, 0.5)
    row = change(rollout.promote, None)
    assert (row.live, row.previous, row.candidate, row.share) == (first.name, second.name, None, 0.0)
    row = change(rollout.promote, checkpoint.name)
    assert (row.live, row.previous) == (checkpoint.name, first.name)


def test_a_promotion_leaves_another_canary_and_shadow_as_they_are(
    publish_one: Publish, change: Change
) -> None:
    first, second, third = publish_one(), publish_one(), publish_one()
    change(rollout.canary, first.name, 0.25)
    change(rollout.shadow, first.name)
    row = change(rollout.promote, second.name)
    assert (row.live, row.previous) == (second.name, third.name)
    assert (row.candidate, row.share, row.shadow) == (first.name, 0.25, first.name)
    row = change(rollout.promote, first.name)
    assert (row.candidate, row.share, row.shadow) == (None, 0.0, None), "what is live is nothing else"


def test_rollback_and_rollback_again_change_live_and_previous(publish_one: Publish, change: Change) -> None:
    first, second = publish_one(), publish_one()
    row = change(rollout.rollback)
    assert (row.live, row.previous) == (first.name, second.name)
    row = change(rollout.rollback)
    assert (row.live, row.previous) == (second.name, first.name)


def test_a_retired_brand_has_nothing_live_and_only_people_bring_it_back(
    database: Database, publish_one: Publish, change: Change
) -> None:
    first, second, third = publish_one(), publish_one(), publish_one()
    change(rollout.canary, first.name, 0.5)
    change(rollout.shadow, first.name)
    publish_one(proved=False)
    assert brand(database).pending is not None
    row = change(rollout.retire)
    assert (row.live, row.previous, row.paused) == (None, third.name, True)
    assert (row.candidate, row.share, row.shadow, row.pending) == (None, 0.0, None, None)
    late = publish_one()
    row = brand(database)
    assert (row.live, row.candidate, row.share) == (None, late.name, 0.0), "a job does not bring it back"
    assert change(rollout.rollback).live == third.name
    change(rollout.retire)
    row = change(rollout.promote, second.name)
    assert (row.live, row.previous, row.paused) == (second.name, None, True)


def test_each_version_of_a_retired_brand_can_be_released(
    database: Database, publish_one: Publish, change: Change
) -> None:
    only = publish_one()
    with pytest.raises(RolloutRefused, match="promote another or retire the brand first"):
        release(database, only)
    change(rollout.retire)
    release(database, only)
    row = brand(database)
    assert (row.live, row.previous) == (None, None)
    assert change(rollout.promote, publish_one().name).live is not None


def test_nothing_stands_beside_a_live_version_that_is_not_there(
    database: Database, publish_one: Publish, change: Change
) -> None:
    version = publish_one()
    change(rollout.retire)
    for step in ((rollout.canary, version.name, 0.5), (rollout.shadow, version.name)):
        with pytest.raises(RolloutRefused, match=r"no live version.*; promote one first") as caught:
            change(*step)
        assert (caught.value.code, caught.value.param) == ("no_live", None)


def test_a_canary_begins_grows_and_ends(publish_one: Publish, change: Change) -> None:
    first, second = publish_one(), publish_one()
    row = change(rollout.canary, first.name, 0.1)
    assert (row.live, row.candidate, row.share) == (second.name, first.name, 0.1)
    assert change(rollout.canary, None, 1).share == 1.0
    row = change(rollout.canary, None, None)
    assert (row.candidate, row.share) == (None, 0.0)


def test_a_shadow_begins_and_ends(publish_one: Publish, change: Change) -> None:
    first, _ = publish_one(), publish_one()
    assert change(rollout.shadow, first.name).shadow == first.name
    assert change(rollout.shadow, None).shadow is None


def test_each_change_is_one_audit_row_with_before_and_after(
    database: Database, publish_one: Publish, change: Change
) -> None:
    first, _ = publish_one(), publish_one()
    steps: list[tuple[Any, ...]] = [
        (rollout.canary, first.name, 0.5),
        (rollout.shadow, first.name),
        (rollout.promote, None),
        (rollout.rollback,),
        (rollout.pause,),
        (rollout.resume,),
        (rollout.retire,),
    ]
    for rule, *arguments in steps:
        before = brand(database)
        after = change(rule, *arguments)
        newest = audit(database)[-1]
        assert (newest.action, newest.before, newest.after) == (
            rule.__name__,
            rollout.state(before),
            rollout.state(after),
        )
        assert (newest.actor, newest.request_id, newest.tenant) == ("0123abcd", "req_1", "acme")
        assert after.generation == before.generation + 1
    assert len(audit(database)) == brand(database).generation


def test_what_is_already_so_is_no_change(database: Database, publish_one: Publish, change: Change) -> None:
    first, second = publish_one(), publish_one()
    change(rollout.canary, first.name, 0.5)
    before = brand(database)
    for step in (
        (rollout.promote, second.name),
        (rollout.canary, first.name, 0.5),
        (rollout.canary, None, 0.5),
        (rollout.shadow, None),
        (rollout.resume,),
    ):
        change(*step)
    assert rollout.state(brand(database)) == rollout.state(before)
    assert brand(database).generation == before.generation == len(audit(database))
    assert change(rollout.retire).generation == change(rollout.retire).generation


def test_a_change_that_is_only_rehearsed_leaves_no_trace(database: Database, publish_one: Publish) -> None:
    publish_one()
    publish_one()
    with database.read() as session:
        row = rollout.find(session, "acme", "luxe", "tiny", lock=True)
        assert row is not None
        rollout.rollback(session, row, BY)
    assert brand(database).generation == len(audit(database)) == 2


def test_a_change_that_cannot_be_made_is_refused_and_writes_nothing(
    database: Database, publish_one: Publish, change: Change
) -> None:
    live = publish_one()
    clinic, theirs = publish_one(brand="clinic"), publish_one(tenant="rival")
    large, gone = publish_one(base="large"), publish_one(brand="gone")
    with database.write() as session:
        session.query(Version).filter(Version.name == gone.name).update({"deleted_at": 1})
    before = len(audit(database))
    cases: list[tuple[str, str | None, tuple[Any, ...]]] = [
        ("no_previous", None, (rollout.rollback,)),
        ("no_candidate", None, (rollout.promote, None)),
        ("no_candidate", None, (rollout.canary, None, 0.5)),
        ("bad_share", "share", (rollout.canary, live.name, None)),
        ("bad_share", "share", (rollout.canary, live.name, 1.5)),
        ("bad_share", "share", (rollout.canary, live.name, float("nan"))),
        ("already_live", "version", (rollout.canary, live.name, 0.5)),
        ("already_live", "version", (rollout.shadow, live.name)),
        ("version_of_another_brand", "version", (rollout.promote, clinic.name)),
        ("version_of_another_base", "version", (rollout.promote, large.name)),
        ("version_not_found", "version", (rollout.promote, theirs.name)),
        ("version_not_found", "version", (rollout.shadow, gone.name)),
        ("version_not_found", "version", (rollout.canary, "luxe", 0.5)),
    ]
    for code, param, step in cases:
        with pytest.raises(RolloutRefused) as caught:
            change(*step)
        assert (caught.value.code, caught.value.param) == (code, param), step
    assert len(audit(database)) == before


@pytest.mark.parametrize("rule", [(rollout.promote, ""), (rollout.canary, "", 0.9), (rollout.shadow, "")])
def test_an_empty_name_is_not_taken_for_the_candidate(
    rule: tuple[Any, ...], database: Database, publish_one: Publish, change: Change
) -> None:
    """As a script sends it whose variable is not set."""
    waiting, _ = publish_one(), publish_one()
    change(rollout.canary, waiting.name, 0.1)
    with pytest.raises(RolloutRefused) as caught:
        change(*rule)
    assert (caught.value.code, caught.value.param) == ("version_not_found", "version")
    assert (brand(database).candidate, brand(database).share) == (waiting.name, 0.1)


@pytest.mark.parametrize("part", ["live", "candidate", "shadow"])
def test_a_version_in_use_is_not_released(
    database: Database, publish_one: Publish, change: Change, part: str
) -> None:
    used, live = publish_one(), publish_one()
    publish_one()
    change(rollout.promote, live.name)
    if part == "live":
        change(rollout.promote, used.name)
    elif part == "candidate":
        change(rollout.canary, used.name, 0.0)
    else:
        change(rollout.shadow, used.name)
    with pytest.raises(RolloutRefused, match="brand 'luxe'") as caught:
        release(database, used)
    assert (caught.value.code, caught.value.param) == ("version_in_use", None)


def test_a_previous_version_is_forgotten_when_it_is_released(
    database: Database, publish_one: Publish
) -> None:
    first, second = publish_one(), publish_one()
    release(database, first)
    row = brand(database)
    assert (row.live, row.previous, row.generation) == (second.name, None, 3)
    assert audit(database)[-1].action == "forget"


def test_what_no_rollout_names_is_released_without_a_word(database: Database, publish_one: Publish) -> None:
    oldest, nameless = publish_one(), publish_one(brand="")
    publish_one()
    publish_one()
    before = len(audit(database))
    release(database, oldest)
    release(database, nameless)
    assert len(audit(database)) == before
