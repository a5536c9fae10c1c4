"""Work of training/ that a server needs done: each in a process of low priority, one at a time, and kept in a
file, so that it is done once, whoever asks.

Not under `house.heavy`: uploads wait for that, and this takes longer than they may.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path

from starlette.concurrency import run_in_threadpool

PATIENCE_SECONDS = 3600.0  # a file of 512 MB takes minutes of a core that is nobody else's

log = logging.getLogger("chorus.server")


class Aside:
    """One kind of work; what is in the making is named by the file it goes into."""

    def __init__(self) -> None:
        self._making: dict[Path, asyncio.Task[bool]] = {}
        self._turn = asyncio.Semaphore(1)

    @property
    def busy(self) -> int:
        """How many wait or are in the making."""
        return len(self._making)

    def is_making(self, path: Path) -> bool:
        return path in self._making

    async def get(self, path: Path, module: str, *arguments: str) -> bytes | None:
        """The file's bytes, made if need be; None when it cannot be made, and the log says why."""
        if (found := await run_in_threadpool(_read, path)) is not None:
            return found
        await asyncio.shield(self.make(path, module, *arguments))  # others may wait for it too
        return await run_in_threadpool(_read, path)

    def make(self, path: Path, module: str, *arguments: str) -> asyncio.Task[bool]:
        """Whether the file is there then: `python -m module arguments --parent PID` writes it."""
        task = self._making.get(path)
        if task is None:
            task = self._making[path] = asyncio.create_task(self._see_to(path, module, *arguments))
            task.add_done_callback(lambda _: self._making.pop(path))
        return task

    async def stop(self) -> None:
        making = list(self._making.values())
        for task in making:
            task.cancel()
        await asyncio.gather(*making, return_exceptions=True)

    async def _see_to(self, path: Path, module: str, *arguments: str) -> bool:
        async with self._turn:
            if await run_in_threadpool(path.is_file):
                return True
            status: int | str = "no answer in time"
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    status = await self._run(path, module, *arguments)
            except TimeoutError:
                pass
            except OSError as error:
                status = str(error)
            if status:
                log.error("%s did not make %s: %s", module, path, status)
            return not status

    async def _run(self, path: Path, module: str, *arguments: str) -> int:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, *arguments, "--parent", str(os.getpid()),
            stdin=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            return await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
