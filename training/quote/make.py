"""An order becomes a quote, top to bottom: read, divide, build, plan, two steps. No rows are read."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging

from adapters.base import Base
from records.quotes import Measured, Order, Quote, Refusal
from training import adapter, auto, dpo, flat, material, tuned
from training.auto import Plan
from training.data import load
from training.failure import JobFailed
from training.inputs import Inputs, divide
from training.objective import SUPERVISED, Objective
from training.quote.pace import measure, peak_memory, trained_tokens


def make(
    base: Base,
    order: Order,
    training: Path,
    validation: Path | None = None,
    *,
    parent: Path | None = None,
    began: float | None = None,
) -> Measured:
    """What the job would take, or why it would fail; `began`: time.monotonic() when its process did."""
    began = time.monotonic() if began is None else began
    try:
        return Measured(quote=_quote(base, order, training, validation, parent, began))
    except JobFailed as failure:
        return Measured(refusal=Refusal(code=failure.code, message=str(failure), param=failure.param))


def _quote(
    base: Base, order: Order, training: Path, validation: Path | None, parent: Path | None, began: float
) -> Quote:
    logging.disable_progress_bar()
    if order.training_threads:
        torch.set_num_threads(order.training_threads)
    config, renderer = material.read(base)
    longest = adapter.longest(config)
    data = load(training, renderer, longest, param="training_file", method=order.method)
    held = None
    if validation is not None:
        held = load(validation, renderer, longest, param="validation_file", least=1, method=order.method)
    train, valid = divide(data, held, order.requested, order.seed)
    model = material.build(base, parent, order, order.seed, train[0])
    plan = auto.plan(order.requested, len(train), adapter.hidden_size(config), order.method)
    objective: Objective = SUPERVISED if plan.beta is None else dpo.Dpo(plan.beta)
    inputs = Inputs(train, valid, order.training_sha256, order.validation_sha256, data.truncated)
    loaded = time.monotonic() - began
    found = quote(model, objective, plan, inputs, order.seed, loaded)
    swept = tuned.steps(order.requested, plan, order.largest_rank, model, parent, order.seed)
    share = swept / plan.total_steps
    return found.after(found.seconds * share, round(found.trained_tokens * share))


def quote(
    model: Any, objective: Objective, plan: Plan, inputs: Inputs, seed: int, start_seconds: float = 0.0
) -> Quote:
    """Of a job that is ready for its first step; `start_seconds` is what that took."""
    train, valid = inputs.train, inputs.valid
    pace = measure(model, objective, plan, train, valid, seed)
    where = next(model.parameters()).device
    return Quote(
        examples=len(train),
        held_out=len(valid),
        truncated_examples=inputs.truncated,
        tokens_per_epoch=sum(example.tokens for example in train),
        supervised_tokens_per_epoch=flat.learnt_tokens(train),
        hyperparameters=plan.shown(),
        epochs=plan.n_epochs,
        steps=plan.total_steps,
        stops_early=plan.stops_early,
        trained_tokens=trained_tokens(plan, train),
        peak_memory_bytes=peak_memory(where),
        seconds=round(pace.seconds(plan, train, valid), 2),
        start_seconds=round(start_seconds, 2),
        device=where.type,
    )
