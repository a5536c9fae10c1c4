"""Keeps the engine up: starts it beside the app, proves that it chats, starts it again after its end.

`ready` is what /readyz shows. Death is told by EngineUnavailable, to a request (`suspect`) or to the canary
that is sent when nothing came out of the engine for a while; a hang by EngineHung. A canary may wait for as
long as it takes: slow is not dead.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing, suppress
from typing import Any, TypeVar

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from adapters import resolve
from records.database import Database
from server.catalog import Catalog
from server.engine.base import Engine, EngineHung, EngineMisconfigured, Kind, RequestRefused, Version
from server.metrics import Metrics
from server.prover import Prover

CANARY_SECONDS = 10.0
CANARY: dict[str, Any] = {
    "messages": [{"role": "user", "content": "ping"}],
    "max_tokens": 1,
    "cache_salt": "canary",
}
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0

T = TypeVar("T")
log = logging.getLogger("chorus.server")


class Keeper:
    def __init__(
        self,
        engine: Engine,
        catalog: Catalog,
        prover: Prover,
        database: Database,
        metrics: Metrics,
    ) -> None:
        self._engine, self._catalog, self._prover = engine, catalog, prover
        self._database, self._metrics = database, metrics
        self._suspected = asyncio.Event()
        self.ready = False
        self.reason = "The engine is starting."
        self.hopeless = False  # no other start will help: `chorus serve` ends then

    async def run(self) -> None:
        """Until cancelled, or no start will help; then the engine is stopped."""
        pause = FIRST_PAUSE
        try:
            while True:
                try:
                    await self._bring_up()
                    pause = FIRST_PAUSE
                    await self._until_dead()
                except EngineMisconfigured as error:
                    self.hopeless = True
                    self._down(str(error))
                    return
                except Exception as error:
                    log.exception("The engine is down; next start in %.0f s", pause)
                    self._metrics.engine_failures["hung" if isinstance(error, EngineHung) else "died"].inc()
                    self._down(f"The engine is down and will be started again: {error}")
                await self._engine.stop()
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
        finally:
            if not self.hopeless:
                self._down("The server is stopping.")
            await self._engine.stop()

    def suspect(self) -> None:
        """A request met EngineUnavailable: look at once."""
        self._suspected.set()

    async def _bring_up(self) -> None:
        held = self._catalog.forget()
        await self._engine.start()
        wanted = await self._from_rows(lambda: self._wanted(held))
        for version in reversed(wanted):
            try:
                await self._catalog.preload(version)
            except RequestRefused as error:
                log.warning("Not loaded: %s", error)
        try:
            await self._chat_once()
        except RequestRefused as error:
            # Such as a base model without a chat template: another start would not help.
            self.reason = f"The engine runs but does not chat: {error}"
            log.error(self.reason)
            return
        await self._prover.before_ready(await self._from_rows(self._prover.waiting))
        self.ready, self.reason = True, "Chat works."
        self._metrics.engine_up.set(1)
        log.info("Ready with %d versions", len(wanted))

    async def _until_dead(self) -> None:
        while True:
            self._suspected.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._suspected.wait(), CANARY_SECONDS)
            if self._suspected.is_set() or self._metrics.idle_seconds() > CANARY_SECONDS:
                with suppress(RequestRefused):  # it answered: that is life
                    await self._chat_once()

    async def _chat_once(self) -> None:
        """Raises EngineUnavailable."""
        async with aclosing(self._engine.generate(Kind.CHAT, dict(CANARY), None)) as frames:  # type: ignore[type-var]
            async for _ in frames:
                pass

    async def _from_rows(self, look: Callable[[], T]) -> T:
        """What `look` finds, however long the database is away: that is no reason to stop an engine."""
        while True:
            try:
                return await run_in_threadpool(look)
            except SQLAlchemyError as error:
                self.reason = "The database does not answer."
                log.warning("%s Looking again in %.0f s: %s", self.reason, FIRST_PAUSE, error)
                await asyncio.sleep(FIRST_PAUSE)

    def _wanted(self, held: list[Version]) -> list[Version]:
        """What was held, the most recently used first, but for what was deleted while the engine was down;
        then what rollouts name. No more than may be loaded ahead: the server is not ready before."""
        names, most = self._catalog.names, self._catalog.ahead
        with self._database.read() as session:
            rows = resolve.for_start(session, most, names.base)
            kept = set(resolve.not_deleted(session, [version.name for version in held]))
        named = [names.version_of(row) for row in rows]
        return list(dict.fromkeys([*(one for one in held if one.name in kept), *named]))[:most]

    def _down(self, reason: str) -> None:
        self.ready, self.reason = False, reason
        self._metrics.engine_up.set(0)
