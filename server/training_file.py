"""Whether an upload is training data; a large one is checked in a process of its own: streams flow on."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import BinaryIO

import anyio
from anyio import CapacityLimiter

from records import check_file
from server.errors import invalid

SMALL_BYTES = 256 * 1024  # some milliseconds of work: less than starting a process takes


async def check_training(draft: BinaryIO, heavy: CapacityLimiter) -> None:
    """Raises RequestRefused that names the lines. Too few examples is the job's finding, as at OpenAI."""
    draft.flush()
    if os.fstat(draft.fileno()).st_size <= SMALL_BYTES:
        draft.seek(0)
        good, bad = await anyio.to_thread.run_sync(check_file.check, draft, limiter=heavy)
    else:
        async with heavy:
            good, bad = await _apart(draft.name)
    if bad:
        raise invalid(f"Invalid training data. {' '.join(bad)}", "file", "invalid_file_format")
    if not good:
        raise invalid("Invalid training data. The file holds no example.", "file", "invalid_file_format")


async def _apart(path: str) -> tuple[int, list[str]]:
    command = (sys.executable, "-m", check_file.__name__, path)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:  # the client has gone
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise RuntimeError(f"the check of a training file ended with {process.returncode}")
    found = json.loads(said)
    return found["good"], found["bad"]
