"""The body of POST /v1/brands/{brand} with the action `gate`: `{"action": "gate", "gate": {...} or null}`.

Called by the route and by `chorus brands gate`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy.orm import Session

from adapters.gate import Gate
from records import dataset, files
from records.blobs import Blobs
from server import grader_request
from server.errors import from_validation, invalid
from server.evaluation.gate import MOST_CASES, cases_of
from server.evaluation.grading import FIELDS, JSON, SIMILARITY
from server.graders.multi import MAX_GRADERS

ACTION = "gate"
SCORE = "score"
OWN = (FIELDS, JSON, SIMILARITY)


class _Given(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    graders: list[dict[str, Any]] = Field([], max_length=MAX_GRADERS)
    thresholds: dict[str, Annotated[float, Field(ge=0, le=1, strict=True)]] = {}
    must_not_regress: str | None = None
    at_least_live: bool = Field(False, strict=True)


class GateRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    action: Literal["gate"]
    gate: _Given | None


def parse(body: dict[str, Any]) -> Gate | None:
    """None removes the gate. Raises RequestRefused that names the field. It may take a while."""
    try:
        asked = GateRequest.model_validate(body).gate
    except ValidationError as error:
        raise from_validation(error) from None
    if asked is None:
        return None
    names = _check_graders(asked.graders)
    known = [SCORE, *(names or OWN)]
    for name in asked.thresholds:
        if name not in known:
            said = f"There is no grader '{name[:64]}' here; use {', '.join(known)}."
            raise invalid(said, f"gate.thresholds.{name[:64]}", "invalid_value")
    gate = Gate.model_validate(asked.model_dump())
    if not (gate.thresholds or gate.compares):
        said = "A gate needs 'thresholds', 'must_not_regress' or 'at_least_live'; null removes it."
        raise invalid(said, "gate", "invalid_value")
    return gate


def models(gate: Gate | None) -> Iterator[str]:
    """The names of the models that its graders ask."""
    for given in gate.graders if gate else ():
        yield from grader_request.models(grader_request.parse(given))


def check_file(session: Session, blobs: Blobs, tenant: str, gate: Gate | None) -> None:
    """The file of cases that must not regress is the tenant's and has some. Raises RequestRefused."""
    if gate is None or gate.must_not_regress is None:
        return
    param = "gate.must_not_regress"
    row = files.get(session, tenant, gate.must_not_regress)
    if row is None:
        raise invalid(f"There is no file {gate.must_not_regress[:80]!r}.", param, "file_not_found")
    try:
        with blobs.path(row.sha256).open("rb") as stream:
            found = cases_of(stream, row.id)
    except dataset.InvalidLine as error:
        said = f"{row.id} is no file of cases that can be asked. {error}"
        raise invalid(said, param, "invalid_file_format") from None
    if not found:
        raise invalid(f"{row.id} holds no cases.", param, "invalid_file_format")
    if len(found) > MOST_CASES:
        said = (
            f"{row.id} has more than {MOST_CASES} cases, and no more can be asked of each version; use fewer."
        )
        raise invalid(said, param, "too_large")


def _check_graders(given: list[dict[str, Any]]) -> list[str]:
    """Their names. Raises RequestRefused."""
    names = [grader_request.parse(one, f"gate.graders.{place}").name for place, one in enumerate(given)]
    twice = next((name for name in names if names.count(name) > 1 or name == SCORE), None)
    if twice is not None:
        said = f"Each grader of a gate needs a name of its own, and not '{SCORE}': '{twice[:64]}'."
        raise invalid(said, "gate.graders", "invalid_value")
    return names
