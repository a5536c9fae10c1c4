"""Trainers that are compared, by the names of SIDES. Called by trained.py.

All of them train the same LoRA, begun the same, with the same optimizer, schedule and batches: ours over the
base as a job loads it, Trainer in float32, its default, and in bf16. On a GPU TRL runs in bf16, its default
there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model
from torch.optim.lr_scheduler import LambdaLR
from transformers import (
    AutoModelForCausalLM,
    DataCollatorForSeq2Seq,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from bench.workloads import SEED, Workload
from training import adapter, auto, data, loop, recompute
from training.mask import Encoded

RANK = 8
IGNORED = -100

Trained = tuple[Any, list[float], list[float]]  # the model, the losses, when each step ended


def plan_for(work: Workload) -> auto.Plan:
    hidden = adapter.hidden_size(adapter.read_config(work.base))
    return auto.plan({"n_epochs": 1, "batch_size": work.batch}, len(work.train), hidden)


def in_order(work: Workload) -> list[Encoded]:
    """The examples in the order in which loop.steps meets them."""
    return [one for batch in data.batches(work.train, work.batch, SEED, 0) for one in batch]


def ours(work: Workload, folder: Path, where: torch.device, *, kept: bool = False) -> Trained:
    """What a job runs: training/loop.py, and on a GPU gradient checkpointing, or all activations `kept`."""
    base = adapter.load_base(work.base, where)
    if where.type == "cuda" and not kept:
        recompute.wrap(base)
    model = adapter.attach(base, RANK, SEED)
    plan, losses, ends = plan_for(work), [], []
    for step in loop.steps(model, loop.optimizer_for(model, plan), plan, work.train, [], seed=SEED):
        losses.append(step.train.mean_loss)
        ends.append(time.perf_counter())
    return model, losses, ends


class Clock(TrainerCallback):  # type: ignore[misc]
    """Notes when each step ended."""

    def __init__(self, where: torch.device) -> None:
        self.where = where
        self.ends: list[float] = []

    def on_step_end(self, *given: Any, **named: Any) -> None:
        loop.wait(self.where)
        self.ends.append(time.perf_counter())


def _stock(work: Workload, where: torch.device, dtype: torch.dtype) -> tuple[Any, tuple[Any, Any]]:
    """(model, (optimizer, schedule)) as ours, with the stock attention and PEFT's own layers."""
    model = AutoModelForCausalLM.from_pretrained(work.base, dtype=dtype, attn_implementation="sdpa")
    model = model.to(where)
    torch.manual_seed(SEED)
    model, plan = get_peft_model(model, adapter.lora(model, RANK)).eval(), plan_for(work)
    optimizer = loop.optimizer_for(model, plan)
    return model, (optimizer, LambdaLR(optimizer, lambda done: plan.rate(done + 1) / plan.learning_rate))


def _arguments(work: Workload, folder: Path, where: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    return {
        "output_dir": str(folder / "out"),
        "per_device_train_batch_size": work.batch,
        "num_train_epochs": 1,
        "train_sampling_strategy": "sequential",
        "max_grad_norm": loop.CLIP,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": where.type == "cpu",
        "bf16": dtype == torch.bfloat16,
        "gradient_checkpointing": False,
    }


def _train(trainer: Any, clock: Clock) -> Trained:
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return trainer.model, losses, clock.ends


def stock(
    work: Workload,
    folder: Path,
    where: torch.device,
    dtype: torch.dtype = torch.float32,
    *,
    recomputed: bool = False,
) -> Trained:
    """transformers.Trainer with a collator that pads; `recomputed`: with gradient checkpointing."""
    model, optimizers = _stock(work, where, dtype)
    arguments = _arguments(work, folder, where, dtype)
    if recomputed:
        arguments |= {
            "gradient_checkpointing": True,
            "gradient_checkpointing_kwargs": {"use_reentrant": False},
        }
    rows = [
        {
            "input_ids": list(one.ids),
            "labels": [token if flag else IGNORED for token, flag in zip(one.ids, one.learnt, strict=True)],
        }
        for example in in_order(work)
        for one in example.sequences
    ]
    clock = Clock(where)
    trainer = Trainer(
        model=model,
        args=TrainingArguments(**arguments),
        train_dataset=rows,
        data_collator=DataCollatorForSeq2Seq(adapter.load_tokenizer(work.base), label_pad_token_id=IGNORED),
        optimizers=optimizers,
        callbacks=[clock],
    )
    return _train(trainer, clock)


def trl(work: Workload, folder: Path, where: torch.device) -> Trained:
    """TRL's SFTTrainer without packing, which would change the batches."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    dtype = torch.bfloat16 if where.type == "cuda" else torch.float32
    model, optimizers = _stock(work, where, dtype)
    rows = [
        {"input_ids": list(one.ids), "completion_mask": list(one.learnt)}
        for example in in_order(work)
        for one in example.sequences
    ]
    clock = Clock(where)
    # Without completion_only_loss=True the mask of ready token ids is left unread, and all tokens are learnt.
    arguments = _arguments(work, folder, where, dtype)
    config = SFTConfig(**arguments, completion_only_loss=True, max_length=None, packing=False)
    trainer = SFTTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=adapter.load_tokenizer(work.base),
        optimizers=optimizers,
        callbacks=[clock],
    )
    return _train(trainer, clock)


SIDES: dict[str, Callable[[Workload, Path, torch.device], Trained]] = {
    "ours": ours,
    "ours_kept": partial(ours, kept=True),
    "trainer": stock,
    "trainer_bf16": partial(stock, dtype=torch.bfloat16),
    "trainer_bf16_recomputed": partial(stock, dtype=torch.bfloat16, recomputed=True),
    "trl": trl,
}
