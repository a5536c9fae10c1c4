"""One trainer's run: `python -m bench.trainers SIDE FOLDER` prints it as a line of JSON.

Called by training.py in a process for each run, so that its memory is its own.

All of them train the same LoRA, begun the same, with the same optimizer, schedule and batches: ours over the
base as a job loads it, the others in float32, which is their default, and one more time in bf16.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR
from transformers import (
    AutoModelForCausalLM,
    DataCollatorForSeq2Seq,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from bench.workloads import BATCH, SEED, Workload
from training import adapter, auto, data, loop
from training.mask import Encoded

RANK = 8
IGNORED = -100
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Run:
    """`speed` is real tokens per second from the end of the first step to the end of the last, `peak` the
    process's largest resident memory in MiB, `losses` and `held_out` nats per learnt token."""

    speed: float
    peak: float
    losses: list[float]
    held_out: float


Trained = tuple[Any, list[float], list[float]]  # the model, the losses, when each step ended


def plan_for(work: Workload) -> auto.Plan:
    hidden = adapter.hidden_size(adapter.read_config(work.base))
    return auto.plan({"n_epochs": 1, "batch_size": BATCH}, len(work.train), hidden)


def in_order(work: Workload) -> list[Encoded]:
    """The examples in the order in which loop.steps meets them."""
    return [one for batch in data.batches(work.train, BATCH, SEED, 0) for one in batch]


def ours(work: Workload, folder: Path) -> Trained:
    """What a job runs: training/loop.py."""
    model = adapter.attach(adapter.load_base(work.base, CPU), RANK, SEED)
    plan, losses, ends = plan_for(work), [], []
    for step in loop.steps(model, loop.optimizer_for(model, plan), plan, work.train, [], seed=SEED):
        losses.append(step.train.mean_loss)
        ends.append(time.perf_counter())
    return model, losses, ends


class Clock(TrainerCallback):  # type: ignore[misc]
    """Notes when each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *given: Any, **named: Any) -> None:
        self.ends.append(time.perf_counter())


def _stock(work: Workload, dtype: torch.dtype = torch.float32) -> tuple[Any, tuple[Any, Any]]:
    """(model, (optimizer, schedule)) as ours, with the stock attention and PEFT's own layers."""
    model = AutoModelForCausalLM.from_pretrained(work.base, dtype=dtype, attn_implementation="sdpa")
    torch.manual_seed(SEED)
    model, plan = get_peft_model(model, adapter.lora(model, RANK)).eval(), plan_for(work)
    optimizer = loop.optimizer_for(model, plan)
    return model, (optimizer, LambdaLR(optimizer, lambda done: plan.rate(done + 1) / plan.learning_rate))


def _arguments(folder: Path) -> dict[str, Any]:
    return {
        "output_dir": str(folder / "out"),
        "per_device_train_batch_size": BATCH,
        "num_train_epochs": 1,
        "train_sampling_strategy": "sequential",
        "max_grad_norm": loop.CLIP,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
    }


def _train(trainer: Any, clock: Clock) -> Trained:
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return trainer.model, losses, clock.ends


def stock(work: Workload, folder: Path, dtype: torch.dtype = torch.float32) -> Trained:
    """transformers.Trainer with a collator that pads."""
    model, optimizers = _stock(work, dtype)
    rows = [
        {
            "input_ids": list(one.ids),
            "labels": [token if flag else IGNORED for token, flag in zip(one.ids, one.learnt, strict=True)],
        }
        for example in in_order(work)
        for one in example.sequences
    ]
    clock = Clock()
    trainer = Trainer(
        model=model,
        args=TrainingArguments(**_arguments(folder) | {"bf16": dtype == torch.bfloat16}),
        train_dataset=rows,
        data_collator=DataCollatorForSeq2Seq(adapter.load_tokenizer(work.base), label_pad_token_id=IGNORED),
        optimizers=optimizers,
        callbacks=[clock],
    )
    return _train(trainer, clock)


def trl(work: Workload, folder: Path) -> Trained:
    """TRL's SFTTrainer without packing, which would change the batches."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    model, optimizers = _stock(work)
    rows = [
        {"input_ids": list(one.ids), "completion_mask": list(one.learnt)}
        for example in in_order(work)
        for one in example.sequences
    ]
    clock = Clock()
    # Without completion_only_loss=True the mask of ready token ids is left unread, and all tokens are learnt.
    config = SFTConfig(**_arguments(folder), completion_only_loss=True, max_length=None, packing=False)
    trainer = SFTTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=adapter.load_tokenizer(work.base),
        optimizers=optimizers,
        callbacks=[clock],
    )
    return _train(trainer, clock)


def held_out_loss(model: Any, examples: list[Encoded]) -> float:
    """One sequence at a time through the stock model with its whole head: the same judge for all."""
    model.set_attn_implementation("sdpa")
    model.float().eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for one in (sequence for example in examples for sequence in example.sequences):
            ids = torch.tensor([list(one.ids)])
            wanted = torch.tensor(list(one.learnt[1:]), dtype=torch.bool)
            logits = model(input_ids=ids, use_cache=False).logits[0, :-1][wanted]
            total += float(functional.cross_entropy(logits, ids[0, 1:][wanted], reduction="sum"))
            count += int(wanted.sum())
    return total / count


SIDES: dict[str, Callable[[Workload, Path], Trained]] = {
    "ours": ours,
    "trainer": stock,
    "trainer_bf16": partial(stock, dtype=torch.bfloat16),
    "trl": trl,
}


def run(side: str, folder: Path) -> Run:
    """Train as `side` does what lies in `folder`."""
    work = Workload.load(folder)
    model, losses, ends = SIDES[side](work, folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    tokens = sum(example.tokens for example in in_order(work)[BATCH:])
    return Run(tokens / (ends[-1] - ends[0]), peak, losses, held_out_loss(model, work.held_out))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    found = run(options.side, options.folder)
    print(json.dumps(asdict(found)), flush=True)


if __name__ == "__main__":
    main()
