"""Versions that are not in the engine: registered and proven on Chorus, on disk for vLLM's own server.

Called by load.py. There are more of them than the engine holds, and they come in turn: the next one is
always the one that left longest ago.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import aiohttp
import torch

from adapters.manifest import CONFIG, WEIGHTS
from bench import brands
from bench.adapters import random_adapter
from bench.servers import Server

NOTE = b"a number in the metadata"  # another number makes it another version


class Versions(Protocol):
    async def cold(self, session: aiohttp.ClientSession) -> str:
        """What to ask for, after all that must be called before."""


class Chorus:
    def __init__(self, folder: Path, base: Path) -> None:
        made = random_adapter(folder / "imported", 1000, note=NOTE.decode(), base=base, dtype=torch.bfloat16)
        self._config, self._weights = (made / CONFIG).read_bytes(), (made / WEIGHTS).read_bytes()
        self._count = itertools.count()
        self._turn: itertools.cycle[str] = itertools.cycle(())

    async def register(self, server: Server, folders: Sequence[Path]) -> None:
        headers = {"authorization": f"Bearer {server.key}"}
        async with aiohttp.ClientSession(server.root, headers=headers) as session:
            side = brands.Chorus(session)
            self._turn = itertools.cycle([await side.publish(one.name, one) for one in folders])

    async def cold(self, session: aiohttp.ClientSession) -> str:
        return next(self._turn)

    async def bring(self, session: aiohttp.ClientSession) -> None:
        """A new adapter, checked and proven: vLLM's own server does no such thing."""
        weights = self._weights.replace(NOTE, f"{next(self._count):0{len(NOTE)}}".encode(), 1)
        await brands.Chorus(session).send("imported", self._config, weights, live=False)


class Stock:
    def __init__(self, folders: Sequence[Path]) -> None:
        self._turn = itertools.cycle(folders)
        self._count = itertools.count()

    async def cold(self, session: aiohttp.ClientSession) -> str:
        name = f"adapter-{next(self._count)}"  # by another name it is another adapter
        body = {"lora_name": name, "lora_path": str(next(self._turn))}
        async with session.post("/v1/load_lora_adapter", json=body) as reply:
            if reply.status != 200:
                raise RuntimeError(f"load: {reply.status}: {await reply.text()}")
        return name
