"""The benches of speed: what they mean for a user, and their bars. bench/catalogue.py has the others."""

from __future__ import annotations

from bench.figures import Bar, Bench, Figure, Plot


def on_avx2(least: float | None = None) -> dict[str, Bar]:
    """The bar where products are of float32 and eight wide: LoRA's weigh more beside the base's."""
    return {"avx2": Bar(least=least)}


OVERHEAD = Bench(
    "overhead",
    "What our door costs",
    "The same chats are put to `chorus serve` and to vLLM's own API server, with the same model and the "
    "same flags, in turn. What is over 1 (time) or under 1 (throughput) is the price of keys, brands, "
    "metrics and checks.",
    (
        Figure("ttft_p50_ratio", "time to the first token with 16 users at once, ours / vLLM's", most=1.05),
        Figure("throughput_ratio", "tokens per second with 16 users at once, ours / vLLM's", least=0.97),
        Figure("ttft_p50_ratio_1", "time to the first token of a single user, ours / vLLM's"),
        Figure("throughput_ratio_1", "tokens per second of a single user, ours / vLLM's"),
    ),
    (
        Plot(
            "overhead",
            "Chorus against vLLM's own server (1: the same)",
            (
                ("time to first token, 16 streams", "ttft_p50_ratio"),
                ("throughput, 16 streams", "throughput_ratio"),
                ("time to first token, 1 stream", "ttft_p50_ratio_1"),
                ("throughput, 1 stream", "throughput_ratio_1"),
            ),
        ),
    ),
    serving=True,
)

LORA = Bench(
    "lora",
    "What brands cost the engine",
    "An adapter per brand means more arithmetic for each token. Sixteen streams are spread over 1, 8 or 16 "
    "adapters; the measure is the same engine with LoRA switched off, and beside it vLLM's own LoRA "
    "products.",
    (
        Figure(
            "decode_1", "tokens per second with one brand / without LoRA", least=0.95, on=on_avx2(least=0.85)
        ),
        Figure("decode_8", "the same, the streams spread over 8 brands", least=0.85, on=on_avx2(least=0.70)),
        Figure("decode_16", "the same over 16 brands", least=0.80, on=on_avx2(least=0.60)),
        Figure(
            "ttft512_1",
            "time to the first token after a prompt of 512 tokens / without LoRA",
            most=1.06,
            on=on_avx2(),
        ),
        Figure("ttft512_8", "the same for 8 prompts at once, each of another brand", most=1.10, on=on_avx2()),
        Figure(
            "speedup_vs_stock_decode_1",
            "tokens per second with one brand, ours / vLLM's LoRA",
            on=on_avx2(least=1.5),
        ),
        Figure("speedup_vs_stock_decode_8", "the same over 8 brands", on=on_avx2(least=1.5)),
        Figure("speedup_vs_stock_decode_16", "the same over 16 brands", on=on_avx2(least=1.5)),
        Figure(
            "speedup_vs_stock_ttft512_1",
            "first token of a 512-token prompt, how many times sooner than vLLM's LoRA",
        ),
        Figure("speedup_vs_stock_ttft512_8", "the same for 8 prompts of 8 brands"),
    ),
    (
        Plot(
            "lora",
            "Throughput of the engine without LoRA that is left (1: all of it)",
            (("1 brand", "decode_1"), ("8 brands", "decode_8"), ("16 brands", "decode_16")),
        ),
        Plot(
            "lora-speedup",
            "Times as fast as vLLM's own LoRA",
            (
                ("tokens, 1 brand", "speedup_vs_stock_decode_1"),
                ("tokens, 8 brands", "speedup_vs_stock_decode_8"),
                ("tokens, 16 brands", "speedup_vs_stock_decode_16"),
                ("first token, 1 brand", "speedup_vs_stock_ttft512_1"),
                ("first token, 8 brands", "speedup_vs_stock_ttft512_8"),
            ),
        ),
    ),
    serving=True,
)

