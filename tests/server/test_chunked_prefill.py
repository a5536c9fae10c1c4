"""The length of steps follows the speed of the machine, and what a step may hold is never too little."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from server.engine import steps
from server.engine.base import Engine, Kind
from server.engine.chunked_prefill import FIRST, LEAST, STEP_SECONDS, ChunkSize, install
from server.engine.vllm import VllmEngine

MOST = 2048


def after(speed: float, prompts: int = 12, first: int = FIRST) -> ChunkSize:
    """What full steps at so many tokens a second lead to."""
    chunk = ChunkSize()
    chunk.tokens = first
    for _ in range(prompts):
        chunk.learn(chunk.tokens, chunk.tokens / speed)
    return chunk


@pytest.mark.parametrize("speed", [40, 260, 2000])
@pytest.mark.parametrize("first", [LEAST, FIRST, 4096])
def test_full_steps_come_to_take_as_long_as_they_should(speed: float, first: int) -> None:
    assert after(speed, first=first).tokens == pytest.approx(max(LEAST, speed * STEP_SECONDS), rel=0.1)


def test_a_fast_machine_computes_a_prompt_of_700_tokens_in_three_steps_at_first_and_in_one_from_then_on() -> (
    None
):
    chunk, left, taken = ChunkSize(), 700, 0
    while left > 0:
        step = min(left, chunk.tokens)
        chunk.learn(step, step / 20_000)
        left, taken = left - step, taken + 1
    assert taken == 3
    assert after(20_000).tokens > MOST


def test_small_steps_tell_nothing_unless_they_are_slow() -> None:
    chunk = after(500)
    before = chunk.tokens
    chunk.learn(16, 0.06)  # sixteen streams get a token each: no measure of a prompt's speed
    assert chunk.tokens == before
    chunk.learn(16, 4.0)  # of a processor that is throttled now
    assert chunk.tokens < before


def test_no_step_is_too_small_to_get_on() -> None:
    assert after(0.5).tokens == LEAST


def scheduler(running: int = 0, **config: Any) -> Any:
    """As much of vLLM's Scheduler as is relied on; `schedule` gives back what it may take."""
    made = SimpleNamespace(
        scheduler_config=SimpleNamespace(enable_chunked_prefill=True),
        need_mamba_block_aligned_split=False,
        max_num_encoder_input_tokens=0,
        num_spec_tokens=0,
        max_num_scheduled_tokens=MOST,
        running=[None] * running,
    )
    for name, value in config.items():
        setattr(made.scheduler_config if name == "enable_chunked_prefill" else made, name, value)
    made.schedule = lambda: made.max_num_scheduled_tokens
    return made


def test_streams_that_run_are_served_besides_and_the_operators_bound_stays() -> None:
    shared, path = steps.create()
    path.unlink()
    made = scheduler(running=200)
    install(made, shared)
    assert made.schedule() == FIRST + 200
    assert shared.scheduled == 1
    for _ in range(12):
        shared.tokens, shared.nanoseconds, shared.ended = made.schedule(), 1_000_000, shared.ended + 1
    assert made.schedule() == MOST


@pytest.mark.parametrize(
    "config",
    [
        {"enable_chunked_prefill": False},
        {"need_mamba_block_aligned_split": True},
        {"max_num_encoder_input_tokens": 576},
    ],
)
def test_what_cannot_be_cut_anywhere_is_left_whole(config: dict[str, Any]) -> None:
    shared, path = steps.create()
    path.unlink()
    made = scheduler(**config)
    install(made, shared)
    assert made.schedule() == MOST
    assert shared.scheduled == 1


@pytest.mark.engine
@pytest.mark.asyncio(loop_scope="module")
async def test_an_engine_that_has_just_started_cuts_a_long_prompt_and_its_steps_can_be_seen(
    real_engine: Engine,
) -> None:
    assert isinstance(real_engine, VllmEngine)
    seen = real_engine.steps
    assert 0 < seen.scheduler_pid != seen.worker_pid > 0
    asked = {"prompt": [list(range(300, 1800))], "max_tokens": 1, "temperature": 0}
    before = seen.ended
    _ = [item async for item in real_engine.generate(Kind.COMPLETION, asked, None)]
    assert seen.ended - before >= 3, "64 tokens, and at most four times as many each time"
    assert 0 < seen.tokens <= 1500
    assert seen.nanoseconds > 0
    assert seen.cost > 0
