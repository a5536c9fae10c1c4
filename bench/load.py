"""What loading an adapter costs the others, and whoever asks for it first.

`itl_p99_ratio`: the inter-token p99 of streams of the base model while adapters come in one after the other,
each with an answer of one token to a prompt of one token, over the p99 of the streams alone.
`itl_p99_over_warm`: their p99 while adapters come in with answers to usual prompts, over that beside the same
answers of adapters that are in. `cold_first_token_ratio`: seconds to the first token of a version that is not
in, over those of one that is; nothing else runs.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import torch

from bench import models, options, report, servers
from bench.adapters import random_adapter
from bench.cold_brands import Chorus, Stock, Versions
from bench.itl import Chats
from bench.sides import RUNTIME_LORA

STREAMS, SLOTS, ADAPTERS, RANK = 4, 8, 12, 16
PACE, SETTLE_SECONDS, TAIL_SECONDS = 0.5, 1.0, 0.2
USUAL = 100  # words of a prompt
PHASES = ("baseline", "loads", "warm", "cold", "imports")


@dataclass
class Round:
    """Seconds between tokens by phase; seconds to the first token, cold and then warm."""

    gaps: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    cold: list[float] = field(default_factory=list)
    warm: list[float] = field(default_factory=list)

    def p99(self, phase: str) -> float:
        return statistics.quantiles(self.gaps[phase], n=100)[98]


def flags(base: Path) -> list[str]:
    """The flags that `chorus serve` gives its engine here, for vLLM's own server."""
    made = servers.stock_flags(base, model="base")
    for name, count in (("--max-loras", SLOTS), ("--max-cpu-loras", 2 * SLOTS)):
        made[made.index(name) + 1] = str(count)
    return made


async def paced(act: Callable[[], Awaitable[object]]) -> None:
    """Takes PACE seconds, or as long as `act` and the step after it."""
    began = time.perf_counter()
    await act()
    await asyncio.sleep(max(TAIL_SECONDS, PACE - (time.perf_counter() - began)))


async def measure(server: servers.Server, versions: Versions, seed: int, count: int) -> Round:
    """One round on a thawed server."""
    rng, done = random.Random(seed), Round()
    headers = {"authorization": f"Bearer {server.key}"}
    async with aiohttp.ClientSession(server.root, headers=headers) as session:
        chats = Chats(session, rng)
        warm = await versions.cold(session)
        for _ in range(3):
            await chats.first_token(warm, USUAL)
        for _ in range(count):
            began = time.perf_counter()
            name = await versions.cold(session)
            called = time.perf_counter() - began
            done.cold.append(called + await chats.first_token(name, USUAL))
            done.warm.append(await chats.first_token(name, USUAL))

        async def load() -> None:
            await chats.one_token(await versions.cold(session))

        async def cold() -> None:
            nonlocal name
            name = await versions.cold(session)
            await chats.first_token(name, USUAL)

        acts: dict[str, Callable[[], Awaitable[object]]] = {
            "baseline": lambda: asyncio.sleep(0),
            "loads": load,
            "cold": cold,
            "warm": lambda: chats.first_token(name, USUAL),
        }
        if isinstance(versions, Chorus):
            acts["imports"] = lambda: versions.bring(session)
        async with chats.streams(server.model, STREAMS) as gaps:
            # In turn, not one phase after the other: as their contexts grow, the streams slow down.
            for _ in range(count):
                await asyncio.sleep(SETTLE_SECONDS)
                for phase, act in acts.items():
                    before = len(gaps)
                    await paced(act)
                    done.gaps[phase] += gaps[before:]
    return done


@contextmanager
def both(base: Path, folder: Path, device: str) -> Iterator[dict[str, tuple[servers.Server, Versions]]]:
    """Our server and vLLM's own, ready and frozen, each with what it can load."""
    made = [
        random_adapter(folder / f"adapter-{seed}", seed, RANK, base=base, dtype=torch.bfloat16)
        for seed in range(ADAPTERS)
    ]
    small = {"CHORUS_MAX_LORAS": str(SLOTS), "CHORUS_MAX_CPU_LORAS": str(SLOTS)}
    stock = RUNTIME_LORA | {"VLLM_PLUGINS": "none"}
    with servers.chorus(folder, base=base, environment=small, device=device) as ours:
        mine = Chorus(folder, base)
        asyncio.run(mine.register(ours, made))
        ours.freeze()
        with servers.stock(folder, flags(base), stock, model="base", device=device) as theirs:
            theirs.freeze()
            yield {"chorus": (ours, mine), "vllm": (theirs, Stock(made))}


def run(server: servers.Server, versions: Versions, seed: int, count: int) -> Round:
    server.thaw()
    time.sleep(SETTLE_SECONDS)
    done = asyncio.run(measure(server, versions, seed, count))
    server.freeze()
    return done


def main() -> None:
    parser = options.serving(__doc__, "two short rounds", base="medium")
    parser.add_argument("--rounds", type=int, help="rounds per server (default 6, quick 2)")
    given = parser.parse_args()
    rounds = given.rounds or (2 if given.quick else 6)
    results: dict[str, list[Round]] = {"chorus": [], "vllm": []}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        base = models.chosen(given.base, Path(name))
        sides = stack.enter_context(both(base, Path(name), given.device))
        for turn in range(rounds):
            for side in sorted(sides, reverse=bool(turn % 2)):
                results[side].append(run(*sides[side], turn, 8 if given.quick else 12))
            print(f"round {turn + 1}/{rounds}: done", flush=True)
    finish(results)


def finish(results: dict[str, list[Round]]) -> None:
    figures: dict[str, float] = {}
    rows = []
    for side, rounds in results.items():
        prefix = "" if side == "chorus" else "stock_"
        p99 = {phase: [one.p99(phase) for one in rounds if phase in one.gaps] for phase in PHASES}
        cold, warm = ([statistics.median(getattr(one, kind)) for one in rounds] for kind in ("cold", "warm"))
        figures |= {
            f"{prefix}itl_p99_ratio": report.median_ratio(p99["loads"], p99["baseline"]),
            f"{prefix}warm_itl_p99_ratio": report.median_ratio(p99["warm"], p99["baseline"]),
            f"{prefix}itl_p99_over_warm": report.median_ratio(p99["cold"], p99["warm"]),
            f"{prefix}cold_first_token_ratio": report.median_ratio(cold, warm),
            f"{prefix}cold_added_ms": 1000
            * statistics.median(c - w for c, w in zip(cold, warm, strict=True)),
        }
        if p99["imports"]:
            figures[f"{prefix}import_itl_p99_ratio"] = report.median_ratio(p99["imports"], p99["baseline"])
        shown = [f"{1000 * statistics.median(v):.0f}" if v else "-" for v in (*p99.values(), cold, warm)]
        rows.append((side, *shown))
    columns = ("server", *(f"ITL p99, {phase}" for phase in PHASES), "cold TTFT", "warm TTFT")
    report.show(f"Loading under {STREAMS} streams, ms", columns, rows)
    report.end(figures)


if __name__ == "__main__":
    main()
