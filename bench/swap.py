"""Promote and rollback: seconds from the call to the first token of the version that it brought, under load.

A promoted version is new each time and was proven when it was imported; a rollback's is still warm.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path

import aiohttp

from bench import options, report, servers
from bench.adapters import random_adapter
from bench.brands import Chorus, ask

STREAMS, TOKENS, ROUNDS = 4, 24, 100


async def first_token(session: aiohttp.ClientSession, change: Awaitable[None], version: str) -> float:
    """Seconds until a request to the brand is answered by `version`. Raises RuntimeError."""
    began = time.perf_counter()
    await change
    while True:
        answer = await ask(session, "luxe", 4)
        if answer.models == {version}:
            return answer.first - began


async def load(session: aiohttp.ClientSession, over: asyncio.Event, failures: list[str]) -> None:
    while not over.is_set():
        try:
            await ask(session, "luxe", TOKENS)
        except (RuntimeError, aiohttp.ClientError) as error:
            failures.append(str(error))


async def run(
    server: servers.Server, folder: Path, rounds: int
) -> tuple[list[float], list[float], list[str]]:
    """Seconds of each promote, seconds of each rollback, what failed."""
    headers = {"authorization": f"Bearer {server.key}"}
    promotes, rollbacks, failures, over = [], [], list[str](), asyncio.Event()
    async with aiohttp.ClientSession(server.root, headers=headers) as session:
        side = Chorus(session)
        old = await side.publish("luxe", random_adapter(folder / "first", 1, base=server.base))
        streams = [asyncio.create_task(load(session, over, failures)) for _ in range(STREAMS)]
        for number in range(rounds):
            adapter = random_adapter(folder / f"{number}", 2 + number, base=server.base)
            new = await side.publish("luxe", adapter, live=False)
            try:
                promotes.append(await first_token(session, side.promote("luxe", new), new))
                rollbacks.append(await first_token(session, side.rollback("luxe", old), old))
            except (RuntimeError, aiohttp.ClientError) as error:
                failures.append(str(error))
        over.set()
        await asyncio.gather(*streams)
    return promotes, rollbacks, failures


def main() -> None:
    given = options.serving(__doc__, "10 rounds").parse_args()
    rounds = 10 if given.quick else ROUNDS
    with (
        tempfile.TemporaryDirectory() as place,
        servers.chorus(Path(place), base=given.base, device=given.device) as server,
    ):
        promotes, rollbacks, failures = asyncio.run(run(server, Path(place), rounds))
    for failure in sorted(set(failures))[:5]:
        print(failure[:300], flush=True)
    rows = [
        (name, f"{statistics.median(seconds):.3f}", f"{statistics.quantiles(seconds, n=100)[-1]:.3f}")
        for name, seconds in (("promote", promotes), ("rollback", rollbacks))
    ]
    report.show(f"To the first token, {STREAMS} streams beside", ("change", "p50, s", "p99, s"), rows)
    report.end(
        {
            "promote_p50_s": float(rows[0][1]),
            "promote_p99_s": float(rows[0][2]),
            "rollback_p99_s": float(rows[1][2]),
            "failed": len(failures),
        }
    )


if __name__ == "__main__":
    main()
