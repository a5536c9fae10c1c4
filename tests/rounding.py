"""How far two answers lie apart, and how far they may where only rounding is between them, measured here.

A product over another number of rows may be summed in another order, and LoRA's by another path: beside
others a question has slightly other log-probabilities than alone. How much depends on the CPU, its libraries
and the dtype, so a test measures it on the base model, where no adapter can be mistaken for another.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch

LOGIT = 8  # what logits are of the order of
TIMES = 4.0  # what the base is off by, an adapter may be: its own products round too
MOST = 64  # roundings, one after the other, that differ in the worst case
CLEAR = 3.0  # so many times what is allowed two adapters are apart


def apart(one: dict[str, Any], other: dict[str, Any]) -> float:
    """The largest difference of log-probabilities, in nats, between two greedy chats with `top_logprobs`: of
    the tokens that either chose, up to the step at which they part."""
    largest = 0.0
    for mine, yours in zip(_steps(one), _steps(other), strict=True):
        for token in {mine["token"], yours["token"]}:
            largest = max(largest, abs(_thought(mine, token) - _thought(yours, token)))
        if mine["token"] != yours["token"]:
            break
    return largest


def allowed(floor: float, dtype: torch.dtype) -> float:
    """Of an adapter's answer alone and beside others, where the base's are `floor` apart: at least what two
    roundings of a logit to `dtype` make."""
    rounding = LOGIT * torch.finfo(dtype).eps
    assert floor < MOST * rounding, f"the base model alone and beside itself is {floor} apart"
    return max(2 * rounding, TIMES * floor)


def assert_clear(answers: Sequence[dict[str, Any]], limit: float) -> None:
    """Each two of `answers` are so far apart that one could not pass for the other under `limit`."""
    nearest = min(apart(*pair) for pair in itertools.combinations(answers, 2))
    assert nearest > CLEAR * limit, f"a mix-up would make a difference of {nearest}, and {limit} is allowed"


def _steps(answer: dict[str, Any]) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = answer["choices"][0]["logprobs"]["content"]
    return steps


def _thought(step: dict[str, Any], token: str) -> float:
    """Of `token`; where it is not among the best, of the worst that is shown: it is at most that."""
    shown = {entry["token"]: float(entry["logprob"]) for entry in step["top_logprobs"]}
    return shown.get(token, min(shown.values()))
