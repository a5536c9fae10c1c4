"""An adapter that was trained elsewhere becomes a version: repaired, checked, stored, then recorded.

An import changes what a brand answers with only when that is asked for, or when the brand has nothing live
and is not paused: its first version goes live, as a job's does. Called by the route of adapters and the cli.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from adapters import check, lora_config, proving, publish, resolve, rollout
from adapters.base import Base
from adapters.content import content_digest
from adapters.manifest import CONFIG, FILE, WEIGHTS, Manifest
from adapters.proof import Verdict
from adapters.reference import BRAND, Reference
from adapters.repair import repair
from records import audit
from records.audit import By
from records.database import Database
from records.models import Rollout, Tenant, Version

DRAFT_SECONDS = 24 * 3600


class NotImported(ValueError):
    """It cannot be recorded as asked for; `param` names what is at fault."""

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True)
class Ready:
    """A stored version that no row names yet. `rank` is its largest."""

    manifest: Manifest
    sha256: str
    rank: int
    repairs: tuple[str, ...]
    warnings: tuple[str, ...]

    def name(self, tenant: str, brand: str) -> str:
        return str(Reference(self.manifest.base, tenant, brand, self.sha256))


@dataclass(frozen=True)
class Imported:
    """`live`: whether the brand's own name answers with it now; `pending`: it will, once it is proven."""

    version: Version
    live: bool
    pending: bool
    ready: Ready

    def shown(self) -> dict[str, Any]:
        """The answer of the API and the command."""
        return {
            "object": "adapter",
            "id": self.version.name,
            "brand": self.version.brand,
            "created_at": self.version.created_at,
            "base": self.version.base,
            "rank": self.ready.rank,
            "live": self.live,
            "pending": self.pending,
            "repairs": list(self.ready.repairs),
            "warnings": list(self.ready.warnings),
        }


@contextmanager
def workplace(home: Path) -> Iterator[Path]:
    """A new folder on the versions' disk, gone after the block; what a kill left goes after a day."""
    root = home / "imports"
    root.mkdir(parents=True, exist_ok=True)
    for left in root.iterdir():
        with suppress(FileNotFoundError):
            if left.stat().st_mtime < time.time() - DRAFT_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
    place = root / secrets.token_hex(8)
    place.mkdir()
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def prepare(home: Path, folder: Path, base: Base, *, max_rank: int) -> Ready:
    """Repair, check and store the adapter in `folder`, which stays as it is.

    Takes time and reads no rows. Raises Refused; OSError when the disk is full, then nothing was stored.
    """
    if (folder / FILE).exists():
        check.admit(folder, base, max_rank=max_rank)  # a version from another home: its manifest must fit
    with workplace(home) as place:
        draft = place / "draft"
        repairs = repair(folder, draft, base, max_rank=max_rank)
        admitted = check.admit(draft, base, max_rank=max_rank)
        config = lora_config.read((draft / CONFIG).read_bytes(), max_rank)
        manifest = Manifest(
            source="imported",
            base=base.slug,
            base_config_sha256=base.config_sha256,
            base_weights_sha256=base.weights_sha256,
            template_sha256=base.template_sha256,
            rank=config.r,
            max_rank=None if admitted.rank == config.r else admitted.rank,
            alpha=config.lora_alpha,
            target_modules=sorted(config.target_modules),
            received_sha256=content_digest(folder),
        )
        sha256 = publish.store(home, draft, manifest)
    return Ready(manifest, sha256, admitted.rank, tuple(repairs), admitted.warnings)


def record(
    session: Session,
    home: Path,
    ready: Ready,
    base: Base,
    *,
    tenant: str,
    brand: str,
    promote: bool,
    by: By,
    verdict: Verdict | None = None,
) -> Imported:
    """The version's row, and its brand's change, in the caller's transaction; twice is once. With the
    `verdict` of an engine that has proven it, it need not wait for one.

    Raises NotImported, RolloutRefused.
    """
    check_target(session, tenant, brand, base)
    name = ready.name(tenant, brand)
    known = session.scalar(select(Version).where(Version.name == name))
    if known is not None and known.sha256 != ready.sha256:
        raise NotImported(f"The name {name} is taken by another version; use another brand.", "brand")
    if not (publish.folder(home, ready.sha256) / WEIGHTS).is_file():  # swept between store and here
        raise NotImported("Its files were removed in the meantime; import it again.", "weights")
    row = publish.record(session, ready.manifest, ready.sha256, tenant=tenant, brand=brand, checkpoint=False)
    if known is None or known.deleted_at is not None:
        row.deleted_at = row.refuted = None  # who imports a deleted version wants it back
        after = {"sha256": row.sha256, "repairs": list(ready.repairs)}
        audit.note(session, by, tenant, "import", f"version:{name}", before=None, after=after)
    if verdict is not None:
        proving.accept(session, row, verdict, by)
    brand_now = _roll_out(session, row, base, promote, by)
    live, pending = (getattr(brand_now, part, None) == name for part in ("live", "pending"))
    return Imported(row, live, pending, ready)


def take_in(
    database: Database,
    home: Path,
    folder: Path,
    base: Base,
    *,
    tenant: str,
    brand: str,
    max_rank: int,
    promote: bool,
    by: By,
) -> Imported:
    """All of it. Raises Refused, NotImported, OSError."""
    with database.read() as session:
        check_target(session, tenant, brand, base)
    ready = prepare(home, folder, base, max_rank=max_rank)
    with database.write() as session:
        return record(session, home, ready, base, tenant=tenant, brand=brand, promote=promote, by=by)


def discard(session: Session, home: Path, sha256: str) -> None:
    """Remove the files of an import that was refused after `prepare`, unless a row names them: another
    tenant's, or that of a deleted version (server/sweep.py). Call it in a write transaction, as `record`
    looks for the files in one."""
    if session.scalar(select(Version.seq).where(Version.sha256 == sha256).limit(1)) is None:
        shutil.rmtree(publish.folder(home, sha256), ignore_errors=True)


def check_target(session: Session, tenant: str, brand: str, base: Base) -> None:
    """Raises NotImported when such a version cannot be."""
    if session.get(Tenant, tenant) is None:
        raise NotImported(f"There is no tenant {tenant!r}; `chorus tenants create` makes one.", "tenant")
    if not BRAND.fullmatch(brand):
        raise NotImported(
            "A brand has 1 to 64 letters, digits, '.', '_' or '-', with a letter or digit at both ends.",
            "brand",
        )
    if base.is_named(brand):
        raise NotImported("A brand must not have the name of the base model.", "brand")


def _roll_out(session: Session, row: Version, base: Base, promote: bool, by: By) -> Rollout | None:
    brand = rollout.find(session, row.tenant, row.brand, row.base, lock=True)
    if brand is None:
        return rollout.arrived(session, row, by)
    is_held = brand.paused or brand.pending is not None
    if promote or (not is_held and resolve.usable(session, row.tenant, brand.live, base) is None):
        return rollout.promote(session, brand, row.name, by)
    return brand
