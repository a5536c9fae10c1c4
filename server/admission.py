"""An engine that is never asked for more versions at once than it has slots, whoever asks.

In vLLM a request without a slot waits behind whatever came before: 16 adapters on 4 slots took 1.9 s to a
first token. Wraps the engine once, in server/app.py, so that chat, shadows, evaluations, graders and proofs
wait in one line; `priority` in the body says who is not in a hurry. The base model needs no slot.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

from server.engine.base import LOW_PRIORITY, Engine, Kind, Version
from server.places import Places


class Admitted:
    """The same five verbs."""

    def __init__(self, engine: Engine, slots: Places) -> None:
        self.engine, self.slots = engine, slots

    async def start(self) -> None:
        await self.engine.start()

    async def stop(self) -> None:
        await self.engine.stop()

    async def load(self, version: Version, path: Path) -> None:
        await self.engine.load(version, path)

    async def unload(self, version: Version) -> None:
        await self.engine.unload(version)

    def generate(self, kind: Kind, body: dict[str, Any], version: Version | None) -> AsyncIterator[bytes]:
        """The slot is taken with the first item, and given back by `aclose`: all callers of ours close."""
        frames = self.engine.generate(kind, body, version)
        low = body.get("priority") == LOW_PRIORITY
        return frames if version is None else InSlot(frames, self.slots, version.name, low)


class InSlot:
    """The frames of one answer. No generator of our own: each one costs a switch for every frame of every
    stream, so past the first frame the engine's own is handed on."""

    def __init__(self, frames: AsyncIterator[bytes], slots: Places, name: str, low: bool) -> None:
        self._frames, self._slots, self._name, self._low = frames, slots, name, low
        self._entered = self._closed = False

    def __aiter__(self) -> InSlot:
        return self

    def __anext__(self) -> Awaitable[bytes]:
        return self._frames.__anext__() if self._entered else self._first()

    async def aclose(self) -> None:
        entered, self._entered, self._closed = self._entered, False, True
        try:
            close = getattr(self._frames, "aclose", None)
            if close is not None:
                await close()
        finally:
            if entered:
                self._slots.leave(self._name)

    async def _first(self) -> bytes:
        if self._closed:
            raise StopAsyncIteration
        await self._slots.enter(self._name, low=self._low)
        self._entered = True
        return await self._frames.__anext__()
