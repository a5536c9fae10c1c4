"""Whether the served is the trained: log-probabilities that the trainer has kept against those of the engine.

The vocabulary between training/proof.py, which makes a Proof, and server/prover.py, which asks the engine for
the same rows; and the comparison. All figures are means of absolute differences over tokens, in nats.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

# The same weights in float32 and in bf16 differ by 0.01 to 0.05 (tiny; DECISIONS.md, "Proofs").
MATCH = 0.08
# Of an engine that computes more coarsely than training did (a quantized base) more is allowed: so many
# times what its answers without any adapter are off by. Past FAR it is another base.
BASE_TIMES, FAR = 2.0, 0.5
# At least this part of what was learnt must show. What was learnt has to be VISIBLE for that: less than that
# drowns in rounding, and is no more than the base.
PART, VISIBLE = 0.5, 0.02
# Of an import nobody knows what it learnt: on any text it must be this far from the base, and so many times
# farther than from itself.
DIFFERS, DIFFERS_TIMES = 0.01, 3.0

Values = Sequence[Sequence[float]]  # by row, by learnt token


class Row(BaseModel):
    """One text: `learnt` are the positions in `token_ids`, never the first, that the figures are of."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    token_ids: Annotated[list[int], Field(min_length=2)]
    learnt: Annotated[list[int], Field(min_length=1)]
    logprobs: list[FiniteFloat]
    base_logprobs: list[FiniteFloat]

    @model_validator(mode="after")
    def _is_whole(self) -> Row:
        if not len(self.learnt) == len(self.logprobs) == len(self.base_logprobs):
            raise ValueError("a row needs one log-probability per learnt token")
        if not all(0 < place < len(self.token_ids) for place in self.learnt):
            raise ValueError("a learnt token must be in the row, behind another")
        return self


class Proof(BaseModel):
    """What the trainer computed with the published weights; lies in the version's row."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: Annotated[list[Row], Field(min_length=1)]


@dataclass(frozen=True)
class Verdict:
    """`problem` is None when the version may go live, else a sentence; `figures` are what it rests on."""

    problem: str | None
    figures: dict[str, Any]

    @property
    def holds(self) -> bool:
        return self.problem is None


def compare(stored: Proof, served: Values, served_base: Values) -> Verdict:
    """The engine's log-probabilities of the stored rows, with the version and with the base.

    Raises ValueError when they are not of as many tokens.
    """
    trained, learnt_on = (
        _flat(row.logprobs for row in stored.rows),
        _flat(r.base_logprobs for r in stored.rows),
    )
    ours, base = _flat(served), _flat(served_base)
    if not _all_finite(ours, base):
        return _no_numbers(len(trained))
    off, base_off = _apart(ours, trained), _apart(base, learnt_on)
    effect, learnt = _apart(ours, base), _apart(trained, learnt_on)
    figures = _figures(len(trained), off=off, base_off=base_off, effect=effect, learnt=learnt)
    if base_off > FAR:
        problem = (
            f"even without an adapter the engine is {base_off:.2f} nats a token off what training computed "
            f"(allowed: {FAR}), so it serves another base model"
        )
    elif learnt >= VISIBLE and effect < PART * learnt:
        problem = (
            f"the engine answers almost as without it: {effect:.3f} nats a token from the base, where"
            f" training came to {learnt:.3f}"
        )
    elif off > (allowed := max(MATCH, BASE_TIMES * base_off)):
        problem = (
            f"the engine's log-probabilities are {off:.3f} nats a token off the trainer's"
            f" (allowed: {allowed:.3f})"
        )
    else:
        problem = None
    return Verdict(problem, figures)


def compare_alone(first: Values, again: Values, base: Values) -> Verdict:
    """Without a trainer's figures (an import): the same text twice with the version, and with the base.

    Raises ValueError when they are not of as many tokens.
    """
    one, two, bare = _flat(first), _flat(again), _flat(base)
    if not _all_finite(one, two, bare):
        return _no_numbers(len(bare))
    unsteady, effect = _apart(one, two), _apart(one, bare)
    figures = _figures(len(bare), unsteady=unsteady, effect=effect)
    if unsteady > MATCH:
        problem = (
            f"two answers of the engine to one text are {unsteady:.3f} nats a token apart (allowed: {MATCH})"
        )
    elif effect < (needed := max(DIFFERS, DIFFERS_TIMES * unsteady)):
        problem = (
            f"the engine answers as without it: {effect:.4f} nats a token from the base"
            f" (needed: {needed:.4f})"
        )
    else:
        problem = None
    return Verdict(problem, figures)


def _no_numbers(tokens: int) -> Verdict:
    return Verdict("the engine's log-probabilities are no numbers", _figures(tokens))


def _flat(rows: Iterable[Sequence[float]]) -> list[float]:
    return [value for row in rows for value in row]


def _all_finite(*groups: Sequence[float]) -> bool:
    return all(math.isfinite(value) for group in groups for value in group)


def _apart(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one)


def _figures(tokens: int, **means: float) -> dict[str, Any]:
    return {"tokens": tokens} | {name: round(value, 5) for name, value in means.items()}
