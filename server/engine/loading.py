"""The server's end of the loaders in the engine's workers: asks them past the engine's loop of steps.

One connection for each worker, opened once the engine is up. Nothing stays on the disk: the socket's folder
is gone as soon as both ends have met.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from server.engine.base import AdapterRefused, EngineUnavailable

DIED = "The engine died while it loaded an adapter."
# Those before it come first, and a disk that is away may come back: nothing is started again for that.
LOAD_SECONDS = 120.0


class Line:
    """One connection; answers find whoever waits for them by the adapter's id."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._listening = asyncio.create_task(self._listen())

    @property
    def ended(self) -> bool:
        """Whether nothing will come any more: its thread, or the whole worker, has ended."""
        return self._listening.done()

    async def fetch(self, number: int, name: str, path: Path) -> dict[str, Any]:
        """Raises EngineUnavailable."""
        if self.ended:
            raise EngineUnavailable(DIED)
        waiting: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        try:
            self.send({"id": number, "name": name, "path": str(path)})
            return await waiting
        finally:
            self._waiting.pop(number, None)

    def send(self, asked: dict[str, Any]) -> None:
        self._writer.write(json.dumps(asked).encode() + b"\n")

    async def close(self) -> None:
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()

    async def _listen(self) -> None:
        try:
            async for line in self._reader:
                answer = json.loads(line)
                waiting = self._waiting.get(answer["id"])
                if waiting is not None and not waiting.done():
                    waiting.set_result(answer)
        except OSError:
            pass  # as its end
        finally:
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(EngineUnavailable(DIED))


class Loaders:
    """All workers of one engine: an adapter is ready when each of them has it."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self._lines = lines

    @classmethod
    async def open(cls, client: Any) -> Loaders:
        """`client` is vLLM's AsyncLLM."""
        with tempfile.TemporaryDirectory(prefix="chorus-") as folder:
            paths = await client.collective_rpc("open_adapter_loader", args=(folder,))
            return cls([Line(*await asyncio.open_unix_connection(path)) for path in paths])

    @property
    def ended(self) -> bool:
        """Whether one of them has: the engine cannot load any more."""
        return any(line.ended for line in self._lines)

    async def fetch(self, number: int, name: str, path: Path) -> bool:
        """Whether the engine can use it from here on; if not, its loop has to load it ahead.

        Raises AdapterRefused with vLLM's own words, EngineUnavailable.
        """
        try:
            async with asyncio.timeout(LOAD_SECONDS):
                answers = await asyncio.gather(*(line.fetch(number, name, path) for line in self._lines))
            for answer in answers:
                if answer["error"] is not None:
                    raise AdapterRefused(answer["error"])
            return all(answer["tried"] for answer in answers)
        except TimeoutError:
            self.drop(number)
            raise EngineUnavailable(f"{name} was not loaded within {LOAD_SECONDS:.0f} s.") from None
        except BaseException:
            self.drop(number)
            raise

    def drop(self, number: int) -> None:
        """Comes after what was sent before it: also what is just being fetched is dropped."""
        for line in self._lines:
            line.send({"drop": number})

    async def close(self) -> None:
        for line in self._lines:
            await line.close()
