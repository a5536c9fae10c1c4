"""Streams that run on while something else happens, with the time between their tokens.

Called by load.py; chat_load.py measures whole answers.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from bench.chat_load import prompt

LONG = 1800  # tokens: no stream ends within a round of the 137M base


class Chats:
    def __init__(self, session: aiohttp.ClientSession, rng: random.Random) -> None:
        self._session, self._rng = session, rng

    async def first_token(self, model: str, words: int) -> float:
        """Seconds to the only token of a short answer."""
        began = time.perf_counter()
        async for _ in self._tokens(model, words, 1):
            return time.perf_counter() - began
        raise RuntimeError("there was no token")

    async def one_token(self, model: str) -> None:
        """As little of an answer as there is: one token to a prompt of one."""
        body = {"model": model, "prompt": [self._rng.randrange(100, 1000)], "max_tokens": 1, "temperature": 0}
        async with self._session.post("/v1/completions", json=body) as reply:
            if reply.status != 200:
                raise RuntimeError(f"{reply.status}: {await reply.text()}")

    @asynccontextmanager
    async def streams(self, model: str, count: int) -> AsyncIterator[list[float]]:
        """`count` streams for the block, all begun; the seconds between tokens go into the list."""
        gaps: list[float] = []
        begun = [asyncio.Event() for _ in range(count)]

        async def follow(number: int) -> None:
            while True:
                last = 0.0
                async for now in self._tokens(model, 8, LONG):
                    if last:
                        gaps.append(now - last)
                    last = now
                    begun[number].set()

        tasks = [asyncio.create_task(follow(number)) for number in range(count)]
        begins = asyncio.create_task(_all(begun))
        try:
            await asyncio.wait({begins, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            yield gaps
            if failed := [task for task in tasks if task.done()]:
                raise RuntimeError("a stream broke") from failed[0].exception()
        finally:
            for task in (begins, *tasks):
                task.cancel()
            await asyncio.gather(begins, *tasks, return_exceptions=True)

    async def _tokens(self, model: str, words: int, tokens: int) -> AsyncIterator[float]:
        """When each token came."""
        body: dict[str, Any] = {
            "model": model,
            "messages": [{"role": "user", "content": prompt(words, self._rng)}],
            "max_tokens": tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
        }
        async with self._session.post("/v1/chat/completions", json=body) as reply:
            if reply.status != 200:
                raise RuntimeError(f"{reply.status}: {await reply.text()}")
            async for line in reply.content:
                if line.startswith(b"data: {") and b'"delta":{"content":' in line:
                    yield time.perf_counter()
                elif line.startswith(b'data: {"error"'):
                    raise RuntimeError(line.decode())


async def _all(events: list[asyncio.Event]) -> None:
    for event in events:
        await event.wait()