LOAD = Bench(
    "load",
    "Loading an adapter while others are answered",
    "A brand that was not asked for a while is read into the engine when somebody asks. That must not be "
    "felt by those who are reading their answers, and hardly by the one who asked.",
    (
        Figure(
            "itl_p99_ratio",
            "the longest pauses (p99) between two tokens of others, while adapters are loaded / without",
            most=1.5,
        ),
        Figure(
            "cold_first_token_ratio",
            "first token of a brand that must be loaded / of one that is there",
            most=1.5,
        ),
        Figure("cold_added_ms", "milliseconds that the load adds to that first token"),
        Figure(
            "itl_p99_over_warm",
            "the same beside answers to usual prompts: of brands that must be loaded / of one that is there",
        ),
        Figure("warm_itl_p99_ratio", "the pauses of others, beside answers to usual prompts / alone"),
        Figure("import_itl_p99_ratio", "the pauses of others, during imports with their proofs / alone"),
        Figure("stock_itl_p99_ratio", "itl_p99_ratio of vLLM's own server"),
        Figure("stock_warm_itl_p99_ratio", "warm_itl_p99_ratio of vLLM's own server"),
        Figure("stock_itl_p99_over_warm", "itl_p99_over_warm of vLLM's own server"),
        Figure("stock_cold_first_token_ratio", "cold_first_token_ratio of vLLM's own server"),
        Figure("stock_cold_added_ms", "cold_added_ms of vLLM's own server"),
    ),
    (
        Plot(
            "load",
            "With loads / without (1: not felt)",
            (("pauses of others", "itl_p99_ratio"), ("cold first token", "cold_first_token_ratio")),
            (
                ("pauses of others, vLLM", "stock_itl_p99_ratio"),
                ("cold first token, vLLM", "stock_cold_first_token_ratio"),
            ),
        ),
    ),
    serving=True,
)

MANY = Bench(
    "many",
    "A thousand brands on 16 slots",
    "Many brands are registered, few can be in one step of the engine. Brands are asked as people ask, some "
    "much more often than others (Zipf), and the throughput is compared with that of 8 brands.",
    (
        Figure("throughput_ratio", "tokens per second with 1,000 brands (Zipf 1.1) / with 8", least=0.8),
        Figure("errors", "requests that failed", most=0),
        Figure(
            "crowded_throughput_ratio",
            "the same ratio with 32 users at once: they ask for more brands than there are slots, and wait",
        ),
        Figure(
            "memory_growth_mb",
            "megabytes gained per 1,000 requests once every brand was asked: flat is near 0",
            most=50,  # the heap comes and goes by 30 MB: over eight rounds of 256 that is 20 MB per 1,000
        ),
        Figure("memory_growth_base_mb", "the same where only the base model is asked"),
        Figure("memory_mb", "megabytes that the server's processes hold then"),
        Figure(
            "*/throughput_ratio",
            "tokens per second with so many brands, drawn by this law / with 8; of one round, but for all "
            "brands by Zipf 1.1",
        ),
        Figure("*/tokens_per_second", "tokens per second that all streams get together"),
        Figure("*/ttft_p50_s", "seconds until a request's first token, its turn for a slot included"),
        Figure("*/ttft_p99_s", "the same, 99 of 100"),
    ),
    (Plot("many", "Throughput of 8 brands that is left (1: all of it)", (("", "*/throughput_ratio"),)),),
    serving=True,
)

START = Bench(
    "start",
    "From the command to the first answer",
    "How long a restart, an update or a new machine keeps people waiting, against vLLM's own server, in "
    "turn.",
    (
        Figure("ready_ratio", "seconds until chat answers, ours / vLLM's", most=0.6),
        Figure(
            "control_ratio",
            "seconds until files, jobs and brands answer, ours / until vLLM's server is ready",
            most=0.15,
        ),
        Figure(
            "restart_ratio",
            "seconds until chat answers again after the engine was killed / until vLLM's is ready",
        ),
        Figure("ours_ready_s", "seconds until chat answers"),
        Figure("ours_control_s", "seconds until files, jobs and brands answer"),
        Figure("theirs_ready_s", "seconds until vLLM's own server is ready"),
    ),
    (
        Plot(
            "start",
            "Of the time that vLLM's own server takes",
            (("chat answers", "ready_ratio"), ("files, jobs and brands answer", "control_ratio")),
        ),
    ),
    serving=True,
)
