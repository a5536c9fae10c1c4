"""What a tenant's client means by `model`: looked up in the rows once, remembered until they change.

server/follow.py looks at the rows four times a second and calls `invalidate`, as does a route that changed
them. So chat reads no rows, and a rollout's change is seen everywhere within a second.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from adapters import resolve, rollout
from adapters.base import Base
from records.database import Database
from records.models import Rollout
from records.models import Version as Row
from server.engine.base import RequestRefused, Version
from server.errors import INVALID, nothing_live, unknown_model, unusable

REMEMBERED_NAMES = 8192
WAIT_SECONDS = 5.0  # how long a request for a brand waits for the proof of its first version


@dataclass(frozen=True)
class Meaning:
    """The version behind a name, and for a brand what its rollout names besides, as far as this base can
    serve it."""

    live: Version
    row: Rollout | None = None
    candidate: Version | None = None
    shadow: Version | None = None
    previous: Version | None = None

    def answering(self, key: str) -> Version:
        """The version that answers whoever `key` stands for: the same one each time."""
        if self.row is None or self.candidate is None:
            return self.live
        return self.candidate if rollout.choose(self.row, key) == self.candidate.name else self.live


class BeingProven(RequestRefused):
    """The brand's first version is in the engine's hands and does not answer yet (503)."""

    def __init__(self, brand: str) -> None:
        said = f"The first version of `{brand}` is being proven; try again in a moment."
        super().__init__(503, said, type="server_error", code="server_is_overloaded")


@dataclass
class Names:
    database: Database
    base: Base
    _known: OrderedDict[tuple[str, str], Meaning] = field(default_factory=OrderedDict)
    _generation: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)  # set by the next `invalidate`

    async def of(self, tenant: str, model: str) -> Meaning:
        """What the name of a version or a brand stands for. Raises RequestRefused: 404; 410 when the version
        is refuted; 503 when a brand's first version is not proven WAIT_SECONDS from now."""
        until = time.monotonic() + WAIT_SECONDS
        while True:
            changed = self._changed
            try:
                return await self._of(tenant, model)
            except BeingProven:
                if not await _happens(changed, until - time.monotonic()):
                    raise

    async def _of(self, tenant: str, model: str) -> Meaning:
        known = self._known.get((tenant, model))
        if known is not None:
            return known
        generation = self._generation
        meaning = await run_in_threadpool(self._look_up, tenant, model)
        if generation == self._generation:  # else the rows changed while we read them
            self._known[tenant, model] = meaning
            if len(self._known) > REMEMBERED_NAMES:
                self._known.popitem(last=False)
        return meaning

    def invalidate(self) -> None:
        """The rows changed: look every name up anew."""
        self._generation += 1
        self._known.clear()
        self._changed.set()
        self._changed = asyncio.Event()

    def row_of(self, session: Session, tenant: str, model: str) -> Row:
        """The row behind a name, also where that version may not answer. Raises RequestRefused: 404."""
        row = resolve.version_for(session, tenant, model, self.base)
        if row is None:
            brand = rollout.find(session, tenant, model, self.base.slug)
            raise unknown_model(model) if brand is None else nothing_live(model)
        return row

    def version_of(self, row: Row) -> Version:
        """The engine's word for a row. Raises RequestRefused: 404 when it was made for another base, 410 when
        it was refuted."""
        problem = resolve.misfit(row, self.base)
        if problem:
            message = f"The model `{row.name}` cannot be served. {problem}"
            raise RequestRefused(404, message, type=INVALID, param="model", code="model_not_found")
        if row.refuted is not None:
            raise unusable(row.name, row.refuted)
        return Version(row.name, row.sha256)

    def _look_up(self, tenant: str, model: str) -> Meaning:
        with self.database.read() as session:
            row = self.row_of(session, tenant, model)
            live = self.version_of(row)
            found = rollout.find(session, tenant, model, self.base.slug)
            if row.name != model and row.proved_at is None:
                raise BeingProven(model) if found and found.pending else nothing_live(model)
            others: dict[str, Version] = {}
            for part in ("candidate", "shadow", "previous") if found else ():
                version = resolve.usable(session, tenant, getattr(found, part), self.base)
                if version is None or version.name == row.name:
                    continue
                if part != "candidate" or version.proved_at is not None:
                    others[part] = self.version_of(version)
        return Meaning(live, found, **others)


async def _happens(event: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True
