"""The body of POST /v1/brands/{brand}, and the rule (adapters/rollout.py) that each action stands for.

The action `gate` is gate_request.py's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy.orm import Session

from adapters import rollout
from records.audit import By
from records.models import Rollout
from server.errors import from_validation, invalid

TAKES: Mapping[str, Set[str]] = {
    "promote": {"version", "force"},
    "rollback": set(),
    "retire": set(),
    "canary": {"version", "share"},
    "shadow": {"version"},
    "pause": set(),
    "resume": set(),
}

PLAIN: Mapping[str, Callable[[Session, Rollout, By], Rollout]] = {
    "rollback": rollout.rollback,
    "retire": rollout.retire,
    "pause": rollout.pause,
    "resume": rollout.resume,
}


class BrandRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    action: Literal["promote", "rollback", "retire", "canary", "shadow", "pause", "resume"]
    version: str | None = None
    share: float | None = Field(None, ge=0, le=1, strict=True)
    force: bool | None = Field(None, strict=True)

    def apply(self, session: Session, row: Rollout, by: By) -> Rollout:
        """Raises RolloutRefused."""
        match self.action:
            case "promote":
                return rollout.promote(session, row, self.version, by, force=bool(self.force))
            case "canary":
                return rollout.canary(session, row, self.version, self.share, by)
            case "shadow":
                return rollout.shadow(session, row, self.version, by)
            case "rollback" | "retire" | "pause" | "resume":
                return PLAIN[self.action](session, row, by)


def parse(body: dict[str, Any]) -> BrandRequest:
    """Raises RequestRefused that names the field."""
    try:
        asked = BrandRequest.model_validate(body)
    except ValidationError as error:
        raise from_validation(error) from None
    for name in ("version", "share", "force"):
        if getattr(asked, name) is not None and name not in TAKES[asked.action]:
            raise invalid(f"'{name}' does not go with '{asked.action}'.", name, "unsupported_parameter")
    return asked
