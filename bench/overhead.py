"""What our door costs: the same chat load against our server and against vLLM's own API server.

Same base, same engine flags, same engine plugin, one run, taking turns, order swapped each round.
`ttft_p50_ratio` and `throughput_ratio` are ours / theirs at 16 streams; `..._1` at one stream.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from bench import chat_load, options, report, servers
from bench.chat_load import Round

WORDS, TOKENS = 100, 64
SETTLE_SECONDS = 0.5
STREAMS = {1: 16, 16: 96}  # streams at once -> requests in a round


def measure(server: servers.Server, streams: int, seed: int, quick: bool) -> Round:
    """One round on a thawed server, after a few requests that do not count."""
    server.thaw()
    time.sleep(SETTLE_SECONDS)
    requests = STREAMS[streams] // (4 if quick else 1)
    shape = {"streams": streams, "words": WORDS, "tokens": TOKENS}
    asyncio.run(chat_load.run(server, requests=max(2, streams // 2), seed=seed + 10_000, **shape))
    measured = asyncio.run(chat_load.run(server, requests=requests, seed=seed, **shape))
    server.freeze()
    return measured


def main() -> None:
    parser = options.serving(__doc__, "fewer and shorter rounds")
    parser.add_argument("--rounds", type=int, help="rounds per server and load (default 10, quick 2)")
    given = parser.parse_args()
    rounds = given.rounds or (2 if given.quick else 10)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with servers.chorus(folder, base=given.base, device=given.device) as ours:
            ours.freeze()
            flags = servers.stock_flags(ours.base, model=ours.model)
            with servers.stock(folder, flags, model=ours.model, device=given.device) as theirs:
                theirs.freeze()
                results = compare(ours, theirs, rounds, given.quick)
    finish(results)


def compare(
    ours: servers.Server, theirs: servers.Server, rounds: int, quick: bool
) -> dict[int, tuple[list[Round], list[Round]]]:
    """{streams: (our rounds, their rounds)}, the two sides taking turns."""
    results: dict[int, tuple[list[Round], list[Round]]] = {streams: ([], []) for streams in STREAMS}
    for turn in range(rounds):
        for streams, sides in results.items():
            pair = list(zip((ours, theirs), sides, strict=True))
            for server, kept in pair if turn % 2 else reversed(pair):
                kept.append(measure(server, streams, turn, quick))
            print(f"round {turn + 1}/{rounds}, {streams} streams: done", flush=True)
    return results


def finish(results: dict[int, tuple[list[Round], list[Round]]]) -> None:
    figures: dict[str, float] = {}
    rows = []
    for streams, (ours, theirs) in results.items():
        ttfts = [[statistics.median(r.ttfts) for r in side] for side in (ours, theirs)]
        rates = [[r.throughput for r in side] for side in (ours, theirs)]
        ttft, rate = report.median_ratio(*ttfts), report.median_ratio(*rates)
        suffix = "" if streams == 16 else f"_{streams}"
        figures |= {f"ttft_p50_ratio{suffix}": ttft, f"throughput_ratio{suffix}": rate}
        for side, t, r in zip(("chorus", "vllm"), ttfts, rates, strict=True):
            rows.append(
                (str(streams), side, f"{1000 * statistics.median(t):.1f}", f"{statistics.median(r):.0f}")
            )
    report.show("Overhead of the door", ("streams", "server", "TTFT p50, ms", "tokens/s"), rows)
    report.end(figures)


if __name__ == "__main__":
    main()
