"""Any order of changes keeps a rollout consistent, and the audit tells its whole story without a gap."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from adapters import proving, publish, rollout
from adapters.eligible import RolloutRefused
from adapters.proof import Verdict
from records.audit import By
from records.database import Database
from records.models import Audit, Rollout, Version
from tests.adapters.conftest import manifest

BY = By("cli")
NUMBERS = itertools.count(1)  # brands and versions, so that one database does for all examples
picks = st.integers(0, 99)


class Machine(RuleBasedStateMachine):
    """Drives one brand; `state` is what it should be by now, kept without the code under test."""

    database: Database

    @initialize()
    def begin(self) -> None:
        self.brand, self.names = f"b{next(NUMBERS)}", list[str]()
        self.state: dict[str, Any] = dict.fromkeys(rollout.STATE)
        self.state |= {"share": 0.0, "paused": False}
        self.changes, self.proved, self.refuted = 0, set[str](), set[str]()
        self.arrive(checkpoint=False, proved=True)

    @rule(checkpoint=st.booleans(), proved=st.booleans())
    def arrive(self, checkpoint: bool, proved: bool) -> None:
        sha256 = f"{next(NUMBERS):064x}"[::-1]
        with self.database.write() as session:
            version = publish.record(
                session, manifest(), sha256, tenant="acme", brand=self.brand, checkpoint=checkpoint
            )
            version.proved_at = 1 if proved else None
            self.names.append(version.name)
            self.proved |= {version.name} if proved else set()
            if not checkpoint:
                rollout.arrived(session, version, BY)
        if not checkpoint:
            new = version.name
            self.expect({"candidate": new, "share": 0.0} if self.state["paused"] else self.goes_live(new))

    @rule(pick=st.none() | picks)
    def promote(self, pick: int | None) -> None:
        name = self.named(pick) or self.state["candidate"]
        fine = name is not None and name not in self.refuted
        self.change(fine, self.goes_live(name), rollout.promote, self.named(pick))

    @rule()
    def roll_back(self) -> None:
        live, previous = self.state["live"], self.state["previous"]
        after = {"live": previous, "previous": live, "pending": None}
        self.change(previous is not None, after, rollout.rollback)

    @rule()
    def retire(self) -> None:
        previous = self.state["live"] or self.state["previous"]
        gone = dict.fromkeys(("live", "candidate", "shadow", "pending"))
        self.change(True, {**gone, "previous": previous, "paused": True}, rollout.retire)

    @rule(pick=st.none() | picks, share=st.none() | st.sampled_from([0.0, 0.1, 1.0, 2.0]))
    def canary(self, pick: int | None, share: float | None) -> None:
        name = self.named(pick)
        if name is None and share is None:
            self.change(True, {"candidate": None}, rollout.canary, None, None)
            return
        wanted = name or self.state["candidate"]
        fine = share in (0.0, 0.1, 1.0) and wanted not in (None, self.state["live"], *self.refuted)
        fine = fine and self.state["live"] is not None
        self.change(fine, {"candidate": wanted, "share": share}, rollout.canary, name, share)

    @rule(pick=st.none() | picks)
    def shadow(self, pick: int | None) -> None:
        name = self.named(pick)
        fine = name is None or (self.state["live"] not in (None, name) and name not in self.refuted)
        self.change(fine, {"shadow": name}, rollout.shadow, name)

    @rule(paused=st.booleans())
    def pause_or_resume(self, paused: bool) -> None:
        waited = self.state["pending"] if paused else None
        waits = {"candidate": waited, "share": 0.0, "pending": None} if waited else {}
        self.change(True, {"paused": paused, **waits}, rollout.pause if paused else rollout.resume)

    @precondition(lambda self: self.names)
    @rule(pick=picks, holds=st.booleans(), again=st.booleans())
    def prove(self, pick: int, holds: bool, again: bool) -> None:
        """By one server, or by two that come to the same."""
        name, known = self.named(pick), self.proved | self.refuted
        assert name is not None
        verdict = Verdict(None if holds else "it does not", {"tokens": 1})
        for nth in range(1 + again):
            with self.database.write() as session:
                assert proving.settle(session, name, verdict, BY) == (name not in known and nth == 0)
        if name not in known:
            (self.proved if holds else self.refuted).add(name)
            parts = [part for part in ("pending", "candidate", "shadow") if self.state[part] == name]
            if not holds:
                self.expect(dict.fromkeys(parts))
            elif "pending" in parts:
                self.expect(self.goes_live(name))

    @precondition(lambda self: self.names)
    @rule(pick=picks)
    def delete(self, pick: int) -> None:
        name = self.names[pick % len(self.names)]
        used = name in [self.state[part] for part in ("live", "candidate", "shadow")]
        try:
            with self.database.write() as session:
                version = session.query(Version).filter(Version.name == name).one()
                rollout.release(session, version, BY)
                version.deleted_at = 1
            assert not used
            self.names.remove(name)
            self.expect({part: None for part in ("previous", "pending") if name == self.state[part]})
        except RolloutRefused:
            assert used

    @invariant()
    def row_is_as_expected_and_consistent(self) -> None:
        with self.database.read() as session:
            row = self.row(session)
        assert rollout.state(row) == self.state
        assert row.generation == self.changes
        assert row.live is None or row.live in self.proved.intersection(self.names)
        assert row.live is None or row.live not in (row.previous, row.candidate, row.shadow, row.pending)
        others = {row.previous, row.candidate, row.shadow, row.pending}
        assert others <= {*self.names, None}
        assert not others & self.refuted
        assert row.pending not in self.proved
        assert row.candidate is not None or row.share == 0

    @invariant()
    def audit_is_a_chain_from_nothing_to_now(self) -> None:
        with self.database.read() as session:
            noted = session.query(Audit).filter(Audit.object == f"rollout:tiny:{self.brand}")
            rows = noted.order_by(Audit.seq).all()
        assert len(rows) == self.changes
        assert [row.before for row in rows] == [None, *(row.after for row in rows[:-1])]
        assert rows[-1].after == self.state

    def goes_live(self, name: str | None) -> dict[str, Any]:
        """What is so when the version goes live, or when it waits for its proof."""
        if name not in self.proved:
            return {"pending": name}
        same = name == self.state["live"]
        return {
            "live": name,
            "previous": self.state["previous"] if same else self.state["live"],
            "pending": None,
        }

    def named(self, pick: int | None) -> str | None:
        return None if pick is None or not self.names else self.names[pick % len(self.names)]

    def row(self, session: Any) -> Rollout:
        row = rollout.find(session, "acme", self.brand, "tiny", lock=True)
        assert row is not None
        return row

    def change(self, fine: bool, expected: dict[str, Any], how: Callable[..., Rollout], *given: Any) -> None:
        """Make a change: it is done when it is `fine`, and refused otherwise."""
        try:
            with self.database.write() as session:
                how(session, self.row(session), *given, BY)
            assert fine
            self.expect(expected)
        except RolloutRefused:
            assert not fine

    def expect(self, values: dict[str, Any]) -> None:
        new = {**self.state, **values}
        for part in ("candidate", "shadow"):
            if new[part] == new["live"]:
                new[part] = None
        if new["candidate"] is None:
            new["share"] = 0.0
        self.changes += new != self.state
        self.state = new


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)  # the rules, not the rows: too slow for both
def test_any_order_of_changes_keeps_the_rules(database: Database) -> None:
    Machine.database = database
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Machine,
        settings=settings(
            max_examples=30,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
