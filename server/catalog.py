"""From a client's `model` to a version that the engine holds: choose, load once, pin while in use.

Loads are single-flight per version. Past `capacity` the least recently used version without a pin leaves the
engine, so that the engine never evicts (and re-reads from disk) by itself; what is pinned has a place of
`capacity`, and a request waits where there is none. A brand's previous version counts as used whenever its
brand is: it stays warm for a rollback.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from adapters import publish
from adapters.content import content_digest
from adapters.manifest import WEIGHTS
from server.engine.base import AdapterRefused, Engine, RequestRefused, Version
from server.errors import unusable
from server.metrics import Metrics, Waits
from server.names import Names
from server.places import Places

AHEAD = (
    64  # most that is loaded before anybody asks: of a thousand brands the others come when they are wanted
)
REFUSED_SECONDS = 5.0  # a version that the engine refused is not tried again sooner

log = logging.getLogger("chorus.server")


class Moved(Exception):
    """While a request waited its name has come to mean another version."""


@dataclass(frozen=True)
class Chosen:
    """Who answers a request (None: the base model), and the shadow to compare a live answer with."""

    version: Version | None
    shadow: Version | None = None


@dataclass(eq=False)
class Resident:
    """A version in the engine, or on its way in (`loading`) or out (`leaving`)."""

    version: Version
    loading: asyncio.Task[None]
    pins: int = 0
    doomed: bool = False
    leaving: asyncio.Task[None] | None = None


@dataclass
class Catalog:
    names: Names
    home: Path
    engine: Engine
    metrics: Metrics
    capacity: int
    _residents: OrderedDict[str, Resident] = field(default_factory=OrderedDict)
    _refused: dict[str, tuple[float, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._places = Places(self.capacity, Waits(self.metrics, "memory"))

    @asynccontextmanager
    async def acquire(
        self, tenant: str, model: str, key: str = "", *, low: bool = False
    ) -> AsyncIterator[Chosen]:
        """The version that answers for `model` (None: the base model), pinned in the engine for the block.

        Where a brand has a canary, `key` decides: whoever sends the same one gets the same version, or the
        live one where the candidate cannot be served. `low` is for what nobody waits for.
        Raises RequestRefused: 404 for what the tenant does not have or this base cannot serve, 410 for a
        version whose files are gone or that the engine refuses; EngineUnavailable.
        """
        if self.names.base.is_named(model):
            yield Chosen(None)
            return
        async with AsyncExitStack() as stack:
            while True:
                try:
                    chosen = await self._choose(stack, tenant, model, key, low)
                    break
                except Moved:
                    continue
            yield chosen

    async def _choose(self, stack: AsyncExitStack, tenant: str, model: str, key: str, low: bool) -> Chosen:
        meaning = await self.names.of(tenant, model)
        if meaning.previous is not None and meaning.previous.name in self._residents:
            self._residents.move_to_end(meaning.previous.name)
        version = meaning.answering(key)

        async def still() -> None:
            if (await self.names.of(tenant, model)).answering(key) != meaning.answering(key):
                raise Moved

        try:
            await stack.enter_async_context(self.hold(version, low=low, still=still))
        except RequestRefused as error:
            if version == meaning.live:
                raise
            self.metrics.canary_fallbacks.inc()
            log.warning("The live version answers for the candidate: %s", error)
            version = meaning.live
            await stack.enter_async_context(self.hold(version, low=low, still=still))
        return Chosen(version, meaning.shadow if version == meaning.live else None)

    @asynccontextmanager
    async def hold(
        self, version: Version, *, low: bool = False, still: Callable[[], Awaitable[None]] | None = None
    ) -> AsyncIterator[None]:
        """The version in the engine, pinned there for the block. Raises as `acquire` does, and what `still`
        raises, which is asked after a wait whether the version is wanted yet."""
        waited = await self._places.enter(version.name, low=low)
        try:
            if waited and still is not None:
                await still()
            resident = await self._resident(version)
            resident.pins += 1
            try:
                await asyncio.shield(resident.loading)
                yield
            finally:
                resident.pins -= 1
                if resident.doomed and not resident.pins:
                    self._leave(resident)
                self._make_room()
        finally:
            self._places.leave(version.name)

    async def preload(self, version: Version) -> None:
        """Make a version resident ahead of its first request. Raises as `acquire` does."""
        await asyncio.shield((await self._resident(version)).loading)

    async def release(self, name: str) -> None:
        """Take a version out of the engine once its last stream has ended; returns at once."""
        resident = self._residents.get(name)
        if resident is not None:
            resident.doomed = True
            if not resident.pins:
                self._leave(resident)

    @property
    def ahead(self) -> int:
        """How many versions may be loaded before they are asked for."""
        return min(self.capacity, AHEAD)

    def held(self) -> list[str]:
        """Names of the versions in the engine, or on their way."""
        return list(self._residents)

    def forget(self) -> list[Version]:
        """The engine lost everything (it was stopped): what it held, most recently used first."""
        held = [resident.version for resident in reversed(self._residents.values())]
        self._residents.clear()
        self.metrics.resident.set(0)
        return held

    async def _resident(self, version: Version) -> Resident:
        while (known := self._residents.get(version.name)) is not None and known.leaving is not None:
            await asyncio.wait([known.leaving])
        if known is None:
            until, why = self._refused.get(version.name, (0.0, ""))
            if time.monotonic() < until:
                raise unusable(version.name, why)
            known = Resident(version, asyncio.create_task(self._load(version)))
            known.loading.add_done_callback(_seen)
            self._residents[version.name] = known
            self._make_room()
        self._residents.move_to_end(version.name)
        return known

    async def _load(self, version: Version) -> None:
        path = publish.folder(self.home, version.sha256)
        try:
            # Before the engine sees it: a file that fails inside the engine may end it for everybody.
            problem = await run_in_threadpool(_damage, path, version.sha256)
            if problem:
                self.metrics.quarantined.inc()
                log.error("%s is quarantined: %s", version.name, problem)
                raise AdapterRefused(problem)
            with self.metrics.load():
                await self.engine.load(version, path)
        except BaseException as error:
            known = self._residents.get(version.name)
            if known is not None and known.loading is asyncio.current_task():
                del self._residents[version.name]
            if not isinstance(error, AdapterRefused):
                raise
            self._refused = {n: r for n, r in self._refused.items() if r[0] > time.monotonic()}
            self._refused[version.name] = time.monotonic() + REFUSED_SECONDS, str(error)
            raise unusable(version.name, str(error)) from error
        self._make_room()
        self.metrics.resident.set(len(self._residents))

    def _make_room(self) -> None:
        if len(self._residents) > self.capacity:
            staying = [resident for resident in self._residents.values() if resident.leaving is None]
            idle = [resident for resident in staying if not resident.pins and resident.loading.done()]
            for resident in idle[: max(0, len(staying) - self.capacity)]:
                self._leave(resident)

    def _leave(self, resident: Resident) -> None:
        if resident.leaving is None and self._residents.get(resident.version.name) is resident:
            resident.leaving = asyncio.create_task(self._unload(resident))
            resident.leaving.add_done_callback(_seen)

    async def _unload(self, resident: Resident) -> None:
        # Not before it is in: an engine has nothing to unload yet, and would hold it ever after.
        await asyncio.wait([resident.loading])
        try:
            await self.engine.unload(resident.version)
        finally:
            if self._residents.get(resident.version.name) is resident:
                del self._residents[resident.version.name]
            self.metrics.resident.set(len(self._residents))


def _damage(path: Path, sha256: str) -> str | None:
    """What is wrong with a version's folder, which is named by its content; None when all is as published."""
    if not (path / WEIGHTS).is_file():
        return "its files are missing on the server's disk"
    try:
        whole = content_digest(path) == sha256
    except OSError as error:
        return f"its files cannot be read on the server's disk ({error.strerror})"
    return None if whole else "its files have changed on the server's disk since it was published"


def _seen(task: asyncio.Task[None]) -> None:
    """Mark a failure as noticed: whoever waited for it got it, and nobody may have waited."""
    if not task.cancelled():
        task.exception()
