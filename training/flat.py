"""A batch without padding: its sequences lie in one row, each attends to itself (attention.py), LM head and
loss are computed at learnt positions only. Exact: loss and gradients equal those of one sequence at a time.

No token is spent on padding and no logit on a position that is not learnt. Called by loop.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from training import attention
from training.cross_entropy import CrossEntropy
from training.failure import unsupported_base
from training.mask import Sequence as Tokens

ROW_TOKENS = 8192

T = TypeVar("T")


class Example(Protocol):
    """What lies in a row: mask.Encoded, encode.EncodedPair."""

    @property
    def sequences(self) -> tuple[Tokens, ...]: ...


@dataclass(frozen=True)
class Flat:
    """`ids`, `positions`: int64 [1, T]; `asked`: int64 [S], where a learnt token comes next;
    `answers`: int64 [S], that token; `segments`: lengths of the sequences, which sum to T; `bounds`: the same
    as attention.bounds has them."""

    ids: Tensor
    positions: Tensor
    asked: Tensor
    answers: Tensor
    segments: tuple[int, ...]
    bounds: Tensor | None


@dataclass
class Score:
    """Sums over learnt tokens: `loss` in nats, `hits` where the likeliest token is right.

    Of `pairs` (dpo.py) the loss is one per pair, and the tokens are the preferred answers'; `wins` are pairs
    whose preferred answer has the higher reward, `margin` sums by how much, in nats.
    """

    loss: float = 0.0
    hits: int = 0
    count: int = 0
    pairs: int = 0
    wins: int = 0
    margin: float = 0.0

    def add(self, other: Score) -> None:
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    def metrics(self) -> dict[str, float]:
        """By OpenAI's names, and of pairs by TRL's with an underscore."""
        found = {"loss": self.mean_loss, "mean_token_accuracy": self.accuracy}
        if self.pairs:
            found |= {"reward_accuracy": self.wins / self.pairs, "reward_margin": self.margin / self.pairs}
        return found

    @property
    def mean_loss(self) -> float:
        return self.loss / max(1, self.pairs or self.count)

    @property
    def accuracy(self) -> float:
        return self.hits / max(1, self.count)


def rows(batch: Sequence[Example], device: torch.device, limit: int = ROW_TOKENS) -> Iterator[Flat]:
    """The batch as flat rows of at most `limit` tokens (or one sequence): bounds the memory of a step."""
    sequences = (sequence for example in batch for sequence in example.sequences)
    for held in packed(sequences, lambda sequence: len(sequence.ids), limit):
        yield flatten(held, device)


def packed(items: Iterable[T], size: Callable[[T], int], limit: int) -> Iterator[list[T]]:
    """The items in their order, in groups whose sizes sum to at most `limit` (or of one item)."""
    held: list[T] = []
    total = 0
    for item in items:
        if held and total + size(item) > limit:
            yield held
            held, total = [], 0
        held.append(item)
        total += size(item)
    if held:
        yield held


def flatten(sequences: Sequence[Tokens], device: torch.device) -> Flat:
    ids = torch.cat([torch.tensor(sequence.ids) for sequence in sequences])
    positions = torch.cat([torch.arange(len(sequence.ids)) for sequence in sequences])
    learnt = torch.cat([torch.tensor(list(sequence.learnt), dtype=torch.bool) for sequence in sequences])
    # The first token of a sequence has no predecessor in it and is never asked for.
    answered = torch.nonzero(learnt & (positions > 0)).squeeze(1)
    segments = tuple(len(sequence.ids) for sequence in sequences)
    return Flat(
        ids=ids[None].to(device),
        positions=positions[None].to(device),
        asked=(answered - 1).to(device),
        answers=ids[answered].to(device),
        segments=segments,
        bounds=attention.bounds(segments, device),
    )


def logits(model: Any, flat: Flat) -> Tensor:
    """[S, vocabulary] at the positions that are asked, with gradient, in the model's dtype."""
    # use_cache=False is not a saving but part of exactness: with a cache the segments leak into each other.
    answer = model(
        input_ids=flat.ids,
        position_ids=flat.positions,
        attention_mask=None,
        use_cache=False,
        logits_to_keep=flat.asked,
        segments=flat.segments,
        bounds=flat.bounds,
    )
    # Not [0]: the backward of a selection fills and copies a tensor of this size once more.
    found: Tensor = answer.logits.squeeze(0)
    return found


def logprobs(model: Any, flat: Flat) -> Tensor:
    """float32 [S]: the log-probability of each learnt token, in nats."""
    found = functional.log_softmax(attention.wide(logits(model, flat)), -1)
    return found.gather(1, flat.answers[:, None]).squeeze(1)


def score(model: Any, flat: Flat) -> tuple[Tensor, Score]:
    """(summed cross-entropy in nats, float32 scalar with gradient; the same as numbers)."""
    loss, hits = CrossEntropy.apply(logits(model, flat), flat.answers)
    return loss, Score(float(loss.detach()), int(hits), len(flat.answers))


def learnt_tokens(batch: Sequence[Example]) -> int:
    """How many tokens `score` asks for over the whole batch."""
    return sum(sum(sequence.learnt[1:]) for example in batch for sequence in example.sequences)


def try_out(model: Any, example: Example, device: torch.device) -> None:
    """One forward. Raises JobFailed when the model does not take what `logits` hands it."""
    try:
        with torch.no_grad():
            for row in rows([example], device):
                logits(model, row)
    except (TypeError, ValueError) as error:
        raise unsupported_base(error) from error
