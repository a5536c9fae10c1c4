"""Takes up evaluations that jobs wait for, one at a time, while the engine chats.

Looks at the rows as server/follow.py does. A lease says that it is at work: when this server dies, another
one, or this one started again, does the whole evaluation anew.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from contextlib import suppress

from starlette.concurrency import run_in_threadpool

from records import evaluations
from records.database import Database
from records.evaluations import Hold, Lost
from records.models import Evaluation
from server.engine.base import EngineUnavailable
from server.evaluation.carry import Carrier
from server.keeper import Keeper

LOOK_SECONDS = 0.5
BEAT_SECONDS = 5.0
CHECK_SECONDS = 1.0

log = logging.getLogger("chorus.server")


class Evaluator:
    def __init__(self, carrier: Carrier, keeper: Keeper, database: Database, base_sha256: str) -> None:
        self._carrier, self._keeper, self._database = carrier, keeper, database
        self._base_sha256 = base_sha256
        self._owner = f"server-{secrets.token_hex(6)}"
        self._lease_seconds = carrier.settings.lease_seconds
        self._beat_at = 0.0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if not self._keeper.ready:
                continue
            try:
                claimed = await run_in_threadpool(self._look)
                if claimed is not None:
                    await self._carry_out(*claimed)
            except Exception:
                log.exception("Could not look for evaluations; looking again")

    def _look(self) -> tuple[Evaluation, Hold] | None:
        self._beat()
        with self._database.read() as session:
            if not evaluations.is_waiting(session, self._base_sha256):
                return None
        with self._database.write() as session:
            return evaluations.claim(session, self._base_sha256, self._owner, self._lease_seconds)

    def _beat(self) -> None:
        now = time.monotonic()
        if now - self._beat_at >= BEAT_SECONDS or not self._beat_at:
            self._beat_at = now
            with self._database.write() as session:
                evaluations.beat(session, self._base_sha256)

    async def _carry_out(self, row: Evaluation, hold: Hold) -> None:
        log.info("Evaluation %s of job %s begins", row.id, row.job_id)
        began, work = time.perf_counter(), asyncio.create_task(self._carrier.carry_out(row))
        keeping = asyncio.create_task(self._keep(hold))
        try:
            await asyncio.wait({work, keeping}, return_when=asyncio.FIRST_COMPLETED)
            if keeping.done():  # it ends only by an exception
                raise Lost(hold.id) from keeping.exception()
            results = await work
            await run_in_threadpool(self._finish, hold, results)
            log.info("Evaluation %s ends after %.1f s", row.id, time.perf_counter() - began)
        except Lost:
            log.info("Evaluation %s is not ours any more", row.id)
            with suppress(Lost):  # a pause: the lease is ours still, and the try does not count
                await run_in_threadpool(self._let_go, hold)
        except asyncio.CancelledError:
            try:
                self._let_go(hold)
            except Exception:
                log.exception("Evaluation %s is not given back; it is free when its lease ends", row.id)
            raise
        except Exception as error:
            expected = isinstance(error, EngineUnavailable | OSError)
            log.warning("Evaluation %s failed: %s", row.id, error, exc_info=not expected)
            if isinstance(error, EngineUnavailable):
                self._keeper.suspect()
            why = str(error) if expected else "The server had an error; its log has it."
            with suppress(Lost):
                await run_in_threadpool(self._give_back, hold, why)
        finally:
            for task in (work, keeping):
                task.cancel()
            await asyncio.gather(work, keeping, return_exceptions=True)

    async def _keep(self, hold: Hold) -> None:
        """Renew the lease, and say that we are here; see soon when nobody waits any more. Raises Lost."""
        renewed, every = time.monotonic(), min(BEAT_SECONDS, self._lease_seconds / 3)
        while True:
            await asyncio.sleep(min(CHECK_SECONDS, every))
            try:
                if time.monotonic() - renewed < every:
                    await run_in_threadpool(self._check, hold)
                    continue
                await run_in_threadpool(self._renew, hold)
                renewed = time.monotonic()
            except Lost:
                raise
            except Exception:
                log.exception("The lease of an evaluation could not be renewed")

    def _check(self, hold: Hold) -> None:
        with self._database.read() as session:
            evaluations.check(session, hold)

    def _renew(self, hold: Hold) -> None:
        self._beat()
        with self._database.write() as session:
            evaluations.renew(session, hold, self._lease_seconds)

    def _finish(self, hold: Hold, results: dict[str, object]) -> None:
        with self._database.write() as session:
            evaluations.finish(session, hold, results)

    def _give_back(self, hold: Hold, why: str) -> None:
        with self._database.write() as session:
            evaluations.give_back(session, hold, why)

    def _let_go(self, hold: Hold) -> None:
        with self._database.write() as session:
            evaluations.let_go(session, hold)
