"""Who gets the candidate: the same users each time, as many as the share says, independent of all else."""

from __future__ import annotations

import pytest

from adapters.rollout import choose
from records.models import Rollout

USERS = [f"user-{n}" for n in range(10_000)]


def row(share: float, tenant: str = "acme", brand: str = "luxe", **given: object) -> Rollout:
    values = {"live": "old", "candidate": "new", "generation": 1, **given}
    return Rollout(tenant=tenant, brand=brand, base="tiny", share=share, paused=False, **values)


def chosen(rollout: Rollout) -> set[str]:
    return {user for user in USERS if choose(rollout, user) == "new"}


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
def test_the_candidate_gets_its_share(share: float) -> None:
    # Five standard deviations of a binomial; the hash is fixed, so the count is the same in each run.
    allowed = 5 * (share * (1 - share) / len(USERS)) ** 0.5
    assert len(chosen(row(share))) / len(USERS) == pytest.approx(share, abs=allowed)


def test_nobody_and_everybody_are_shares_too() -> None:
    assert chosen(row(0.0)) == set()
    assert chosen(row(1.0)) == set(USERS)
    assert choose(row(1.0), "") == "new"
    assert choose(row(1.0, candidate=None), "user") == "old"


def test_whoever_has_the_candidate_keeps_it_when_the_share_grows_or_other_things_change() -> None:
    tenth = chosen(row(0.1))
    assert tenth < chosen(row(0.3)) < chosen(row(0.8))
    assert chosen(row(0.1, generation=7)) == tenth


def test_brands_and_tenants_draw_apart() -> None:
    ours, theirs, other = (
        chosen(row(0.5)),
        chosen(row(0.5, tenant="rival")),
        chosen(row(0.5, brand="clinic")),
    )
    for one, two in ((ours, theirs), (ours, other)):
        assert 0.2 < len(one & two) / len(USERS) < 0.3


def test_users_in_any_script_have_a_place() -> None:
    assert {choose(row(0.5), user) for user in ("", "Müller", "李", "a\0b", "x" * 10_000)} <= {"old", "new"}
