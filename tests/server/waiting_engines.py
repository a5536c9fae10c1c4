"""Fake engines that go on when the test says so, and not after so many seconds."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

from server.engine.base import Kind, Version
from server.engine.fake import FakeEngine


class Held(FakeEngine):
    """Starts when it may."""

    may_start = False

    async def start(self) -> None:
        while not self.may_start:  # noqa: ASYNC110 - set from another thread
            await asyncio.sleep(0.01)
        await super().start()


class Stepwise(FakeEngine):
    """Gives each frame of a stream when it may."""

    may_give = given = 0

    async def generate(self, kind: Kind, body: dict[str, Any], version: Version | None) -> Any:
        async with aclosing(super().generate(kind, body, version)) as items:
            async for item in items:
                while body.get("stream") and self.given == self.may_give:  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.001)
                self.given += bool(body.get("stream"))
                yield item
