"""What of training runs on a GPU alone, held against what runs elsewhere, with the largest deviations.

The kernel of attention (output, gradients, windows, grouped heads), a model over it, gradient checkpointing,
two epochs over bf16, a resumed run, a base in 4 bits. Fails where a deviation is larger than is allowed.
`attention_speedup`: by how much the kernel is faster than the loop, on a row of 32 sequences, both ways.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from bench import card, gpu_checks, gpu_kernel, report
from bench.gpu_kernel import Check
from bench.models import random_llama
from bench.workloads import BATCH, LARGE, SEED, random_examples
from training import attention
from training.mask import Encoded

GROUPED = LARGE | {"num_key_value_heads": 2}
EXAMPLES = (64, 16)  # of a run and of a quick one


def checks(base: Path, examples: list[Encoded], where: torch.device) -> Iterator[Check]:
    """All that can be checked there."""
    batch = examples[:BATCH]
    if attention.bounds((1,), where) is not None:
        yield from gpu_kernel.kernel(where)
        with gpu_kernel.counted() as calls:
            yield from gpu_checks.whole_model(base, batch, where)
        if not calls:
            raise RuntimeError("a bf16 model did not ask the kernel")
    yield from gpu_checks.checkpointing(base, batch, where)
    yield from gpu_checks.learning(base, examples, where)
    yield from gpu_checks.resuming(base, examples, where)
    if importlib.util.find_spec("bitsandbytes") is None:
        print("Left out: a base in 4 bits, which needs bitsandbytes", flush=True)
    else:
        yield from gpu_checks.checkpointing(base, batch, where, four_bit=True)


def named(found: Sequence[Check]) -> dict[str, float]:
    """Each deviation by its check's name, and beside it the usual one."""
    figures: dict[str, float] = {}
    for one in found:
        name = one.name.replace(",", "").replace(" ", "_")
        figures |= {name: one.deviation, f"{name}_usual": one.usual}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few examples: a try")
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cuda", help="cpu: what of it can be tried without a GPU"
    )
    options = parser.parse_args()
    title, where = card.describe(options.device), torch.device(options.device)
    card.fit_kernel()
    train, _ = random_examples(EXAMPLES[options.quick], 0)
    with tempfile.TemporaryDirectory() as place:
        base = random_llama(Path(place) / "base", SEED, dtype=torch.float32, **GROUPED)
        found = list(checks(base, train, where))
    figures = named(found)
    if where.type == "cuda":
        lengths = [len(one.sequences[0].ids) for one in random_examples(32, 0)[0]]
        figures["attention_speedup"] = gpu_kernel.speedup(where, lengths)
    rows = [
        (
            one.name,
            f"{one.deviation:.2g}",
            f"{one.usual:.2g}",
            f"{one.allowed:.2g}",
            "yes" if one.holds else "NO",
        )
        for one in found
    ]
    report.show(title, ("check", "deviation", "usual", "allowed", "holds"), rows)
    report.end(figures)
    if failed := [one.name for one in found if not one.holds]:
        raise SystemExit(f"More than rounding: {', '.join(failed)}")


if __name__ == "__main__":
    main()
