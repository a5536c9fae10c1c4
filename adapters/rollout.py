"""What a brand means: its live version, a candidate with a share, a shadow, the previous one for rollback.

Rules over rows, in the caller's transaction: each change bumps `generation` and writes one audit row, and
what is already so is no change. Nothing is loaded here: servers see the rows change (server/follow.py).
A version that no engine has proven yet does not go live but is `pending`: server/prover.py proves it.
Called by training (a finished job), the routes of brands and models, proving.py and the cli.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from adapters import gate
from adapters.eligible import RolloutRefused, beside, check_not_held_back, check_not_refuted, checked
from adapters.reference import Reference
from records import audit
from records.audit import By
from records.models import Audit, Evaluation, Rollout, Version

STATE = ("live", "previous", "candidate", "share", "shadow", "paused", "pending")
ANSWERING = ("live", "candidate", "shadow")  # those that get requests
IN_USE = {
    "live": "it is live for brand '{brand}'; promote another or retire the brand first",
    "candidate": "it is the candidate of brand '{brand}'; end its canary first",
    "shadow": "it is the shadow of brand '{brand}'; end that first",
}


def find(session: Session, tenant: str, brand: str, base: str, *, lock: bool = False) -> Rollout | None:
    """The brand's rollout on the base of that slug. `lock` it before a change."""
    mine = select(Rollout).where(Rollout.tenant == tenant, Rollout.brand == brand, Rollout.base == base)
    return session.scalar(mine.with_for_update() if lock else mine)


def of(session: Session, tenant: str, base: str | None = None) -> Sequence[Rollout]:
    """The tenant's rollouts, by the brand's name: on the base of that slug, or on all."""
    mine = select(Rollout).where(Rollout.tenant == tenant)
    mine = mine if base is None else mine.where(Rollout.base == base)
    return session.scalars(mine.order_by(Rollout.brand, Rollout.base)).all()


def state(row: Rollout) -> dict[str, Any]:
    """What the audit keeps of a rollout."""
    return {name: getattr(row, name) for name in STATE}


def name_of(row: Rollout) -> str:
    """The rollout as the audit names it."""
    return f"rollout:{row.base}:{row.brand}"


def audited(row: Rollout) -> ColumnElement[bool]:
    """Which audit rows tell of the rollout, or of a version of its brand: imports, proofs, deletions."""
    versions = f"version:{Reference(row.base, row.tenant, row.brand, '')}"
    return (Audit.tenant == row.tenant) & or_(
        Audit.object == name_of(row), Audit.object.startswith(versions, autoescape=True)
    )


def choose(row: Rollout, key: str) -> str | None:
    """The name of the version that answers for `key`: always the same one while the share is, and whom the
    candidate answers it goes on to answer when the share grows."""
    if row.candidate is None or row.share <= 0:
        return row.live
    digest = hashlib.sha256(f"{row.tenant}\0{row.brand}\0{key}".encode()).digest()
    return row.candidate if int.from_bytes(digest[:8]) < row.share * 2**64 else row.live


def arrived(
    session: Session, version: Version, by: By, evaluation: Evaluation | None = None
) -> Rollout | None:
    """A job's final version is recorded: it goes live once it is proven, or waits as candidate where the
    rollout is paused, or where the brand's gate holds it back. Raises RolloutRefused when it is refuted.

    None for a version without a brand, which answers to its own name only.
    """
    if not version.brand:
        return None
    check_not_refuted(version)
    row = find(session, version.tenant, version.brand, version.base, lock=True)
    if row is None:
        return _begin(session, version, by)
    why = gate.against(row, evaluation)
    if why is not None:
        gate.hold_back(session, version, why)
    if row.paused or why is not None:
        return _change(session, row, by, "arrived", candidate=version.name, share=0.0)
    return _go_live_or_wait(session, row, by, "arrived", version)


def promote(session: Session, row: Rollout, version: str | None, by: By, *, force: bool = False) -> Rollout:
    """The named version (a checkpoint's too), else the candidate, goes live, once it is proven; what waited
    for that before no longer does. What the gate held back takes `force`. Raises RolloutRefused."""
    name = row.candidate if version is None else version
    if name is None:
        raise RolloutRefused(
            "no_candidate", f"Brand '{row.brand}' has no candidate; name the version to promote."
        )
    chosen = checked(session, row, name)
    forced = row.gate is not None and chosen.held_back is not None
    if forced and not force:
        check_not_held_back(chosen)
    return _go_live_or_wait(session, row, by, "promote_forced" if forced else "promote", chosen)


def rollback(session: Session, row: Rollout, by: By) -> Rollout:
    """The live and the previous version change places; what waits for its proof no longer goes live. A
    previous version has answered before and needs no proof. Raises RolloutRefused."""
    if row.previous is None:
        raise RolloutRefused(
            "no_previous", f"Brand '{row.brand}' has no previous version; promote one by its name."
        )
    return _go_live(session, row, by, "rollback", checked(session, row, row.previous).name)


