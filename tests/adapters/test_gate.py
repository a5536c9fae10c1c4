"""What a gate lets through, in rows: no server has to run."""

from __future__ import annotations

from typing import Any

import pytest

from adapters import gate, gating, rollout
from adapters.eligible import RolloutRefused
from adapters.gate import FailedCase, Outcome
from records import evaluations, tenants
from records.audit import By
from records.database import Database
from records.models import Audit, Evaluation, Job, Rollout, Version

BY = By("test")
RULE: dict[str, Any] = {"graders": [], "thresholds": {}, "must_not_regress": None, "at_least_live": True}
THRESHOLD = {**RULE, "at_least_live": False, "thresholds": {"score": 0.5}}


@pytest.fixture
def brand(database: Database) -> Database:
    """A tenant whose brand `luxe` has `old` live and a gate."""
    with database.write() as session:
        tenants.create(session, "acme")
        session.flush()
        rollout.arrived(session, version(session, "old"), BY)
        gating.set_gate(session, "acme", "luxe", "tiny", RULE, BY)
    return database


def version(session: Any, name: str, step: int | None = None, job_id: str | None = None) -> Version:
    row = Version(
        name=name, tenant="acme", brand="luxe", base="tiny", sha256=name.split("@", maxsplit=1)[0], step=step,
        created_at=1, manifest={}, proved_at=1, job_id=job_id,
    )  # fmt: skip
    session.add(row)
    session.flush()
    return row


def evaluated(outcome: Outcome | None, rule: Any = RULE, live: str | None = "old") -> Evaluation:
    done = outcome is not None
    return Evaluation(
        status=evaluations.DONE if done else evaluations.FAILED,
        error=None if done else "no server was seen for 60 s.",
        request={"gate": rule, "live": live},
        results={"gate": outcome.model_dump()} if outcome else None,
    )


def arrive(database: Database, evaluation: Evaluation | None) -> tuple[Rollout, str | None]:
    with database.write() as session:
        new = version(session, "new")
        row = rollout.arrived(session, new, BY, evaluation)
        assert row is not None
        return row, new.held_back


def test_what_passes_goes_live(brand: Database) -> None:
    row, held_back = arrive(brand, evaluated(Outcome(passed=True)))
    assert (row.live, row.previous, row.candidate, held_back) == ("new", "old", None, None)


FAILED = Outcome(
    passed=False, reasons=["It is worse."], failed_count=7,
    failed=[FailedCase(id=f"file-1:{k}", why="not JSON") for k in range(7)],
)  # fmt: skip


@pytest.mark.parametrize(
    ("evaluation", "why"),
    [
        (evaluated(FAILED), "It is worse. Failed cases (7): file-1:0 (not JSON)"),
        (None, "It was not evaluated."),
        (evaluated(None), "It could not be evaluated: no server was seen"),
        (evaluated(Outcome(passed=True), rule=THRESHOLD), "The gate was changed"),
        (evaluated(Outcome(passed=True), rule=None), "The gate was changed"),
        (evaluated(Outcome(passed=True), live="older"), "Another version has gone live"),
    ],
)
def test_what_does_not_pass_stays_candidate_without_a_share(
    brand: Database, evaluation: Evaluation | None, why: str
) -> None:
    row, held_back = arrive(brand, evaluation)
    assert (row.live, row.candidate, row.share) == ("old", "new", 0.0)
    assert held_back is not None
    assert held_back.startswith(why)


def test_only_a_gate_that_compares_minds_that_another_version_is_live_by_now(brand: Database) -> None:
    with brand.write() as session:
        gating.set_gate(session, "acme", "luxe", "tiny", THRESHOLD, BY)
    row, _ = arrive(brand, evaluated(Outcome(passed=True), rule=THRESHOLD, live="older"))
    assert row.live == "new"


def test_promotion_of_what_was_held_back_takes_force_under_any_of_its_names(brand: Database) -> None:
    with brand.write() as session:
        version(session, "new@5", step=5)
    arrive(brand, evaluated(FAILED))
    for name in ("new", "new@5", None):
        with brand.write() as session, pytest.raises(RolloutRefused, match="did not pass the gate") as caught:
            promote(session, name)
        assert (caught.value.code, caught.value.param) == ("gate_not_passed", None)
    with brand.write() as session:
        assert promote(session, "new", force=True).live == "new"
    with brand.read() as session:
        assert session.query(Audit).filter(Audit.action == "promote_forced").count() == 1


