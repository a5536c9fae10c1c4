"""The length of an engine's steps, bounded by how fast this machine turns out to be.

vLLM computes up to `--max-num-batched-tokens` of prompts in one step: on a slow processor that takes minutes,
in which nobody else gets a token. Its chunked prefill can cut prompts anywhere, so the scheduler is given a
smaller budget, by the speed of the steps before.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
from pathlib import Path
from typing import Any

from server.engine import steps
from server.engine.steps import Steps

STEP_SECONDS = 1.0  # that a step should take at most
FIRST, LEAST = 64, 32  # tokens of prompts
GROWTH = 4.0  # times as many tokens as the step before, at most


class ChunkSize:
    """The tokens that the next step may compute: FIRST, then by the speed of steps that were full."""

    def __init__(self) -> None:
        self.tokens = FIRST

    def learn(self, tokens: int, seconds: float) -> None:
        """A step of so many tokens took so long. One that had room left and was fast tells nothing of a
        larger one: a few tokens take as long as a few more."""
        if seconds <= 0 or (tokens < self.tokens // 2 and seconds < STEP_SECONDS):
            return
        wanted = int(tokens * min(GROWTH, STEP_SECONDS / seconds))
        self.tokens = max(LEAST, wanted if seconds > STEP_SECONDS else max(self.tokens, wanted))


def install(scheduler: Any, shared: Steps) -> None:
    """`scheduler` (vLLM's) counts its steps in `shared` from here on, and bounds them."""
    stock, most, chunk, seen = scheduler.schedule, scheduler.max_num_scheduled_tokens, ChunkSize(), 0
    cut = may_cut(scheduler)

    @functools.wraps(stock)
    def schedule(*args: Any, **kwargs: Any) -> Any:
        nonlocal seen
        if shared.ended != seen:
            seen = shared.ended
            chunk.learn(shared.tokens, shared.nanoseconds / 1e9)
        if cut:
            scheduler.max_num_scheduled_tokens = min(most, chunk.tokens + streams(scheduler))
        output = stock(*args, **kwargs)
        shared.scheduled += 1
        return output

    scheduler.schedule = schedule
    shared.scheduler_pid = os.getpid()


def may_cut(scheduler: Any) -> bool:
    """Whether prompts can be cut at any token: not where vLLM computes images, or states, in whole blocks."""
    return (
        scheduler.scheduler_config.enable_chunked_prefill
        and not scheduler.need_mamba_block_aligned_split
        and not scheduler.max_num_encoder_input_tokens
    )


def streams(scheduler: Any) -> int:
    """Tokens for the requests that run already, so that those at the end of the list are served too."""
    return len(scheduler.running) * (1 + int(scheduler.num_spec_tokens))


def begin() -> None:
    """Called by vLLM's plugin in each process of the engine: what the one with the scheduler makes is
    installed to, where the server asked for it."""
    path = os.environ.get(steps.PATH)
    if path is None or multiprocessing.parent_process() is None:
        return
    from vllm.v1.core.sched.scheduler import Scheduler

    shared, stock = steps.attach(Path(path)), Scheduler.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        stock(self, *args, **kwargs)
        install(self, shared)

    Scheduler.__init__ = init
