"""Work of training/ that a server needs done: each in a process of low priority, one at a time, and kept in a
file, so that it is done once, whoever asks. Tenants take turns: between two works of one there is at most one
of each other, however much that one asked for.

Not under `house.heavy`: uploads wait for that, and this takes longer than they may.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from records.processes import computing

PATIENCE_SECONDS = 3600.0  # a file of 512 MB takes minutes of a core that is nobody else's

log = logging.getLogger("chorus.server")


@dataclass(frozen=True)
class _Work:
    module: str
    arguments: tuple[str, ...]
    is_made: asyncio.Future[bool]


class Aside:
    """One kind of work; what is in the making is named by the file it goes into."""

    def __init__(self) -> None:
        self._making: dict[Path, _Work] = {}
        # Tenants in the order of their turns, each with what it waits for: sets that keep their order.
        self._lines: dict[str, dict[Path, None]] = {}
        self._worker: asyncio.Task[None] | None = None

    def waiting(self, tenant: str) -> int:
        """How many works of this tenant wait or are in the making."""
        return len(self._lines.get(tenant, ()))

    def is_making(self, path: Path) -> bool:
        return path in self._making

    async def get(self, tenant: str, path: Path, module: str, *arguments: str) -> bytes | None:
        """The file's bytes, made if need be; None when it cannot be made, and the log says why."""
        if (found := await run_in_threadpool(_read, path)) is not None:
            return found
        # Others may wait for it too.
        await asyncio.shield(self.make(tenant, path, module, *arguments))
        return await run_in_threadpool(_read, path)

    def make(self, tenant: str, path: Path, module: str, *arguments: str) -> asyncio.Future[bool]:
        """Whether the file is there then: `python -m module arguments --parent PID` writes it.

        What several tenants ask for is made in the first turn of any of them."""
        if path not in self._making:
            is_made = asyncio.get_running_loop().create_future()
            self._making[path] = _Work(module, arguments, is_made)
        self._lines.setdefault(tenant, {})[path] = None
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work_off())
        return self._making[path].is_made

    async def stop(self) -> None:
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        for work in self._making.values():
            work.is_made.cancel()

    async def _work_off(self) -> None:
        while self._lines:
            tenant, line = next(iter(self._lines.items()))
            self._lines[tenant] = self._lines.pop(tenant)  # to the end: the others come first now
            path = next(iter(line))
            work = self._making[path]
            try:
                is_made = await self._see_to(path, work.module, *work.arguments)
            except Exception:
                log.exception("%s did not make %s", work.module, path)
                is_made = False
            del self._making[path]
            for line in self._lines.values():
                line.pop(path, None)
            self._lines = {tenant: line for tenant, line in self._lines.items() if line}
            work.is_made.set_result(is_made)

    async def _see_to(self, path: Path, module: str, *arguments: str) -> bool:
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
            stdin=asyncio.subprocess.DEVNULL, env=computing(os.environ),
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
