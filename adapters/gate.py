"""What a version must show before it goes live for its brand, and whether its evaluation showed it.

A server measures (server/evaluation); here it is decided, in the transaction in which the version arrives.
Called by rollout.py; the route and the command line write the gate itself.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict
from sqlalchemy import update
from sqlalchemy.orm import Session

from records import evaluations, jobs
from records.models import Evaluation, Rollout, Version

SHOWN_CASES = 5


class Gate(BaseModel):
    """In the rollout's row. `graders` are OpenAI's shapes, none means the evaluation's own; `thresholds` the
    least mean of a grader over what was held out, by its name ("score": of all of them); `must_not_regress` a
    file whose every case that the live version passes must be passed; `at_least_live` that the held-out score
    is not lower than the live version's by more than chance explains."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    graders: list[dict[str, Any]] = []
    thresholds: dict[str, float] = {}
    must_not_regress: str | None = None
    at_least_live: bool = False

    @property
    def compares(self) -> bool:
        """Whether it asks how the live version does."""
        return self.at_least_live or self.must_not_regress is not None


class FailedCase(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    why: str


class Outcome(BaseModel):
    """What a server found: reasons and failed cases are empty when it is passed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    passed: bool
    reasons: list[str] = []
    failed: list[FailedCase] = []
    failed_count: int = 0

    def said(self) -> str:
        """The reasons and the first failed cases, as sentences."""
        shown = [f"{case.id} ({case.why})" for case in self.failed[:SHOWN_CASES]]
        more = [f"and {self.failed_count - len(shown)} more"] if self.failed_count > len(shown) else []
        cases = [f"Failed cases ({self.failed_count}): {', '.join([*shown, *more])}."] if shown else []
        return " ".join([*self.reasons, *cases])


def against(row: Rollout, evaluation: Evaluation | None) -> str | None:
    """Why the gate keeps the version from going live, in sentences; None when it does not."""
    if row.gate is None:
        return None
    if evaluation is None:
        return "It was not evaluated."
    if evaluation.status != evaluations.DONE or not evaluation.results:
        return f"It could not be evaluated: {evaluation.error or 'no server did it.'}"
    if evaluation.request["gate"] != row.gate:
        return "The gate was changed while it was evaluated."
    if Gate.model_validate(row.gate).compares and evaluation.request["live"] != row.live:
        return "Another version has gone live since it was compared with the live one."
    outcome = Outcome.model_validate(evaluation.results["gate"])
    return None if outcome.passed else outcome.said()


def hold_back(session: Session, version: Version, why: str) -> None:
    """Note it with the version, with the checkpoint that has the same weights under another name, and with
    the job's other checkpoints: nobody has shown that they are better."""
    mine = update(Version).where(Version.tenant == version.tenant, Version.brand == version.brand)
    if version.job_id is not None:
        others = f"{version.name}, of the same job, did not: {why}"
        session.execute(mine.where(Version.job_id == version.job_id).values(held_back=others))
    session.execute(mine.where(Version.sha256 == version.sha256).values(held_back=why))
    session.refresh(version, ["held_back"])


def tell(session: Session, row: Rollout | None, version: Version, evaluation: Evaluation | None) -> None:
    """What the gate said, as an event of the version's job."""
    if row is None or row.gate is None or version.job_id is None:
        return
    if version.held_back is None:
        jobs.say(session, version.job_id, f"The gate of brand '{row.brand}' is passed.")
        return
    outcome = (evaluation.results or {}).get("gate") if evaluation is not None else None
    said = (
        f"The gate of brand '{row.brand}' is not passed, so {version.name} stays candidate: "
        f"{version.held_back} Promote it with force to use it all the same."
    )
    jobs.say(session, version.job_id, said, level="warn", data=outcome)
