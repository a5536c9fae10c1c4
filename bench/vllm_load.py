"""Load by vLLM's own `vllm bench serve`, so that anybody can repeat a figure on bare vLLM.

It runs in this process, which imports vLLM once (8 s); `Result.command` is the same as a line to type. Its
prompts are random tokens, sent as text to /v1/completions: a token or two may be more on the other side, and
no two seeds share a prefix. bench/chat_load.py is the client of chats (DECISIONS.md: which is used where).
"""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench.servers import Server


@dataclass(frozen=True)
class Result:
    """What one run measured, in seconds and tokens per second; the lists are of requests that succeeded."""

    completed: int
    failed: int  # also those that ended before their last token, which vLLM's client takes for good ones
    errors: list[str]  # each text once
    seconds: float
    prompt_tokens: list[int]  # as the server counted them
    throughput: float  # output tokens per second
    ttfts: list[float]
    tpots: list[float]  # of a request: its mean time per output token after the first
    itls: list[float]  # between two chunks of one stream
    command: str

    @property
    def ttft(self) -> float:
        return statistics.median(self.ttfts)

    @property
    def tpot(self) -> float:
        return statistics.median(self.tpots)


def run(
    server: Server, *, streams: int, requests: int, input_tokens: int, output_tokens: int, seed: int,
    models: Sequence[str] = (), rate: float | None = None, chat: bool = False,
) -> Result:  # fmt: skip
    """`requests` of these lengths, at most `streams` at once, `rate` a second (None: as fast as it can).

    `models` take turns, request by request (default: the server's base). Another seed is other prompts.
    `chat` asks /v1/chat/completions, whose template adds to `input_tokens`. A request that fails is counted,
    none is raised: look at `failed`.
    """
    from vllm.benchmarks.serve import add_cli_args, main
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    given = arguments(
        server, streams=streams, requests=requests, input_tokens=input_tokens, output_tokens=output_tokens,
        seed=seed, models=models, rate=rate, chat=chat,
    )  # fmt: skip
    parser = FlexibleArgumentParser()
    add_cli_args(parser)
    # Kept: it drops the times of single requests otherwise.
    parsed = parser.parse_args([*given, "--save-detailed", "--disable-tqdm"])
    with _key(server.key), contextlib.redirect_stdout(io.StringIO()):
        found = main(parsed)
    return parse(found, output_tokens, shlex.join(["vllm", "bench", "serve", *given]))


def arguments(
    server: Server, *, streams: int, requests: int, input_tokens: int, output_tokens: int, seed: int,
    models: Sequence[str] = (), rate: float | None = None, chat: bool = False,
) -> list[str]:  # fmt: skip
    """What to give `vllm bench serve`; the key goes by OPENAI_API_KEY."""
    return [
        *("--base-url", server.root, "--model", server.model, "--tokenizer", str(server.base)),
        *(("--backend", "openai-chat", "--endpoint", "/v1/chat/completions") if chat else ()),
        *("--dataset-name", "random", "--input-len", str(input_tokens), "--output-len", str(output_tokens)),
        *("--num-prompts", str(requests), "--max-concurrency", str(streams), "--seed", str(seed)),
        *("--temperature", "0"),
        *(("--request-rate", str(rate)) if rate else ()),
        *(("--lora-modules", *models, "--lora-assignment", "round-robin") if models else ()),
    ]


def parse(found: dict[str, Any], output_tokens: int, command: str) -> Result:
    """`found` as `--save-result --save-detailed` writes it; a request that failed has a text in `errors`."""
    lengths, errors = found["output_lens"], found["errors"]
    good = [number for number, length in enumerate(lengths) if length == output_tokens and not errors[number]]
    ttfts, itls, prompts = (
        [found[name][number] for number in good] for name in ("ttfts", "itls", "input_lens")
    )
    return Result(
        completed=len(good),
        failed=len(lengths) - len(good),
        errors=sorted({error.strip()[-500:] for error in errors if error}),
        seconds=found["duration"],
        prompt_tokens=prompts,
        throughput=len(good) * output_tokens / found["duration"],
        ttfts=ttfts,
        tpots=[sum(gaps) / max(1, output_tokens - 1) for gaps in itls],
        itls=[gap for gaps in itls for gap in gaps],
        command=command,
    )


@contextlib.contextmanager
def _key(key: str) -> Iterator[None]:
    before = os.environ.get("OPENAI_API_KEY")
    os.environ["OPENAI_API_KEY"] = key
    try:
        yield
    finally:
        if before is None:
            del os.environ["OPENAI_API_KEY"]
        else:
            os.environ["OPENAI_API_KEY"] = before