def retire(session: Session, row: Rollout, by: By) -> Rollout:
    """Take the brand out of service: its name answers nobody until somebody promotes a version or rolls back
    to the one that was live, now `previous`. Canary, shadow and what waits for its proof end. The brand is
    paused, as a job that still runs would else bring it back; `resume` ends that."""
    parts: dict[str, Any] = dict.fromkeys(("live", "candidate", "shadow", "pending"))
    return _change(session, row, by, "retire", **parts, previous=row.live or row.previous, paused=True)


def canary(session: Session, row: Rollout, version: str | None, share: float | None, by: By) -> Rollout:
    """A candidate answers a share of the requests. Without a version the candidate there is gets the share;
    without both the canary ends. What the gate held back gets none. Raises RolloutRefused."""
    if version is None and share is None:
        return _change(session, row, by, "canary", candidate=None)
    if share is None or not 0 <= share <= 1:
        raise RolloutRefused("bad_share", "A canary needs a 'share' from 0 to 1.", "share")
    name = row.candidate if version is None else version
    if name is None:
        raise RolloutRefused("no_candidate", f"Brand '{row.brand}' has no candidate; name a version.")
    chosen = checked(session, row, name)
    if share > 0 and row.gate is not None:
        check_not_held_back(chosen)
    return _change(session, row, by, "canary", candidate=beside(row, chosen), share=float(share))


def shadow(session: Session, row: Rollout, version: str | None, by: By) -> Rollout:
    """The version gets a copy of the requests, answers nobody; None ends that. Raises RolloutRefused."""
    name = None if version is None else beside(row, checked(session, row, version))
    return _change(session, row, by, "shadow", shadow=name)


def pause(session: Session, row: Rollout, by: By) -> Rollout:
    """From now on a job's version waits as candidate, and so does one that is being proven. What people ask
    for is done as before."""
    if row.pending is None:
        return _change(session, row, by, "pause", paused=True)
    return _change(session, row, by, "pause", paused=True, candidate=row.pending, share=0.0, pending=None)


def resume(session: Session, row: Rollout, by: By) -> Rollout:
    """From now on a job's version goes live again; one that waits has to be promoted."""
    return _change(session, row, by, "resume", paused=False)


def release(session: Session, version: Version, by: By) -> None:
    """Before a version is deleted: a previous or pending one is forgotten. Raises RolloutRefused while it is
    in use."""
    row = find(session, version.tenant, version.brand, version.base, lock=True)
    if row is None:
        return
    for part, said in IN_USE.items():
        if getattr(row, part) == version.name:
            why = said.format(brand=row.brand)
            raise RolloutRefused("version_in_use", f"{version.name} cannot be deleted: {why}.")
    gone = {part: None for part in ("previous", "pending") if getattr(row, part) == version.name}
    if gone:
        _change(session, row, by, "forget", **gone)


def proved(session: Session, version: Version, by: By) -> None:
    """An engine has proven the version: if it waited for that, it goes live."""
    row = find(session, version.tenant, version.brand, version.base, lock=True)
    if row is not None and row.pending == version.name:
        _go_live(session, row, by, "proved", version.name)


def refuted(session: Session, version: Version, by: By) -> None:
    """An engine has refuted the version: it gets no requests of its brand any more."""
    row = find(session, version.tenant, version.brand, version.base, lock=True)
    parts = ("pending", "candidate", "shadow")
    gone = {part: None for part in parts if row is not None and getattr(row, part) == version.name}
    if row is not None and gone:
        _change(session, row, by, "refuted", **gone)


def _begin(session: Session, version: Version, by: By) -> Rollout:
    is_proved = version.proved_at is not None
    row = without_versions(session, version.tenant, version.brand, version.base)
    row.live = version.name if is_proved else None
    row.pending = None if is_proved else version.name
    session.flush()
    audit.note(session, by, row.tenant, "arrived", name_of(row), before=None, after=state(row))
    return row


def without_versions(session: Session, tenant: str, brand: str, base: str) -> Rollout:
    """The row of a brand that has none yet."""
    row = Rollout(
        tenant=tenant, brand=brand, base=base,
        share=0.0, paused=False, generation=1, updated_at=int(time.time()),
    )  # fmt: skip
    session.add(row)
    session.flush()
    return row


def _go_live_or_wait(session: Session, row: Rollout, by: By, action: str, version: Version) -> Rollout:
    if version.proved_at is None and version.name != row.live:
        return _change(session, row, by, action, pending=version.name)
    return _go_live(session, row, by, action, version.name)


def _go_live(session: Session, row: Rollout, by: By, action: str, name: str) -> Rollout:
    previous = row.previous if name == row.live else row.live
    return _change(session, row, by, action, live=name, previous=previous, pending=None)


def _change(session: Session, row: Rollout, by: By, action: str, **values: Any) -> Rollout:
    """The one place where a rollout changes. Sends no SQL: whoever only rehearses a change closes the
    session, and nothing was written."""
    before = state(row)
    for name, value in values.items():
        setattr(row, name, value)
    # What is live is nothing else besides.
    row.candidate = None if row.candidate == row.live else row.candidate
    row.shadow = None if row.shadow == row.live else row.shadow
    row.share = row.share if row.candidate else 0.0
    after = state(row)
    if after != before:
        row.generation, row.updated_at = row.generation + 1, int(time.time())
        audit.note(session, by, row.tenant, action, name_of(row), before=before, after=after)
    return row
