"""What a job's steps make smaller. The loop knows no more of a method than these three verbs.

Called by loop.py and attempt.py; dpo.py has the other objective.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from training import flat


class Objective(Protocol):
    """`batch` are a list of mask.Encoded, or of encode.EncodedPair."""

    def rows(self, batch: Sequence[Any], where: torch.device) -> Iterator[Any]:
        """The batch as flat rows."""

    def weight(self, batch: Sequence[Any]) -> int:
        """What the batch's summed loss is divided by."""

    def score(self, model: Any, row: Any) -> tuple[Tensor, flat.Score]:
        """(summed loss of a row, scalar with gradient; the same as numbers)."""


class Supervised:
    """The mean cross-entropy of the learnt tokens."""

    def rows(self, batch: Sequence[Any], where: torch.device) -> Iterator[flat.Flat]:
        return flat.rows(batch, where)

    def weight(self, batch: Sequence[Any]) -> int:
        return flat.learnt_tokens(batch)

    def score(self, model: Any, row: flat.Flat) -> tuple[Tensor, flat.Score]:
        return flat.score(model, row)


SUPERVISED = Supervised()


def evaluate(
    objective: Objective, model: Any, examples: Sequence[Any], where: torch.device, size: int
) -> flat.Score:
    """The model's score on all examples, `size` of them at a time."""
    total = flat.Score()
    with torch.no_grad():
        for start in range(0, len(examples), size):
            for row in objective.rows(examples[start : start + size], where):
                total.add(objective.score(model, row)[1])
    return total