def test_all_checkpoints_of_a_job_that_was_held_back_take_force_and_other_jobs_do_not(
    brand: Database,
) -> None:
    with brand.write() as session:
        for job_id in ("ftjob-new", "ftjob-other"):
            session.add(Job(
                id=job_id, tenant="acme", brand="luxe", model="tiny", status="succeeded", created_at=1,
                seed=1, training_file="file-1", requested={}, hyperparameters={}, result_files=[],
                request_sha256="",
            ))  # fmt: skip
        session.flush()
        version(session, "early@1", step=1, job_id="ftjob-new")
        version(session, "other@1", step=1, job_id="ftjob-other")
        rollout.arrived(session, version(session, "new", job_id="ftjob-new"), BY, evaluated(FAILED))
    with (
        brand.write() as session,
        pytest.raises(RolloutRefused, match="new, of the same job, did not: It is"),
    ):
        promote(session, "early@1")
    with brand.write() as session:
        assert promote(session, "other@1").live == "other@1"


def test_what_was_held_back_gets_no_share_of_the_requests(brand: Database) -> None:
    arrive(brand, evaluated(FAILED))
    for name in ("new", None):
        with brand.write() as session, pytest.raises(RolloutRefused, match="did not pass the gate") as caught:
            canary(session, name, 1.0)
        assert caught.value.code == "gate_not_passed"
    with brand.write() as session:
        assert canary(session, None, 0.0).share == 0.0
        gating.set_gate(session, "acme", "luxe", "tiny", None, BY)
        assert canary(session, None, 0.1).share == 0.1


def test_without_a_gate_a_version_that_was_held_back_is_promoted_as_any_other(brand: Database) -> None:
    arrive(brand, evaluated(FAILED))
    with brand.write() as session:
        gating.set_gate(session, "acme", "luxe", "tiny", None, BY)
        assert promote(session, "new", force=True).live == "new"
    with brand.read() as session:
        assert session.query(Audit).filter(Audit.action == "promote_forced").count() == 0


def canary(session: Any, name: str | None, share: float) -> Rollout:
    row = rollout.find(session, "acme", "luxe", "tiny", lock=True)
    assert row is not None
    return rollout.canary(session, row, name, share, BY)


def promote(session: Any, name: str | None, *, force: bool = False) -> Rollout:
    row = rollout.find(session, "acme", "luxe", "tiny", lock=True)
    assert row is not None
    return rollout.promote(session, row, name, BY, force=force)


def test_a_gate_can_come_before_the_first_version_and_each_change_is_audited_once(brand: Database) -> None:
    with brand.write() as session:
        row = gating.set_gate(session, "acme", "clinic", "tiny", THRESHOLD, BY)
        assert row is not None
        assert (row.live, row.gate, row.generation) == (None, THRESHOLD, 2)
        gating.set_gate(session, "acme", "clinic", "tiny", THRESHOLD, BY)
        gating.set_gate(session, "acme", "clinic", "tiny", None, BY)
        assert gating.set_gate(session, "acme", "nobody", "tiny", None, BY) is None
    with brand.read() as session:
        noted = session.query(Audit).filter(Audit.object == "rollout:tiny:clinic").order_by(Audit.seq).all()
        gates = [((one.before or {})["gate"], (one.after or {})["gate"]) for one in noted]
    assert gates == [(None, THRESHOLD), (THRESHOLD, None)]


def test_a_paused_brand_keeps_what_passes_as_candidate(brand: Database) -> None:
    with brand.write() as session:
        row = rollout.find(session, "acme", "luxe", "tiny", lock=True)
        assert row is not None
        rollout.pause(session, row, BY)
    row, held_back = arrive(brand, evaluated(Outcome(passed=True)))
    assert (row.live, row.candidate, held_back) == ("old", "new", None)


def test_a_failed_evaluation_is_only_held_against_a_version_where_there_is_a_gate() -> None:
    assert gate.against(Rollout(gate=None), None) is None
