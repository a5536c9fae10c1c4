"""What the published adapter and the base think of a few rows, so that serving can prove it serves the same.

Computed with the weights as they are published, rounded to bf16, over the base as it is served. Called by
attempt.py at each checkpoint; adapters/proof.py is what the server reads.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from adapters.base import Base
from adapters.proof import Proof, Row
from training import adapter, flat, material
from training.encode import wanted
from training.inputs import Inputs
from training.mask import Encoded, Sequence

ROWS = 4
# The server asks for them while it answers others. Past 128 tokens a proof gains nothing, and stalls streams.
TOKENS = 128
CONTEXT = 32  # tokens kept before the first learnt one of a longer row
DIGITS = 5


def of_version(
    means: material.Means, base: Base, model: Any, folder: Path, inputs: Inputs
) -> dict[str, Any] | None:
    """What serving proves the version in `folder` by, which is `model` as it is now: held-out examples, where
    there are some."""
    examples = [wanted(example) for example in inputs.valid or inputs.train]
    served = material.as_served(means, base, model, folder)
    found = compute(served, examples, next(served.parameters()).device)
    return found.model_dump() if found else None


def compute(model: Any, examples: list[Encoded], where: torch.device) -> Proof | None:
    """The log-probabilities of the learnt tokens of up to ROWS sequences, with the adapter and without.

    None when no sequence has a learnt token behind another.
    """
    sequences = list(islice(windows(examples), ROWS))
    if not sequences:
        return None
    with adapter.as_published(model):
        trained = [_logprobs(model, sequence, where) for sequence in sequences]
    with model.disable_adapter():
        base = [_logprobs(model, sequence, where) for sequence in sequences]
    return Proof(
        rows=[
            Row(token_ids=list(sequence.ids), learnt=_learnt(sequence), logprobs=ours, base_logprobs=bare)
            for sequence, ours, bare in zip(sequences, trained, base, strict=True)
        ]
    )


def windows(examples: list[Encoded]) -> Iterator[Sequence]:
    """Each sequence, cut to TOKENS where it is longer: from shortly before the first token that is learnt."""
    for sequence in (sequence for example in examples for sequence in example.sequences):
        first = sequence.learnt.find(1, 1)
        if first < 0:
            continue
        start = max(0, min(first - CONTEXT, len(sequence.ids) - TOKENS))
        ids, learnt = sequence.ids[start : start + TOKENS], sequence.learnt[start : start + TOKENS]
        yield Sequence(array("i", ids), learnt, len(ids))


def _learnt(sequence: Sequence) -> list[int]:
    return [place for place, learnt in enumerate(sequence.learnt) if learnt and place]


def _logprobs(model: Any, sequence: Sequence, where: torch.device) -> list[float]:
    (row,) = flat.rows([Encoded(0, (sequence,))], where)
    with torch.no_grad():
        return [round(value, DIGITS) for value in flat.logprobs(model, row).tolist()]
