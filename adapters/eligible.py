"""Which version may stand in a rollout, and why another may not. Called by rollout.py."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from records.models import Rollout, Version


class RolloutRefused(ValueError):
    """The change cannot be made; nothing was written. `param` names the argument at fault, if one is."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.param = code, param


def checked(session: Session, row: Rollout, name: str) -> Version:
    """The version of that name, which this rollout may use. Raises RolloutRefused."""
    mine = select(Version).where(Version.tenant == row.tenant, Version.deleted_at.is_(None))
    version = session.scalar(mine.where(Version.name == name))
    if version is None:
        said = f"There is no version {name[:256]!r}; use a full name (ft:...) from the list of models."
        raise RolloutRefused("version_not_found", said, "version")
    if version.brand != row.brand:
        said = f"{name} is of brand '{version.brand}', not of '{row.brand}'."
        raise RolloutRefused("version_of_another_brand", said, "version")
    if version.base != row.base:
        said = f"{name} was made for base '{version.base}', not for '{row.base}'; train it again."
        raise RolloutRefused("version_of_another_base", said, "version")
    check_not_refuted(version)
    return version


def check_not_refuted(version: Version) -> None:
    """Raises RolloutRefused."""
    if version.refuted is not None:
        said = f"{version.name} was refuted by its proof: {version.refuted}. Use another version."
        raise RolloutRefused("version_refuted", said)


def check_not_held_back(version: Version) -> None:
    """Raises RolloutRefused."""
    if version.held_back is not None:
        said = (
            f"{version.name} did not pass the gate of brand '{version.brand}': {version.held_back} "
            'Promote it with "force": true to use it all the same; the audit will say so.'
        )
        raise RolloutRefused("gate_not_passed", said)


def beside(row: Rollout, version: Version) -> str:
    """The version's name: it may be candidate or shadow beside the live one. Raises RolloutRefused."""
    if row.live is None:
        said = f"Brand '{row.brand}' has no live version for another to stand beside; promote one first."
        raise RolloutRefused("no_live", said)
    if version.name == row.live:
        said = f"{version.name} is live for brand '{row.brand}' already."
        raise RolloutRefused("already_live", said, "version")
    return version.name
