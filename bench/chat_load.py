"""A closed-loop load of streamed chat requests, and what each of them measured."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass

import aiohttp

from bench.servers import Server

WORDS = ["order", "late", "one", "item", "broken", "please", "tell", "me", "what", "next", "parcel", "torn"]


@dataclass(frozen=True)
class Stream:
    """One answer: seconds to the first token, seconds in all, tokens."""

    ttft: float
    total: float
    tokens: int


@dataclass(frozen=True)
class Round:
    """What one round of load gave; `seconds` is the wall time of the whole round."""

    streams: list[Stream]
    seconds: float

    @property
    def throughput(self) -> float:
        """Tokens per second over all streams."""
        return sum(stream.tokens for stream in self.streams) / self.seconds

    @property
    def ttfts(self) -> list[float]:
        return [stream.ttft for stream in self.streams]


def prompt(words: int, rng: random.Random) -> str:
    """Words in random order, so that no two requests share a prefix in the cache."""
    return " ".join(rng.choice(WORDS) for _ in range(words))


async def run(server: Server, *, streams: int, requests: int, words: int, tokens: int, seed: int) -> Round:
    """`requests` chats of `tokens` tokens each, at most `streams` at once."""
    rng = random.Random(seed)
    waiting = [prompt(words, rng) for _ in range(requests)]
    done: list[Stream] = []
    headers = {"authorization": f"Bearer {server.key}"}
    connector = aiohttp.TCPConnector(limit=streams)
    async with aiohttp.ClientSession(server.root, headers=headers, connector=connector) as session:

        async def one_after_another() -> None:
            while waiting:
                done.append(await ask(session, server.model, waiting.pop(), tokens))

        started = time.perf_counter()
        await asyncio.gather(*(one_after_another() for _ in range(streams)))
        return Round(done, time.perf_counter() - started)


async def ask(session: aiohttp.ClientSession, model: str, text: str, tokens: int) -> Stream:
    """One greedy answer of exactly `tokens` tokens. Raises RuntimeError when it is refused or breaks off."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
    }
    started, first, count = time.perf_counter(), 0.0, 0
    async with session.post("/v1/chat/completions", json=body) as reply:
        if reply.status != 200:
            raise RuntimeError(f"{reply.status}: {await reply.text()}")
        async for line in reply.content:
            # A chunk with text in its delta; the first chunk carries only the role.
            if line.startswith(b"data: {") and b'"delta":{"content":' in line:
                count += 1
                first = first or time.perf_counter() - started
            elif line.startswith(b'data: {"error"'):
                raise RuntimeError(line.decode())
    return Stream(first, time.perf_counter() - started, count)
