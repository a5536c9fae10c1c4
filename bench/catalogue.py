"""Every bench, in the order in which they run and stand in docs/benchmarks.md; those of speed lie beside."""

from __future__ import annotations

from bench.catalogue_speed import LOAD, LORA, MANY, OVERHEAD, START
from bench.figures import Bench, Figure, Plot

# On a CPU; beyond it bench.training fails. Without any gradient 25m would be 6e-4 off.
SAME_LOSSES = 2e-4

PUBLISH = Bench(
    "publish",
    "A thousand changes of versions under load",
    "Eight brands get new versions, are promoted and rolled back while 16 streams ask them. Nobody may see "
    "an error or an answer of a version that was not live. vLLM's own server is changed by loading an "
    "adapter over a name.",
    (
        Figure("failed", "requests and changes that failed", most=0),
        Figure("mixed", "answers of a version that was not live, or of two", most=0),
        Figure(
            "visible_p99_s", "seconds until a change is in force for every new request, 99 of 100", most=1
        ),
        Figure("operations", "changes that were made"),
        Figure("answers", "answers meanwhile, each held against what was live"),
        Figure("stock_failed", "requests and changes that failed on vLLM's own server"),
        Figure("stock_mixed", "wrong answers on vLLM's own server"),
        Figure("stock_answers", "answers of vLLM's own server meanwhile"),
    ),
    (
        Plot(
            "publish",
            "Failed or wrong",
            (("failed", "failed"), ("wrong version", "mixed")),
            (("failed, vLLM", "stock_failed"), ("wrong version, vLLM", "stock_mixed")),
        ),
    ),
    serving=True,
)

SWAP = Bench(
    "swap",
    "Promote and roll back",
    "The seconds from the call to the first token of the version that it brought, with four streams beside: "
    "how long a bad version goes on answering after somebody has decided against it.",
    (
        Figure("promote_p50_s", "promote, median"),
        Figure("promote_p99_s", "promote, 99 of 100", most=1),
        Figure("rollback_p99_s", "rollback, 99 of 100", most=0.3),
        Figure("failed", "requests that failed meanwhile", most=0),
    ),
    (
        Plot(
            "swap",
            "Seconds to the first token",
            (
                ("promote, median", "promote_p50_s"),
                ("promote, p99", "promote_p99_s"),
                ("rollback, p99", "rollback_p99_s"),
            ),
            unit=" s",
        ),
    ),
    serving=True,
)

FAIRNESS = Bench(
    "fairness",
    "A noisy neighbour",
    "A tenant asks once a second while another keeps 64 long requests open. There is no fairness yet: this "
    "says where we stand, beside vLLM's own server. At 1 the quiet tenant would feel nothing.",
    (
        Figure("ttft_p50_ratio", "the quiet tenant's time to the first token, flooded / alone"),
        Figure("ttft_p99_ratio", "the same, 99 of 100"),
        Figure("flood_tokens_per_s", "tokens per second that the noisy tenant gets"),
        Figure("stock_ttft_p50_ratio", "time to the first token on vLLM's own server, flooded / alone"),
        Figure("stock_ttft_p99_ratio", "the same, 99 of 100"),
        Figure("stock_flood_tokens_per_s", "tokens per second of the noisy one on vLLM's own server"),
    ),
    (
        Plot(
            "fairness",
            "Times as long to the first token beside a flood",
            (("median", "ttft_p50_ratio"), ("p99", "ttft_p99_ratio")),
            (("median, vLLM", "stock_ttft_p50_ratio"), ("p99, vLLM", "stock_ttft_p99_ratio")),
        ),
    ),
    serving=True,
)

ADMISSION = Bench(
    "admission",
    "Bad adapters are refused",
    "Every adapter is looked at before the engine sees it. What is broken, hostile or made for another "
    "model is refused with a code, quickly and in little memory, so that an upload cannot hold up a server.",
    (
        Figure("unrefused", "bad adapters that were not refused with their own code", most=0),
        Figure("slowest_s", "seconds of the processor for the slowest refusal", most=1),
        Figure("peak_mb", "megabytes for a refusal, beyond what a good adapter takes", most=200),
        Figure("slowest_ratio", "the slowest refusal / the check of a good adapter"),
        Figure("refused", "bad adapters that were refused"),
        Figure("corpus", "bad adapters that were tried"),
    ),
)

KILLS = Bench(
    "kills",
    "kill -9 while jobs train",
    "Workers and jobs are killed at random. Every job must still end once, with the result of a job that "
    "nobody disturbed.",
    (
        Figure("lost_events", "events of a job that were lost", most=0),
        Figure("doubled_versions", "jobs that published more than one version", most=0),
        Figure("half_files", "files left half written", most=0),
        Figure("not_ended", "jobs that did not end", most=0),
        Figure("wrong_losses", "jobs whose losses are not those of an undisturbed one", most=0),
        Figure("jobs", "jobs"),
        Figure("kills", "kills"),
    ),
)

TRAINING = Bench(
    "training",
    "Training against transformers' Trainer and TRL",
    "The same data, batches and optimizer, in processes of their own, ending with the same losses: how much "
    "sooner, and in how much less memory, a brand's job is done. `tiny` has 2.9 million parameters, `25m` "
    "25 million, a vocabulary of 32,000 and random tokens to learn from: its losses show that all take the "
    "same steps, not that anything is learnt.",
    (
        Figure("25m/speedup_vs_trainer", "tokens per second, ours / Trainer (padding, float32)", least=3.5),
        Figure("25m/speedup_vs_trl", "tokens per second, ours / TRL", least=6.0),
        Figure("25m/memory_ratio", "largest memory, ours / Trainer", most=0.6),
        Figure(
            "25m/loss_difference",
            "largest relative distance of a step's loss from Trainer's",
            most=SAME_LOSSES,
        ),
        Figure("25m/speedup_vs_trainer_bf16", "tokens per second, ours / Trainer told to use bf16"),
        Figure("tiny/speedup_vs_trainer", "tokens per second, ours / Trainer", least=1.9),
        Figure("tiny/speedup_vs_trl", "tokens per second, ours / TRL", least=2.6),
        Figure("tiny/memory_ratio", "largest memory, ours / Trainer"),
        Figure(
            "tiny/loss_difference",
            "largest relative distance of a step's loss from Trainer's",
            most=SAME_LOSSES,
        ),
        Figure("tiny/speedup_vs_trainer_bf16", "tokens per second, ours / Trainer told to use bf16"),
        Figure(
            "*/tokens_per_second_*",
            "tokens of the examples per second, from the end of the first step to that of the last",
        ),
        Figure("*/peak_mib_*", "largest memory of the process, in MiB"),
        Figure("*/held_out_loss_*", "loss on rows that were not trained on"),
    ),
    (
        Plot(
            "training",
            "Times as fast",
            (
                ("25m, as Trainer", "25m/speedup_vs_trainer"),
                ("25m, as Trainer in bf16", "25m/speedup_vs_trainer_bf16"),
                ("25m, as TRL", "25m/speedup_vs_trl"),
                ("tiny, as Trainer", "tiny/speedup_vs_trainer"),
                ("tiny, as Trainer in bf16", "tiny/speedup_vs_trainer_bf16"),
                ("tiny, as TRL", "tiny/speedup_vs_trl"),
            ),
        ),
    ),
)

BENCHES = (OVERHEAD, LORA, LOAD, MANY, START, PUBLISH, SWAP, FAIRNESS, ADMISSION, TRAINING, KILLS)
