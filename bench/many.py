"""A thousand brands on one engine against eight: tokens/s, first token, errors, memory.

One server with 16 slots, 16 streams of 64 tokens, each request of a brand drawn uniformly or by Zipf's law
among the first N registered ones. Beside each round of N stands one of 8, drawn by the same law:
`throughput_ratio` is N / 8, of all brands by Zipf 1.1 at the top level; `crowded_throughput_ratio` is that
with 32 streams, which ask for more brands than there are slots. `memory_growth_mb` is what the server's
processes gain per thousand requests at the end of the run, beside those for the base model alone.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from bench import models, options, registered, report, servers
from bench.chat_load import Round, Stream, ask, prompt

STREAMS, TOKENS, WORDS, SLOTS, FEW = 16, 64, 60, 16, 8
LAWS = {"uniform": 0.0, "zipf_0.9": 0.9, "zipf_1.1": 1.1, "zipf_1.5": 1.5}
MAIN = "zipf_1.1"


@dataclass
class Case:
    """`brands` drawn by Zipf's law with this exponent; 0 is uniform."""

    brands: int
    law: str
    streams: int = STREAMS
    many: list[Round] = field(default_factory=list)
    few: list[Round] = field(default_factory=list)

    @property
    def name(self) -> str:
        crowd = "" if self.streams == STREAMS else f"_{self.streams}_streams"
        return f"brands_{self.brands}_{self.law}{crowd}"

    def figures(self) -> dict[str, float]:
        firsts = sorted(stream.ttft for side in self.many for stream in side.streams)
        return {
            "throughput_ratio": report.median_ratio(
                *([r.throughput for r in s] for s in (self.many, self.few))
            ),
            "tokens_per_second": statistics.median(side.throughput for side in self.many),
            "ttft_p50_s": statistics.median(firsts),
            "ttft_p99_s": firsts[int(len(firsts) * 0.99)],
        }


def drawn(brands: int, exponent: float, seed: int) -> Iterator[str]:
    """Names of brands, for ever: the k-th is asked for with weight k ** -exponent."""
    rng, weights = random.Random(seed), [rank**-exponent for rank in range(1, brands + 1)]
    while True:
        yield from map(registered.brand, rng.choices(range(brands), weights, k=1000))


@dataclass
class Client:
    server: servers.Server
    errors: list[str] = field(default_factory=list)

    async def round(
        self, names: Iterator[str], requests: int, seed: int, tokens: int = TOKENS, streams: int = STREAMS
    ) -> Round:
        """So many requests, `streams` at once."""
        rng, todo, done = random.Random(seed), iter(range(requests)), list[Stream]()
        headers = {"authorization": f"Bearer {self.server.key}"}
        connector = aiohttp.TCPConnector(limit=streams)
        async with aiohttp.ClientSession(self.server.root, headers=headers, connector=connector) as session:

            async def one_after_another() -> None:
                for _ in todo:
                    try:
                        done.append(await ask(session, next(names), prompt(WORDS, rng), tokens))
                    except (RuntimeError, aiohttp.ClientError) as error:
                        self.errors.append(str(error))

            began = time.perf_counter()
            await asyncio.gather(*(one_after_another() for _ in range(streams)))
            return Round(done, time.perf_counter() - began)

    def memory_mb(self) -> list[float]:
        """Of the server and of each process of its engine; what they share counts once."""
        tree = [self.server.process, *self.server.process.children(recursive=True)]
        return [float(process.memory_full_info().pss) / 1e6 for process in tree]


def compare(client: Client, cases: list[Case], rounds: int, requests: int) -> None:
    """Rounds of each case, each with one of FEW brands beside it, before or after in turn."""
    for turn, case in itertools.product(range(rounds), cases):
        exponent = LAWS[case.law]
        sides = [(case.many, case.brands), (case.few, FEW)]
        for kept, brands in sides if turn % 2 else reversed(sides):
            names = drawn(brands, exponent, turn)
            kept.append(asyncio.run(client.round(names, requests, turn, streams=case.streams)))
        print(f"round {turn + 1}/{rounds}, {case.name}: done", flush=True)


