"""README's figures are those that the benches have kept on a CPU that multiplies bfloat16, rounded."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import runs

README = (Path(__file__).parents[1] / "README.md").read_text()
KIND = "avx512_bf16"
# (bench, how a row begins, what it says of what was kept); rows without a bench are of `make demo`.
ROWS = (
    ("overhead", "against vLLM's own server, 16 streams", "{ttft_p50_ratio:.2f} / {throughput_ratio:.2f}"),
    ("overhead", "the same with a single stream", "{ttft_p50_ratio_1:.2f} / {throughput_ratio_1:.2f}"),
    ("lora", "throughput of the engine without LoRA", "{decode_1:.2f}, {decode_8:.2f}, {decode_16:.2f}"),
    (
        "lora",
        "the same brands' throughput against vLLM's",
        "{speedup_vs_stock_decode_1:.1f}, {speedup_vs_stock_decode_8:.1f}, {speedup_vs_stock_decode_16:.1f}",
    ),
    ("lora", "first token after 512 tokens of prompt", "{ttft512_1:.2f}"),
    ("lora", "first token after 512 tokens of prompt", "LoRA takes {speedup_vs_stock_ttft512_1:.1f} times"),
    ("load", "longest pauses (p99) between tokens", "{itl_p99_ratio:.2f}"),
    ("load", "longest pauses (p99) between tokens", "own server: {stock_itl_p99_ratio:.2f}"),
    ("load", "the same while adapters are imported", "{import_itl_p99_ratio:.1f}"),
    ("load", "the same while adapters are imported", "without a load: {warm_itl_p99_ratio:.1f} times"),
    ("load", "first token of a brand that must be loaded", "{cold_first_token_ratio:.2f}"),
    ("load", "first token of a brand that must be loaded", "server: {stock_cold_first_token_ratio:.2f}"),
    ("many", "1,000 brands by Zipf 1.1 on 16 slots", "{throughput_ratio:.2f}, {errors:.0f} errors"),
    ("many", "the same with 32 streams", "{crowded_throughput_ratio:.2f}"),
    ("many", "megabytes that the server gains", "{memory_growth_mb:.0f} / {memory_growth_base_mb:.0f}"),
    ("start", "ready after the command", "{ours_ready_s:.1f} s"),
    ("start", "ready after the command", "own server: {theirs_ready_s:.1f} s"),
    (
        "publish",
        "1,000 publications, promotions and rollbacks",
        "{failed:.0f} / {mixed:.0f} of",
    ),
    (
        "publish",
        "the same by loading over a name",
        "{stock_failed:.0f} / {stock_mixed:,.0f} of",
    ),
    ("swap", "from promote, from rollback", "{promote_p99_s:.2f} s, {rollback_p99_s:.2f} s"),
    *(
        (
            "training",
            row,
            f"{{{case}[speedup_vs_trainer]:.2f}} | {{{case}[speedup_vs_trainer_bf16]:.2f}} | "
            f"{{{case}[speedup_vs_trl]:.2f}} | {{{case}[memory_ratio]:.2f}}",
        )
        for row, case in (("tiny (2.9 million", "tiny"), ("25 million, vocabulary", "25m"))
    ),
)


@pytest.mark.parametrize(("bench", "row", "said"), ROWS, ids=[f"{bench}: {row}" for bench, row, _ in ROWS])
def test_a_row_says_what_its_bench_has_kept(bench: str, row: str, said: str) -> None:
    (line,) = [line for line in README.splitlines() if line.startswith(f"| {row}")]
    (kept,) = [run.figures for run in runs.load() if run.bench == bench and run.kind == KIND and run.plain]
    assert kept is not None
    assert said.format(**kept) in line
