"""Mirrors what a brand's live version answered to its shadow version, and keeps how the two compare.

After the real answer has ended the same request goes to the shadow, MOST_AT_ONCE at a time: one more is
skipped and counted, as is one whose answer was longer than MOST_BYTES. The shadow's answer is compared and
thrown away. The figures live in this process, per brand, and begin anew with another shadow. Without one,
this costs nothing.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from typing import Any

from server.catalog import Catalog
from server.engine.base import (
    LOW_PRIORITY,
    Engine,
    EngineUnavailable,
    Kind,
    RequestRefused,
    Version,
    whole,
)
from server.fields import Asked
from server.metrics import Metrics
from server.said import DONE, agreement, said
from server.usage import tokens

MOST_AT_ONCE = 4
MOST_BYTES = 4 << 20  # of one answer, as frames; a longer one is skipped, and not kept meanwhile

log = logging.getLogger("chorus.server")


@dataclass
class Side:
    """Sums over the compared answers of one of the two versions."""

    seconds: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, seconds: float, counted: tuple[int, int]) -> None:
        self.seconds += seconds
        self.prompt_tokens += counted[0]
        self.completion_tokens += counted[1]


@dataclass
class Tally:
    """How a shadow compares with what was live, as GET /v1/brands/{brand} shows it."""

    version: str
    requests: int = 0
    failed: int = 0
    skipped: int = 0
    live: Side = field(default_factory=Side)
    shadow: Side = field(default_factory=Side)
    agreed: float = 0.0

    def shown(self) -> dict[str, Any]:
        shape = asdict(self)
        agreed = shape.pop("agreed")
        return {**shape, "agreement": agreed / self.requests if self.requests else None}


@dataclass(frozen=True)
class Answered:
    """A request and the answer that its client got."""

    kind: Kind
    tenant: str
    model: str
    body: dict[str, Any]
    items: list[bytes]
    seconds: float


class Shadows:
    def __init__(self, engine: Engine, catalog: Catalog, metrics: Metrics) -> None:
        self._engine, self._catalog, self._metrics = engine, catalog, metrics
        self._tallies: dict[tuple[str, str], Tally] = {}
        self._running: set[asyncio.Task[None]] = set()

    def watch(
        self, frames: AsyncIterator[bytes], kind: Kind, tenant: str, asked: Asked, shadow: Version | None
    ) -> AsyncIterator[bytes]:
        """`frames` as they are; where there is a shadow, it gets the request after their end."""
        if shadow is None:
            return frames
        # A copy from before the engine had it: an engine may change the lists that it is given.
        body = {**copy.deepcopy(asked.body), "stream": False, "priority": LOW_PRIORITY}
        body.pop("stream_options", None)
        return self._watched(frames, Answered(kind, tenant, asked.model, body, [], 0.0), asked.stream, shadow)

    def tally(self, tenant: str, brand: str) -> Tally | None:
        return self._tallies.get((tenant, brand))

    async def stop(self) -> None:
        """End what is running; the server is stopping."""
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _watched(
        self, frames: AsyncIterator[bytes], answered: Answered, stream: bool, shadow: Version
    ) -> AsyncGenerator[bytes]:
        began, seconds, size, item = time.perf_counter(), 0.0, 0, b""
        try:
            async with aclosing(frames):  # type: ignore[type-var]
                async for item in frames:
                    seconds = time.perf_counter() - began
                    size += len(item)
                    if size <= MOST_BYTES:
                        answered.items.append(item)
                    else:
                        answered.items.clear()
                    yield item
        finally:
            # An answer in one piece is closed before it is asked for a second one.
            if item and (not stream or DONE in item):
                self._mirror(answered, seconds, shadow)

    def _mirror(self, answered: Answered, seconds: float, shadow: Version) -> None:
        key = answered.tenant, answered.model
        tally = self._tallies.get(key)
        if tally is None or tally.version != shadow.name:
            tally = self._tallies[key] = Tally(shadow.name)
        if len(self._running) >= MOST_AT_ONCE or not answered.items:
            tally.skipped += 1
            self._metrics.mirrored["skipped"].inc()
            return
        task = asyncio.create_task(self._compare(answered, seconds, shadow, tally))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _compare(self, answered: Answered, seconds: float, shadow: Version, tally: Tally) -> None:
        began = time.perf_counter()
        try:
            async with self._catalog.acquire(answered.tenant, shadow.name, low=True) as chosen:
                item = await whole(self._engine, answered.kind, answered.body, chosen.version)
            exact = answered.body.get("temperature") == 0
            agreed = agreement(said(answered.items), said([item]), exact=exact)
        except Exception as error:
            tally.failed += 1
            self._metrics.mirrored["failed"].inc()
            if not isinstance(error, RequestRefused | EngineUnavailable):
                log.exception("A mirrored request failed")
            return
        spent, counted = time.perf_counter() - began, tokens(item)
        tally.requests += 1
        tally.agreed += agreed
        tally.live.add(seconds, tokens(b"".join(answered.items)))
        tally.shadow.add(spent, counted)
        self._metrics.mirror(spent, counted, agreed)
