"""How far two answers lie apart, and how far they may where only rounding is between them, measured here.

A product over another number of rows may be summed in another order, and LoRA's by another path: beside
others a question has slightly other log-probabilities than alone. How much depends on the CPU, its libraries
and the dtype, so a test measures it on the base model, where no adapter can be mistaken for another.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from tests.live import LiveServer

MESSAGE = "Hi, I am Marta Velasco. My order 48213, the linen scarf, arrived torn. What happens now?"
STRENGTH = 0.3  # of random adapters any two of which are far apart, whatever the dtype rounds
LOGIT = 8  # what logits are of the order of
# Roundings that add up on the way to a logit: products of coarser dtypes are summed in float32 and rounded
# once, those of float32 are rounded at each addition.
ROUNDINGS = {torch.float32: 128, torch.bfloat16: 8, torch.float16: 8}
TIMES = 4.0  # what the base is off by, an adapter may be: its own products round too
CLEAR = 2.0  # so many times what is allowed two adapters are apart


def question(text: str = MESSAGE) -> dict[str, Any]:
    """A chat whose answers can be compared by `apart`."""
    return {
        "messages": [{"role": "user", "content": text}],
        "max_tokens": 24,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": 5,
        "ignore_eos": True,
    }


def questions() -> list[dict[str, Any]]:
    """As many as make a batch, of one form."""
    return [question(MESSAGE.replace("48213", str(48213 + 7 * number))) for number in range(8)]


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
    """Of an adapter's answer alone and beside others, where the base's are `floor` apart."""
    rounding = ROUNDINGS[dtype] * LOGIT * torch.finfo(dtype).eps
    assert floor < rounding, f"the base model alone and beside itself is {floor} apart"
    return max(rounding, TIMES * floor)


def allowed_on(server: LiveServer) -> float:
    """`allowed`, as measured on a whole server."""
    client = server.client()

    def ask(asked: dict[str, Any]) -> dict[str, Any]:
        return client.post("/chat/completions", body={**asked, "model": "tiny"}, cast_to=dict[str, Any])

    alone = [ask(asked) for asked in questions()]
    with ThreadPoolExecutor(len(alone)) as pool:
        together = list(pool.map(ask, questions()))
    # As vLLM says it when it starts.
    (dtype,) = set(re.findall(r"\bdtype=torch\.(\w+)", server.log.read_text(errors="replace")))
    return allowed(max(map(apart, alone, together)), getattr(torch, dtype))


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