def growth(client: Client, names: Iterator[str], rounds: int, requests: int) -> tuple[float, float]:
    """(MB that the processes hold in the end, MB gained per 1,000 requests in the second half)."""
    held = list[float]()
    for turn in range(rounds):
        asyncio.run(client.round(names, requests, 100 + turn, tokens=4))
        each = client.memory_mb()
        held.append(sum(each))
        print(f"memory, MB: {' + '.join(f'{one:.0f}' for one in each)} = {held[-1]:.0f}", flush=True)
    # The first half only fills what the heap had free: gaps of many sizes, of requests that were longer.
    late = held[rounds // 2 :]
    per_round = statistics.linear_regression(range(len(late)), late).slope
    return held[-1], per_round * 1000 / requests


def main() -> None:
    parser = options.serving(__doc__, "100 brands, one law, short rounds", base="medium")
    parser.add_argument("--brands", type=int, help="registered brands (default 1000, quick 100)")
    parser.add_argument("--rounds", type=int, help="rounds of the main case (default 3, quick 2)")
    parser.add_argument("--cases", choices=("all", "main"), default="all", help="the table, or its main row")
    given = parser.parse_args()
    brands = given.brands or (100 if given.quick else 1000)
    rounds, requests = given.rounds or (2 if given.quick else 3), 32 if given.quick else 64
    main_case, crowded, others = Case(brands, MAIN), Case(brands, MAIN, 2 * SLOTS), []
    if not given.quick and given.cases == "all":
        counts = [FEW, *(count for count in (64, 256) if count < brands), brands]
        others = [Case(n, law) for n, law in itertools.product(counts, LAWS) if (n, law) != (brands, MAIN)]
    with tempfile.TemporaryDirectory() as name:
        base = models.chosen(given.base, Path(name))

        def prepare(home: Path) -> None:
            registered.register(home, base, brands)

        slots = {"CHORUS_MAX_LORAS": str(SLOTS), "CHORUS_MAX_CPU_LORAS": ""}  # empty: as it is planned
        with servers.chorus(
            Path(name), base=base, environment=slots, prepare=prepare, device=given.device
        ) as server:
            client = Client(server)
            once = iter([registered.brand(number) for number in range(brands)])
            asyncio.run(client.round(once, brands, 0, tokens=2))
            compare(client, [main_case, crowded], rounds, requests)
            compare(client, others, 1, requests)
            # Last: the engine's heap fills its gaps for some thousand requests, whatever is asked.
            rounds, requests = (4, requests) if given.quick else (16, 4 * requests)
            held, gained = growth(client, drawn(brands, LAWS[MAIN], 100), rounds, requests)
            fewer = max(4, rounds // 2)
            _, base_gained = growth(client, itertools.repeat(server.model), fewer, requests)
    memory = {
        "memory_growth_mb": gained,
        "memory_growth_base_mb": base_gained,
        "memory_mb": held,
    }
    finish([main_case, crowded, *others], client.errors, memory)


def finish(cases: list[Case], errors: list[str], memory: dict[str, float]) -> None:
    for error in sorted(set(errors))[:5]:
        print(error[:300], flush=True)
    figures = {case.name: case.figures() for case in cases}
    columns = ("brands", "drawn", "streams", "tokens/s", f"of {FEW} brands", "TTFT p50, s", "TTFT p99, s")
    rows = [
        (
            str(case.brands), case.law, str(case.streams), f"{own['tokens_per_second']:.0f}",
            f"{own['throughput_ratio']:.2f}", f"{own['ttft_p50_s']:.2f}", f"{own['ttft_p99_s']:.2f}",
        )
        for case, own in zip(cases, figures.values(), strict=True)
    ]  # fmt: skip
    report.show(f"Many brands on {SLOTS} slots", columns, rows)
    ratio, crowded_ratio = (figures[case.name]["throughput_ratio"] for case in cases[:2])
    top = {"throughput_ratio": ratio, "errors": float(len(errors)), "crowded_throughput_ratio": crowded_ratio}
    report.end({**top, **memory, **figures})


if __name__ == "__main__":
    main()
