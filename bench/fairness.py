"""A noisy neighbour: what a tenant with little traffic feels while another floods the same server.

The quiet one asks once a second (about 32 tokens in, 16 out), first alone, then while the other keeps 64
requests of 256 tokens open over 16 places. `ttft_p50_ratio`, `ttft_p99_ratio`: its time to first token,
flooded / alone; `stock_*`: the same on vLLM's own server. Medians of rounds, the servers taking turns.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from bench import options, report, servers, sides
from bench.adapters import random_adapter
from bench.brands import Chorus, Stock
from bench.chat_load import ask, prompt

PLACES, FLOOD, FLOOD_TOKENS = 16, 64, 256
WORDS, TOKENS, EVERY_SECONDS = 24, 16, 1.0
REQUESTS, ROUNDS = 30, 3


@dataclass
class Measured:
    """Seconds to the quiet tenant's first token, alone and flooded, and the noisy one's tokens per second."""

    alone: list[float]
    flooded: list[float]
    flood: float


@dataclass
class Flood:
    """The noisy tenant's requests: a new one as soon as one has ended."""

    answers: int = 0
    running: asyncio.Event = field(default_factory=asyncio.Event)

    async def stream(self, session: aiohttp.ClientSession, seed: int) -> None:
        source = random.Random(seed)
        while True:
            await ask(session, "noisy", prompt(WORDS, source), FLOOD_TOKENS)
            self.answers += 1
            if self.answers == PLACES:
                self.running.set()


async def quietly(session: aiohttp.ClientSession, count: int, seed: int) -> list[float]:
    """One request every second, however long the ones before it take: seconds to each first token."""
    source, asked = random.Random(seed), []
    for _ in range(count):
        asked.append(asyncio.create_task(ask(session, "quiet", prompt(WORDS, source), TOKENS)))
        await asyncio.sleep(EVERY_SECONDS)
    return [answer.ttft for answer in await asyncio.gather(*asked)]


@contextmanager
def awake(server: servers.Server) -> Iterator[None]:
    server.thaw()
    yield
    server.freeze()


async def measure(server: servers.Server, keys: dict[str, str], count: int, seed: int) -> Measured:
    """Alone, then flooded. Raises RuntimeError when a request fails."""
    async with (
        aiohttp.ClientSession(server.root, headers=bearer(keys["quiet"])) as quiet,
        aiohttp.ClientSession(
            server.root, headers=bearer(keys["noisy"]), connector=aiohttp.TCPConnector(limit=FLOOD)
        ) as noisy,
    ):
        await quietly(quiet, 2, seed + 1000)  # the first after a pause is slower
        alone = await quietly(quiet, count, seed)
        flood = Flood()
        streams = [asyncio.create_task(flood.stream(noisy, 1000 * seed + number)) for number in range(FLOOD)]
        steady = asyncio.create_task(flood.running.wait())
        await asyncio.wait([steady, *streams], return_when=asyncio.FIRST_COMPLETED)
        before, began = flood.answers, time.perf_counter()
        flooded = await quietly(quiet, count, seed + 1)
        rate = (flood.answers - before) * FLOOD_TOKENS / (time.perf_counter() - began)
        for stream in streams:
            stream.cancel()
        ended = await asyncio.gather(*streams, return_exceptions=True)
        steady.cancel()
        if failed := [one for one in ended if not isinstance(one, asyncio.CancelledError)]:
            raise RuntimeError(f"{len(failed)} requests of the flood failed, one with {failed[0]!r}")
    return Measured(alone, flooded, rate)


async def publish(server: servers.Server, folder: Path) -> dict[str, str]:
    """A brand each for two tenants (vLLM's own server has none: two adapters); their keys."""
    keys = {}
    for seed, brand in enumerate(("quiet", "noisy")):
        ours = server.name == "chorus"
        keys[brand] = servers.new_key(folder / "home", brand) if ours else server.key
        adapter = random_adapter(folder / brand, seed, base=server.base)
        async with aiohttp.ClientSession(server.root, headers=bearer(keys[brand])) as session:
            await (Chorus if ours else Stock)(session).publish(brand, adapter)
    return keys


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def figures(found: dict[str, list[Measured]]) -> dict[str, float]:
    ended = {}
    for side, rounds in found.items():
        prefix = "" if side == "chorus" else "stock_"
        for name, of in (("p50", statistics.median), ("p99", percentile_99)):
            ratio = report.median_ratio(
                [of(one.flooded) for one in rounds], [of(one.alone) for one in rounds]
            )
            ended[f"{prefix}ttft_{name}_ratio"] = ratio
        ended[f"{prefix}flood_tokens_per_s"] = statistics.median(one.flood for one in rounds)
    return ended


def percentile_99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[-1]


def main() -> None:
    parser = options.serving(__doc__, "one round of 8 requests")
    parser.add_argument("--rounds", type=int, help=f"rounds per server (default {ROUNDS}, quick 1)")
    given = parser.parse_args()
    rounds, count = given.rounds or (1 if given.quick else ROUNDS), 8 if given.quick else REQUESTS
    found: dict[str, list[Measured]] = {side: [] for side in sides.SIDES}
    with ExitStack() as stack:
        up = []
        for name in sides.SIDES:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            flags = ("--max-num-seqs", str(PLACES))
            server = stack.enter_context(sides.start(name, folder, given.base, given.device, flags))
            up.append((server, asyncio.run(publish(server, folder))))
            server.freeze()
        for turn in range(rounds):
            for server, keys in up if turn % 2 else reversed(up):
                with awake(server):
                    found[server.name].append(asyncio.run(measure(server, keys, count, turn)))
                print(f"round {turn + 1}/{rounds}, {server.name}: done", flush=True)
    show(found)
    report.end(figures(found))


def show(found: dict[str, list[Measured]]) -> None:
    rows = []
    for side, rounds in found.items():
        for case in ("alone", "flooded"):
            times = [time for one in rounds for time in getattr(one, case)]
            flood = f"{statistics.median(one.flood for one in rounds):.0f}" if case == "flooded" else "-"
            shown = [f"{1000 * of(times):.0f}" for of in (statistics.median, percentile_99)]
            rows.append((side, case, *shown, flood))
    columns = ("server", "quiet tenant", "TTFT p50, ms", "TTFT p99, ms", "the flood's tokens/s")
    report.show(f"A quiet tenant beside {FLOOD} requests of another over {PLACES} places", columns, rows)


if __name__ == "__main__":
    main()
