"""What our door costs: the same chat load against our server and against vLLM's own API server.

Same base, same engine flags, same engine plugin, one run, taking turns, order swapped each round.
`ttft_p50_ratio` and `throughput_ratio` are ours / theirs at 16 streams; `..._1` at one stream. With
`--client vllm` the load is `vllm bench serve`'s, whose command can be repeated against any server.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from bench import chat_load, options, report, servers, vllm_load

WORDS, TOKENS = 100, 64
PROMPT_TOKENS = 110  # of as many words, about
SETTLE_SECONDS = 0.5
STREAMS = {1: 16, 16: 96}  # streams at once -> requests in a round
Round = chat_load.Round | vllm_load.Result


def ask(server: servers.Server, client: str, streams: int, requests: int, seed: int) -> Round:
    """Raises RuntimeError when a request fails."""
    if client == "own":
        load = {"streams": streams, "requests": requests, "words": WORDS, "tokens": TOKENS, "seed": seed}
        return asyncio.run(chat_load.run(server, **load))
    found = vllm_load.run(
        server, streams=streams, requests=requests, input_tokens=PROMPT_TOKENS, output_tokens=TOKENS,
        seed=seed, chat=True,
    )  # fmt: skip
    if found.failed:
        raise RuntimeError(f"{server.name}: {found.failed} requests failed: {found.errors}")
    return found


def measure(server: servers.Server, client: str, streams: int, seed: int, quick: bool) -> Round:
    """One round on a thawed server, after a few requests that do not count."""
    server.thaw()
    time.sleep(SETTLE_SECONDS)
    ask(server, client, streams, max(2, streams // 2), seed + 10_000)
    measured = ask(server, client, streams, STREAMS[streams] // (4 if quick else 1), seed)
    server.freeze()
    return measured


def main() -> None:
    parser = options.serving(__doc__, "fewer and shorter rounds")
    parser.add_argument("--rounds", type=int, help="rounds per server and load (default 10, quick 2)")
    parser.add_argument(
        "--client", choices=("own", "vllm"), default="own", help="bench/chat_load.py, or vLLM's bench serve"
    )
    given = parser.parse_args()
    rounds = given.rounds or (2 if given.quick else 10)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with servers.chorus(folder, base=given.base, device=given.device) as ours:
            ours.freeze()
            flags = servers.stock_flags(ours.base, model=ours.model)
            with servers.stock(folder, flags, model=ours.model, device=given.device) as theirs:
                theirs.freeze()
                results = compare(ours, theirs, given.client, rounds, given.quick)
    finish(results)


def compare(
    ours: servers.Server, theirs: servers.Server, client: str, rounds: int, quick: bool
) -> dict[int, tuple[list[Round], list[Round]]]:
    """{streams: (our rounds, their rounds)}, the two sides taking turns."""
    results: dict[int, tuple[list[Round], list[Round]]] = {streams: ([], []) for streams in STREAMS}
    for turn in range(rounds):
        for streams, sides in results.items():
            pair = list(zip((ours, theirs), sides, strict=True))
            for server, kept in pair if turn % 2 else reversed(pair):
                kept.append(measure(server, client, streams, turn, quick))
            print(f"round {turn + 1}/{rounds}, {streams} streams: done", flush=True)
    if isinstance(last := results[16][1][-1], vllm_load.Result):
        print(f"to repeat a round: OPENAI_API_KEY=... {last.command}", flush=True)
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
