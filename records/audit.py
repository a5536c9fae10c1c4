"""The record of who changed what: one row per change, in the change's own transaction."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from records.models import Audit, new_id


@dataclass(frozen=True)
class By:
    """Who asks for a change: the id of an API key, `job:<id>` or `cli`; and the HTTP request that asked."""

    actor: str
    request_id: str | None = None


def note(
    session: Session,
    by: By,
    tenant: str,
    action: str,
    object: str,
    *,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
) -> None:
    """Add the row of a change; it is kept when the change is, and not otherwise."""
    session.add(
        Audit(
            id=new_id("audit-"),
            at=int(time.time()),
            tenant=tenant,
            actor=by.actor,
            action=action,
            object=object,
            before=before,
            after=after,
            request_id=by.request_id,
        )
    )
