"""The training loop: next batch, forward, backward, average, step.

Each of the recipe's processes works on rows of its own with one thread, and their gradients are averaged:
on two cores this is faster than two threads, and one machine and seed give one result. Called by build.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed
from torch.nn import functional
from transformers import LlamaForCausalLM

from training.tiny.corpus import Corpus, Row
from training.tiny.recipe import Recipe


@dataclass(frozen=True)
class Progress:
    """What one step tells: loss in nats per token, and the tokens that all processes read."""

    step: int
    loss: float
    tokens: int
    kind: str


def pad(rows: list[Row], filler: int) -> tuple[Tensor, Tensor]:
    """int64 ids and float32 loss weights, both (rows, longest), padded at the right."""
    longest = max(len(row) for row, _ in rows)
    ids = np.full((len(rows), longest), filler, dtype=np.int64)
    weights = np.zeros((len(rows), longest), dtype=np.float32)
    for index, (row, wanted) in enumerate(rows):
        ids[index, : len(row)] = row
        weights[index, : len(row)] = wanted
    return torch.from_numpy(ids), torch.from_numpy(weights)


def loss_of(model: LlamaForCausalLM, rows: list[Row], filler: int) -> Tensor:
    """Weighted mean of the tokens' cross-entropy in float32; causal attention needs no padding mask."""
    ids, weights = pad(rows, filler)
    weights = weights[:, 1:]
    wanted = weights > 0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        states = model.model(input_ids=ids, use_cache=False).last_hidden_state
        scores = functional.linear(states[:, :-1][wanted], model.lm_head.weight)
    losses = functional.cross_entropy(scores.float(), ids[:, 1:][wanted], reduction="none")
    return (losses * weights[wanted]).sum() / weights.sum()


def optimizers(model: LlamaForCausalLM, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for embeddings and norms."""
    matrices = [weight for name, weight in model.named_parameters() if weight.ndim == 2 and "layers" in name]
    others = [weight for name, weight in model.named_parameters() if weight.ndim != 2 or "layers" not in name]
    return [
        torch.optim.Muon(
            matrices, lr=recipe.matrix_rate, weight_decay=0.01, momentum=0.95, adjust_lr_fn="original"
        ),
        torch.optim.AdamW(others, lr=recipe.vector_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]


def rate_share(recipe: Recipe, step: int) -> float:
    """The part of the full learning rate at a step: warm-up, constant, linear to zero."""
    return min(1.0, (step + 1) / recipe.warmup_steps, (recipe.steps - step) / recipe.decay_steps)


def average(model: LlamaForCausalLM, processes: int) -> None:
    """Replaces every gradient by the mean over the processes."""
    if processes == 1:
        return
    grads = [weight.grad for weight in model.parameters() if weight.grad is not None]
    flat = torch.cat([grad.reshape(-1) for grad in grads])
    distributed.all_reduce(flat)
    flat /= processes
    for grad, part in zip(grads, flat.split([grad.numel() for grad in grads]), strict=True):
        grad.copy_(part.view_as(grad))


def steps(
    model: LlamaForCausalLM, corpus: Corpus, recipe: Recipe, resume: Path | None = None
) -> Iterator[Progress]:
    """Trains the model in place and yields after every step; `resume` is a file that `checkpoint` wrote."""
    chosen = optimizers(model, recipe)
    rates = [recipe.matrix_rate, recipe.vector_rate]
    filler = int(corpus.tokenizer.pad_token_id)
    first = restore(resume, model, chosen) if resume else 0
    for step in range(recipe.steps):
        repeating = step % recipe.repeat_every == 0
        rows = corpus.repeats(recipe.repeat_rows) if repeating else corpus.batch()
        if step < first:
            continue
        loss = loss_of(model, rows, filler)
        loss.backward()
        average(model, recipe.processes)
        for optimizer, rate in zip(chosen, rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate * rate_share(recipe, step)
            optimizer.step()
            optimizer.zero_grad()
        tokens = sum(len(row) for row, _ in rows) * recipe.processes
        yield Progress(step, float(loss.detach()), tokens, "repeats" if repeating else "text")
        if recipe.checkpoint and (step + 1) % recipe.checkpoint_steps == 0 and corpus.rank == 0:
            checkpoint(recipe.checkpoint, step + 1, model, chosen)


def checkpoint(path: Path, step: int, model: LlamaForCausalLM, chosen: list[torch.optim.Optimizer]) -> None:
    """Writes all that a later run needs to go on exactly from `step`."""
    state = {"step": step, "model": model.state_dict(), "optimizers": [one.state_dict() for one in chosen]}
    torch.save(state, path.with_suffix(".part"))
    path.with_suffix(".part").rename(path)


def restore(path: Path, model: LlamaForCausalLM, chosen: list[torch.optim.Optimizer]) -> int:
    """Loads what `checkpoint` wrote; the number of steps already done."""
    state: dict[str, Any] = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    for optimizer, saved in zip(chosen, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    return int(state["step"])
