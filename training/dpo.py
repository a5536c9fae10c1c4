"""Direct preference optimisation: the loss is -log sigmoid(beta * margin), the margin being how much more the
preferred answer's log-probability has grown than the other's (Rafailov et al. 2023, equation 7).

Grown since the job began: the reference is the model as the job finds it, the base under a fresh adapter or
the version that the job goes on from. It is asked once per pair, before the first step. Called by attempt.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from training import attention, flat
from training.checkpoint import State
from training.encode import EncodedPair
from training.flat import Flat, Score
from training.inputs import Inputs
from training.objective import evaluate


@dataclass(frozen=True)
class Row:
    """Whole pairs in one flat row. `lengths`: learnt tokens of each answer, a pair's preferred one first;
    `reference`: float [P, 2], NaN while it is not known."""

    flat: Flat
    lengths: tuple[int, ...]
    reference: Tensor


@dataclass(frozen=True)
class Dpo:
    """The objective of a job; `beta` is what a nat of margin weighs."""

    beta: float

    def rows(self, batch: Sequence[EncodedPair], where: torch.device) -> Iterator[Row]:
        return rows(batch, where)

    def weight(self, batch: Sequence[EncodedPair]) -> int:
        return len(batch)

    def score(self, model: Any, row: Row) -> tuple[Tensor, Score]:
        logprobs, hits = answered(model, row)
        rewards = self.beta * (logprobs - row.reference.to(logprobs.dtype))
        margins = rewards[:, 0] - rewards[:, 1]
        loss = -functional.logsigmoid(margins).sum()
        return loss, Score(
            loss=float(loss.detach()),
            hits=hits,
            count=sum(row.lengths[::2]),
            pairs=len(margins),
            wins=int((margins > 0).sum()),
            margin=float(margins.detach().sum()),
        )


def rows(batch: Sequence[EncodedPair], where: torch.device, limit: int = flat.ROW_TOKENS) -> Iterator[Row]:
    """The batch as flat rows of at most `limit` tokens (or one pair): the two answers meet in one loss."""
    for pairs in flat.packed(batch, lambda pair: pair.tokens, limit):
        known = [pair.reference or (float("nan"),) * 2 for pair in pairs]
        yield Row(
            flat=flat.flatten([sequence for pair in pairs for sequence in pair.sequences], where),
            lengths=tuple(
                flat.learnt_tokens([answer]) for pair in pairs for answer in (pair.preferred, pair.other)
            ),
            reference=torch.tensor(known, dtype=torch.float64, device=where),
        )


def answered(model: Any, row: Row) -> tuple[Tensor, int]:
    """(log-probabilities in nats [P, 2]; of the preferred answers' tokens, those that are the likeliest)."""
    logits = attention.wide(flat.logits(model, row.flat))
    logprobs = -functional.cross_entropy(logits, row.flat.answers, reduction="none")
    hits = (logits.detach().argmax(-1) == row.flat.answers).split(row.lengths)
    sums = torch.stack([part.sum() for part in logprobs.split(row.lengths)])
    return sums.view(-1, 2), int(sum(part.sum() for part in hits[::2]))


def reference(model: Any, pairs: Sequence[EncodedPair], where: torch.device, size: int) -> Tensor:
    """float64 [N, 2] on the CPU: the log-probabilities of the answers as the model is now, in order."""
    found = []
    with torch.no_grad():
        for start in range(0, len(pairs), size):
            for row in rows(pairs[start : start + size], where):
                found.append(answered(model, row)[0].double().cpu())
    return torch.cat(found)


def refer(objective: Dpo, model: Any, inputs: Inputs, state: State, size: int) -> Inputs:
    """The inputs with what the model thought of their pairs before the first step: asked once in a job, and
    kept in its state."""
    pairs, count = cast("list[EncodedPair]", [*inputs.train, *inputs.valid]), len(inputs.train)
    where = next(model.parameters()).device
    known = state.reference is not None
    if state.reference is None:
        state.reference = reference(model, pairs, where, size)
    pairs = referred(pairs, state.reference)
    if not known and inputs.valid:
        state.accuracy = evaluate(objective, model, pairs[count:], where, size).accuracy
    return replace(inputs, train=pairs[:count], valid=pairs[count:])


def referred(pairs: Sequence[EncodedPair], known: Tensor) -> list[EncodedPair]:
    """The pairs with what `reference` has found of them."""
    return [
        replace(pair, reference=(one, two)) for pair, (one, two) in zip(pairs, known.tolist(), strict=True)
    ]
