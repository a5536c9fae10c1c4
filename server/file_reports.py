"""What the data doctor says of uploaded files: made beside the server by `training.doctor`, a process of low
priority, one at a time, and kept on disk.

Not under `house.heavy`: uploads wait for that, and a report takes longer than they may.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from adapters.base import Base
from records.reports import Reports
from server.engine.base import RequestRefused

PATIENCE_SECONDS = 3600.0  # a file of 512 MB takes minutes of a core that is nobody else's

log = logging.getLogger("chorus.server")


class FileReports:
    """A report is made once, whoever asks for it."""

    def __init__(self, home: Path, base: Base) -> None:
        self._home, self._base, self._kept = home, base, Reports(home)
        self._making: dict[str, asyncio.Task[bool]] = {}
        self._turn = asyncio.Semaphore(1)

    def begin(self, sha256: str) -> None:
        """After an upload: nobody waits, and a failure is the log's. A base without a tokenizer of its own
        can be neither trained nor reported on."""
        if (self._base.path / "tokenizer.json").is_file():
            self._make(sha256)

    async def get(self, sha256: str) -> bytes:
        """The report as JSON. Raises RequestRefused (500) when it cannot be made."""
        path = self._kept.path(sha256, self._base.reads_as)
        if (found := await run_in_threadpool(_read, path)) is not None:
            return found
        await asyncio.shield(self._make(sha256))  # others may wait for it too
        if (found := await run_in_threadpool(_read, path)) is not None:
            return found
        raise RequestRefused(
            500,
            "The report of this file could not be made; the server's log says why. The file itself is kept.",
            type="server_error",
            code="report_failed",
        )

    def remove(self, sha256: str) -> None:
        """Called in a thread when no row names the file any more; what is in the making then goes with the
        next sweep."""
        self._kept.remove(sha256)

    async def stop(self) -> None:
        making = list(self._making.values())
        for task in making:
            task.cancel()
        await asyncio.gather(*making, return_exceptions=True)

    def _make(self, sha256: str) -> asyncio.Task[bool]:
        task = self._making.get(sha256)
        if task is None:
            task = self._making[sha256] = asyncio.create_task(self._examine(sha256))
            task.add_done_callback(lambda _: self._making.pop(sha256))
        return task

    async def _examine(self, sha256: str) -> bool:
        """Whether the report is on disk."""
        async with self._turn:
            if self._kept.path(sha256, self._base.reads_as).is_file():
                return True
            status: int | str = "no answer in time"
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    status = await self._run(sha256)
            except TimeoutError:
                pass
            except OSError as error:
                status = str(error)
            if status:
                log.error("The report of file %s was not made: %s", sha256, status)
            return not status

    async def _run(self, sha256: str) -> int:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "training.doctor", "--home", str(self._home),
            "--base", str(self._base.path), "--slug", self._base.slug,
            "--sha256", sha256, "--parent", str(os.getpid()), stdin=asyncio.subprocess.DEVNULL,
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
