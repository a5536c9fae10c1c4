"""How a brand's version is changed and asked: on Chorus by its own routes, on vLLM by loading over a name.

Called by publish.py and swap.py. A side is an aiohttp session and the verbs below; times are perf_counter's.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import aiohttp

from adapters.manifest import CONFIG, WEIGHTS

PROMPT = [{"role": "user", "content": "Hello, I am Ines. Where is my order 50718, the silk tie?"}]


@dataclass(frozen=True)
class Answer:
    """One streamed answer: what it said, the names that its chunks bore, when it began, spoke and ended."""

    brand: str
    text: str
    models: frozenset[str]
    began: float
    first: float
    ended: float


class Side(Protocol):
    """What the benches ask of a server. A version is named as the server names it in its answers."""

    async def publish(self, brand: str, folder: Path, live: bool = True) -> str: ...

    async def promote(self, brand: str, version: str) -> None: ...

    async def rollback(self, brand: str, version: str) -> None:
        """Back to `version`, the one that was live before."""


async def ask(session: aiohttp.ClientSession, model: str, tokens: int) -> Answer:
    """A greedy answer of exactly `tokens` tokens. Raises RuntimeError when it fails or breaks off."""
    body = {
        "model": model,
        "messages": PROMPT,
        "max_tokens": tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
    }
    began, first, said, models, whole = time.perf_counter(), 0.0, [], set(), False
    async with session.post("/v1/chat/completions", json=body) as reply:
        if reply.status != 200:
            raise RuntimeError(f"{reply.status}: {await reply.text()}")
        async for line in reply.content:
            if line.startswith(b"data: {"):
                chunk = json.loads(line[6:])
                if "error" in chunk:
                    raise RuntimeError(line.decode())
                models.add(chunk["model"])
                for choice in chunk["choices"]:
                    if choice["delta"].get("content"):
                        first = first or time.perf_counter()
                        said.append(choice["delta"]["content"])
            whole = whole or line.startswith(b"data: [DONE]")
    if not whole:
        raise RuntimeError("the answer broke off")
    return Answer(model, "".join(said), frozenset(models), began, first, time.perf_counter())


class Chorus:
    """POST /v1/adapters and /v1/brands."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session

    async def publish(self, brand: str, folder: Path, live: bool = True) -> str:
        return await self.send(
            brand, (folder / CONFIG).read_bytes(), (folder / WEIGHTS).read_bytes(), live=live
        )

    async def send(self, brand: str, config: bytes, weights: bytes, *, live: bool) -> str:
        form = aiohttp.FormData()
        form.add_field("brand", brand)
        form.add_field("promote", "true" if live else "false")
        form.add_field("config", config, filename=CONFIG)
        form.add_field("weights", weights, filename=WEIGHTS)
        return str((await self._post("/v1/adapters", data=form))["id"])

    async def promote(self, brand: str, version: str) -> None:
        await self._post(f"/v1/brands/{brand}", json={"action": "promote", "version": version})

    async def rollback(self, brand: str, version: str) -> None:
        changed = await self._post(f"/v1/brands/{brand}", json={"action": "rollback"})
        if changed["live"] != version:
            raise RuntimeError(f"{brand} went back to {changed['live']}, not to {version}")

    async def _post(self, path: str, **body: object) -> dict[str, object]:
        async with self.session.post(path, **body) as reply:  # type: ignore[arg-type]
            if reply.status != 200:
                raise RuntimeError(f"{path}: {reply.status}: {await reply.text()}")
            found: dict[str, object] = await reply.json()
            return found


class Stock:
    """vLLM's own runtime LoRA routes. It has no versions: a name is loaded over with `load_inplace`."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session
        self._folders: dict[str, Path] = {}

    async def publish(self, brand: str, folder: Path, live: bool = True) -> str:
        self._folders[str(folder)] = folder
        await self._load(brand, folder)
        return str(folder)

    async def promote(self, brand: str, version: str) -> None:
        await self._load(brand, self._folders[version])

    async def rollback(self, brand: str, version: str) -> None:
        await self._load(brand, self._folders[version])

    async def _load(self, name: str, folder: Path) -> None:
        body = {"lora_name": name, "lora_path": str(folder), "load_inplace": True}
        async with self.session.post("/v1/load_lora_adapter", json=body) as reply:
            if reply.status != 200:
                raise RuntimeError(f"load: {reply.status}: {await reply.text()}")
