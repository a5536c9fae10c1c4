"""How a model trains on a GPU, held against how it does elsewhere. Called by gpu_paths.py."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from bench.gpu_kernel import Check, deviation
from bench.trainers import RANK
from bench.workloads import BATCH, SEED
from training import adapter, attention, auto, loop, recompute
from training.mask import Encoded

CPU = torch.device("cpu")
ROUNDING = 1e-3  # a little noise is allowed where two runs happened to agree to the last bit


@contextmanager
def without_kernel() -> Iterator[None]:
    with patch.object(attention, "_has_kernel", lambda _: False):
        yield


def built(
    base: Path, where: torch.device, dtype: torch.dtype | None = None, *, four_bit: bool = False
) -> Any:
    """With a LoRA that has an effect, the same on every device and in every type."""
    model = adapter.attach(adapter.load_base(base, where, dtype, four_bit=four_bit), RANK, SEED)
    source = torch.Generator().manual_seed(SEED)
    for parameter in adapter.trained(model):
        parameter.data = torch.empty(parameter.shape).normal_(std=0.02, generator=source).to(where)
    return model


def learnt(model: Any, batch: list[Encoded], where: torch.device) -> tuple[float, list[Tensor]]:
    """(loss, gradients) of a batch."""
    loss = loop.backward(model, batch, where).mean_loss
    found = [parameter.grad.clone() for parameter in adapter.trained(model)]
    model.zero_grad()
    return loss, found


def whole_model(base: Path, batch: list[Encoded], where: torch.device) -> Iterator[Check]:
    """A batch's gradients over a bf16 base: by the kernel and, as the usual, by the loop, from float32."""
    exact = learnt(built(base, where, torch.float32), batch, where)
    model = built(base, where, torch.bfloat16)
    at_once = learnt(model, batch, where)
    with without_kernel():
        one_by_one = learnt(model, batch, where)
    usual = deviation(one_by_one[1], exact[1])
    yield Check("gradients over bf16", deviation(at_once[1], exact[1]), usual, 1.5 * usual + ROUNDING)


def checkpointing(
    base: Path, batch: list[Encoded], where: torch.device, *, four_bit: bool = False
) -> Iterator[Check]:
    """With and without, over the base as a job has it; the usual is of two runs without."""
    model = built(base, where, four_bit=four_bit)
    loss, expected = learnt(model, batch, where)
    usual = deviation(learnt(model, batch, where)[1], expected)
    recompute.wrap(model)
    again, found = learnt(model, batch, where)
    name = "checkpointing over 4 bits" if four_bit else "checkpointing"
    yield Check(f"{name}, loss", abs(again - loss) / loss, 0.0, 1e-6)
    yield Check(f"{name}, gradients", deviation(found, expected), usual, 3 * usual + ROUNDING)


def steps(
    model: Any, examples: list[Encoded], optimizer: torch.optim.Optimizer | None = None, done: int = 0
) -> Iterator[loop.Step]:
    plan = auto.plan({"n_epochs": 2, "batch_size": BATCH}, len(examples), 1024)
    optimizer = optimizer or loop.optimizer_for(model, plan)
    yield from loop.steps(model, optimizer, plan, examples, [], seed=SEED, done=done)


def curve(found: Sequence[loop.Step]) -> list[Tensor]:
    return [torch.tensor([step.train.mean_loss for step in found])]


def learning(base: Path, examples: list[Encoded], where: torch.device) -> Iterator[Check]:
    """The losses of two epochs as a job runs them, from those in float32 on the CPU; usual: of two runs."""
    one, other = (list(steps(built(base, where), examples)) for _ in range(2))
    exact = list(steps(built(base, CPU, torch.float32), examples))
    usual = deviation(curve(other), curve(one))
    yield Check("losses of two epochs", deviation(curve(one), curve(exact)), usual, 5e-3)


def resuming(base: Path, examples: list[Encoded], where: torch.device) -> Iterator[Check]:
    """Two epochs cut in the middle of the second, what was kept read from bytes; usual: of two whole runs."""
    whole, other, model = (built(base, where) for _ in range(3))
    one = list(steps(whole, examples))
    again = list(steps(other, examples))
    half = len(one) * 3 // 4
    plan = auto.plan({"n_epochs": 2, "batch_size": BATCH}, len(examples), 1024)
    optimizer = loop.optimizer_for(model, plan)
    for step in steps(model, examples, optimizer):
        if step.step == half:
            break
    file = io.BytesIO()
    torch.save((adapter.weights(model), optimizer.state_dict()), file)
    file.seek(0)
    tensors, state = torch.load(file, map_location="cpu", weights_only=True)
    taken_up = built(base, where)
    after = loop.optimizer_for(taken_up, plan)
    adapter.restore(taken_up, tensors)
    after.load_state_dict(state)
    kept = [held[name] for held in after.state.values() for name in ("exp_avg", "exp_avg_sq")]
    had = [held[name] for held in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")]
    put_back = deviation([*adapter.trained(taken_up), *kept], [*adapter.trained(model), *had])
    yield Check("resume, what is put back", put_back, 0.0, 0.0)
    rest = list(steps(taken_up, examples, after, done=half))
    usual = deviation(curve(again[half:]), curve(one[half:]))
    yield Check("resume, losses", deviation(curve(rest), curve(one[half:])), usual, 3 * usual + ROUNDING)
    usual = deviation(adapter.trained(other), adapter.trained(whole))
    found = deviation(adapter.trained(taken_up), adapter.trained(whole))
    yield Check("resume, adapter", found, usual, 3 * usual + ROUNDING)
