"""Sets what a brand's new versions must show (gate.py has the rule itself): one change, with its audit row.

Called by the route of brands and by `chorus brands gate`.
"""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy.orm import Session

from adapters import rollout
from records import audit
from records.audit import By
from records.models import Rollout


def set_gate(
    session: Session, tenant: str, brand: str, base: str, rule: dict[str, Any] | None, by: By
) -> Rollout | None:
    """From now on a job's version must pass the gate before it goes live; None ends that.

    A brand without versions gets its gate before its first one. None where there is no such brand.
    """
    row = rollout.find(session, tenant, brand, base, lock=True)
    if row is None and rule is not None:
        row = rollout.without_versions(session, tenant, brand, base)
    if row is not None and row.gate != rule:
        before, row.gate = row.gate, rule
        row.generation, row.updated_at = row.generation + 1, int(time.time())
        stays = rollout.state(row)
        audit.note(
            session, by, tenant, "gate", rollout.name_of(row),
            before={**stays, "gate": before}, after={**stays, "gate": rule},
        )  # fmt: skip
    return row
