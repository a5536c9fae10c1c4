"""What adapters cost the engine, which is vLLM's own API server three times: without LoRA, with our LoRA
products, and with vLLM's (our plugin off). Rank 16 on all linear layers, prefix cache off; all three compute
in what `chorus serve` takes on such a CPU.

`decode_N`: tokens per second of 16 streams over N adapters / of the engine without LoRA. `ttft512_N`: first
token of N prompts of 512 tokens sent at once, one per adapter / of as many without LoRA.
`speedup_vs_stock_*`: ours against vLLM's products.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import torch

from adapters.modules import SERVED_LINEARS
from bench import models, options, report, servers
from bench.adapters import random_adapter
from records import settings
from server.engine import lora_choice

STREAMS, TOKENS, PROMPT, LONG = 16, 96, 32, 512
SLOTS, RANK = 16, 16
DECODES, PREFILLS = (1, 8, 16), (1, 8)
SIDES = ("off", "ours", "stock")
SETTLE_SECONDS = 0.5
STOCK_EACH = 2  # rounds


def flags(base: Path, folder: Path, lora: bool) -> list[str]:
    """vLLM's flags for one side; `folder` holds the adapters, named by number."""
    common = [
        *("--model", str(base), "--served-model-name", "base", "--no-enable-prefix-caching"),
        *("--max-num-seqs", str(STREAMS), "--max-model-len", "2048"),
        *servers.dtype(base),
    ]
    if not lora:
        return common
    modules = [f"{number}={folder / str(number)}" for number in range(SLOTS)]
    return [
        *common,
        *("--enable-lora", "--max-loras", str(SLOTS), "--max-lora-rank", str(RANK)),
        *("--lora-target-modules", *SERVED_LINEARS),
        *("--lora-modules", *modules),
    ]


async def ask(session: aiohttp.ClientSession, model: str, prompt: list[int], tokens: int) -> list[float]:
    """When each token of one greedy answer came. Raises RuntimeError when it fails."""
    body = {
        "model": model,
        "prompt": prompt,
        "max_tokens": tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
    }
    times = []
    async with session.post("/v1/completions", json=body) as reply:
        if reply.status != 200:
            raise RuntimeError(f"{reply.status}: {await reply.text()}")
        async for line in reply.content:
            if line.startswith(b'data: {"error"'):
                raise RuntimeError(line.decode())
            if line.startswith(b"data: {"):
                times.append(time.perf_counter())
    return times


async def together(
    server: servers.Server, prompts: list[tuple[str, list[int]]], tokens: int
) -> list[list[float]]:
    """All prompts at once; for each, the seconds until each of its tokens."""
    timeout = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(server.root, timeout=timeout) as session:
        began = time.perf_counter()
        answers = await asyncio.gather(*(ask(session, model, prompt, tokens) for model, prompt in prompts))
    return [[moment - began for moment in times] for times in answers]


def prompts(
    server: servers.Server, adapters: int, count: int, length: int, seed: int
) -> list[tuple[str, list[int]]]:
    source = random.Random(seed)
    names = ["base"] if server.name == "off" else [str(number) for number in range(adapters)]
    return [
        (names[number % len(names)], [source.randrange(300, 3500) for _ in range(length)])
        for number in range(count)
    ]


def decode(server: servers.Server, adapters: int, seed: int, tokens: int) -> float:
    """Tokens per second while all streams run: from the last one's first token to the first one's last."""
    times = asyncio.run(together(server, prompts(server, adapters, STREAMS, PROMPT, seed), tokens))
    begin, end = max(one[0] for one in times), min(one[-1] for one in times)
    return sum(begin < moment <= end for one in times for moment in one) / (end - begin)


def prefill(server: servers.Server, adapters: int, seed: int) -> float:
    """Mean seconds to the first token."""
    times = asyncio.run(together(server, prompts(server, adapters, adapters, LONG, seed), 1))
    return statistics.mean(one[0] for one in times)


def measure(server: servers.Server, seed: int, tokens: int) -> dict[str, float]:
    server.thaw()
    time.sleep(SETTLE_SECONDS)
    decode(server, SLOTS, seed + 1000, 4)  # every adapter has its slot before the clock runs
    found = {f"decode_{number}": decode(server, number, seed, tokens) for number in DECODES}
    found |= {f"ttft512_{number}": prefill(server, number, seed) for number in PREFILLS}
    server.freeze()
    return found


def main() -> None:
    parser = options.serving(__doc__, "two rounds of short answers", base="medium")
    parser.add_argument("--rounds", type=int, help="rounds per side (default 6, quick 2)")
    given = parser.parse_args()
    rounds = given.rounds or (2 if given.quick else 6)
    tokens = 32 if given.quick else TOKENS
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        folder = Path(place)
        base = models.chosen(given.base, folder)
        for number in range(SLOTS):
            random_adapter(folder / str(number), number, RANK, base=base, dtype=torch.bfloat16)
        started = []
        for side in SIDES:
            plugins = {"VLLM_PLUGINS": "none"} if side == "stock" else None
            asked = flags(base, folder, lora=side != "off")
            if side == "ours":
                asked += lora_choice.flags(asked[asked.index("--dtype") + 1], settings.load().cpu_lora)
            server = stack.enter_context(
                servers.stock(folder, asked, plugins, model="base", name=side, device=given.device)
            )
            server.freeze()
            started.append(server)
        found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
        for turn in range(rounds):
            for server in started[turn % len(started) :] + started[: turn % len(started)]:
                # vLLM's own products take a minute a round, and vary by little of what they differ by.
                if server.name != "stock" or turn % STOCK_EACH == 0:
                    found[server.name].append(measure(server, turn, tokens))
            print(f"round {turn + 1}/{rounds}: done", flush=True)
    finish(found)


def finish(found: dict[str, list[dict[str, float]]]) -> None:
    cases = list(found["off"][0])
    medians = {
        side: {case: statistics.median(one[case] for one in each) for case in cases}
        for side, each in found.items()
    }
    figures = {}
    for case in cases:
        ours, off = ([one[case] for one in found[side]] for side in ("ours", "off"))
        figures[case] = report.median_ratio(ours, off)
        stock, mine = [one[case] for one in found["stock"]], ours[::STOCK_EACH]
        pair = (mine, stock) if case.startswith("decode") else (stock, mine)
        figures[f"speedup_vs_stock_{case}"] = report.median_ratio(*pair)
    rows = [(case, *(f"{medians[side][case]:.3f}" for side in found)) for case in cases]
    report.show(
        f"{STREAMS} streams, tokens/s; {LONG}-token prompts, s to the first token", ("case", *found), rows
    )
    report.end(figures)


if __name__ == "__main__":
    main()
