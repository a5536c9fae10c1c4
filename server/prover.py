"""Proves that what the engine serves is what was trained, before a version answers for its brand.

The engine is asked, through its five verbs, for the log-probabilities of the rows that training kept with the
version; adapters/proof.py compares, and the verdict goes into the rows once for all servers. Called by
server/follow.py for what waits, by server/keeper.py before the server is ready, and by the routes that let a
version answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection
from dataclasses import dataclass, field

from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from adapters import proving, resolve
from adapters.eligible import RolloutRefused
from adapters.proof import Proof, Verdict
from records.audit import By
from records.database import Database
from records.models import Version as Row
from server.catalog import Catalog
from server.echo import Echo
from server.engine.base import EngineUnavailable, RequestRefused, Version
from server.errors import unavailable
from server.metrics import Metrics

AT_ONCE = 2
ON_CALL_SECONDS = 5.0  # how long a request waits for a proof; it goes on after that
START_SECONDS = 10.0  # how long a start waits for what is to be proven before the server is ready
AGAIN_SECONDS, AGAIN_MOST = 1.0, 60.0  # between two tries at a version that cannot be proven for now
SERVER = By("server")

log = logging.getLogger("chorus.server")


@dataclass(frozen=True)
class Known:
    """What the rows say of a version; an import that is not recorded yet has none of it."""

    proved: bool = False
    refuted: str | None = None
    proof: Proof | None = None


@dataclass
class Prover:
    echo: Echo
    catalog: Catalog
    database: Database
    metrics: Metrics
    _running: dict[str, asyncio.Task[Verdict | None]] = field(default_factory=dict)
    _again: dict[str, tuple[float, float]] = field(default_factory=dict)  # not before; the pause that it was
    _behind: set[asyncio.Task[None]] = field(default_factory=set)
    _gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def on_call(self, version: Version) -> Verdict | None:
        """Prove the version for a request that wants it to answer: None when that was done before.

        Whoever waits for it goes live. Raises RolloutRefused when it is refuted; RequestRefused: 503 when the
        engine cannot tell now, and as Catalog.acquire.
        """
        try:
            verdict = await asyncio.wait_for(asyncio.shield(self._task(version)), ON_CALL_SECONDS)
        except (EngineUnavailable, TimeoutError) as error:
            why = str(error) or "The engine is busy."
            said = f"{version.name} has to be proven before it answers, which cannot be done now. {why}"
            raise unavailable(f"{said} Try again in a moment.") from error
        if verdict is not None and verdict.problem is not None:
            said = f"{version.name} does not answer: {verdict.problem}. Use another version."
            raise RolloutRefused("version_refuted", said)
        return verdict

    def due(self) -> bool:
        """Whether a version that could not be proven is to be tried again by now."""
        now = time.monotonic()
        return any(at <= now for name, (at, _) in self._again.items() if name not in self._running)

    def begin(self, rows: Collection[Row]) -> None:
        """Prove in the background what waits for it (all of that is in `rows`), unless that runs or was tried
        a moment ago."""
        now, waiting = time.monotonic(), {row.name for row in rows}
        self._again = {name: tried for name, tried in self._again.items() if name in waiting}
        for row in rows:
            if row.name not in self._running and self._again.get(row.name, (0.0, 0.0))[0] <= now:
                self._start(row)

    async def before_ready(self, rows: Collection[Row]) -> None:
        """Prove what waited for it (`rows`) when the engine came up, so that it answers from the start."""
        self._again.clear()
        tasks = [self._start(row) for row in rows]
        if tasks:
            await asyncio.wait(tasks, timeout=START_SECONDS)

    def waiting(self) -> list[Row]:
        with self.database.read() as session:
            return list(resolve.waiting(session, self.catalog.names.base))

    async def stop(self) -> None:
        """End what is running; the server is stopping."""
        tasks = [*self._behind, *self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, row: Row) -> asyncio.Task[None]:
        task = asyncio.create_task(self._in_background(row))
        self._behind.add(task)
        task.add_done_callback(self._behind.discard)
        return task

    def _task(self, version: Version) -> asyncio.Task[Verdict | None]:
        """The one proof of a version that runs; whoever else asks for it waits for the same."""
        known = self._running.get(version.name)
        if known is None:
            known = self._running[version.name] = asyncio.create_task(self._settle(version))
            known.add_done_callback(lambda task: self._done(version.name, task))
        return known

    def _done(self, name: str, task: asyncio.Task[Verdict | None]) -> None:
        del self._running[name]
        # Whoever waited has got the exception. Nobody may have, so it is for `begin` to see whether it waits.
        if not task.cancelled() and task.exception() is not None:
            self._again.setdefault(name, (time.monotonic(), AGAIN_SECONDS / 2))

    async def _in_background(self, row: Row) -> None:
        try:
            await asyncio.shield(self._task(self.catalog.names.version_of(row)))
            self._again.pop(row.name, None)
        except Exception as error:
            pause = min(2 * self._again.get(row.name, (0.0, AGAIN_SECONDS / 2))[1], AGAIN_MOST)
            self._again[row.name] = time.monotonic() + pause, pause
            expected = isinstance(error, EngineUnavailable | RequestRefused)
            log.warning("Not proven yet, again in %.0f s: %s", pause, error, exc_info=not expected)

    async def _settle(self, version: Version) -> Verdict | None:
        known = await run_in_threadpool(self._known, version.name)
        if known.proved:
            return None
        if known.refuted is not None:
            return Verdict(known.refuted, {})
        began = time.perf_counter()
        try:
            async with self._gate, self.catalog.hold(version):
                verdict = await self.echo.verdict(version, known.proof)
        except Exception:
            self.metrics.proved["failed"].inc()
            raise
        seconds = time.perf_counter() - began
        self.metrics.proof_seconds.observe(seconds)
        self.metrics.proved["proved" if verdict.holds else "refuted"].inc()
        if verdict.holds:
            log.info("%s is proven in %.2f s: %s", version.name, seconds, verdict.figures)
        else:
            log.error("%s is refuted: %s %s", version.name, verdict.problem, verdict.figures)
        await run_in_threadpool(self._write, version.name, verdict)
        self.catalog.names.invalidate()
        return verdict

    def _known(self, name: str) -> Known:
        with self.database.read() as session:
            row = session.execute(
                select(Row.proved_at, Row.refuted, Row.proof).where(
                    Row.name == name, Row.deleted_at.is_(None)
                )
            ).one_or_none()
        if row is None:
            return Known()
        proof = Proof.model_validate(row.proof) if row.proof else None
        return Known(row.proved_at is not None, row.refuted, proof)

    def _write(self, name: str, verdict: Verdict) -> None:
        with self.database.write() as session:
            proving.settle(session, name, verdict, SERVER)
