"""A hang is told from slowness by steps and processor time alone: never by silence, nor by the clock."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from server.engine import steps, watchdog
from server.engine.watchdog import FLOOR_SECONDS, TIMES, Judge, Sample, Watchdog

HANG = 30.0
RUNNING = Sample(
    scheduled=2, ended=1, begun_tokens=700, cost=0.01, scheduler_used=5.0, worker_used=9.0, worker_thread=8.0
)
WAITING = replace(RUNNING, ended=2)  # requests, but no step


def judged(first: Sample, seconds: int, scheduler: float = 0.0, worker: float = 0.0) -> str | None:
    """What a judge says after so many seconds without the end of a step, in each of which the engine's
    processes use so many processor seconds."""
    judge = Judge(HANG)
    judge.look(first, 1.0)
    for second in range(1, seconds + 1):
        now = replace(
            first,
            scheduler_used=first.scheduler_used + second * scheduler,
            worker_used=first.worker_used + second * worker,
            worker_thread=first.worker_thread + second * worker,
        )
        problem = judge.look(now, 1.0)
        if problem is not None:
            return problem
    return None


@pytest.mark.parametrize("sample", [RUNNING, WAITING], ids=["in a step", "between steps"])
def test_work_without_processor_time_is_a_hang(sample: Sample) -> None:
    assert judged(sample, int(HANG) - 1) is None
    assert "has done nothing for 30 s" in str(judged(sample, int(HANG)))


@pytest.mark.parametrize("share", [0.02, 0.1, 1.0])
def test_a_step_that_a_throttled_processor_computes_is_none(share: float) -> None:
    """700 tokens at 10 ms each: 7 s of the processor, which may come over six minutes."""
    assert judged(RUNNING, int(7 / share), worker=share) is None


def test_a_step_of_many_times_the_processor_time_of_its_tokens_is_a_hang() -> None:
    allowed = max(FLOOR_SECONDS, TIMES * 700 * 0.01)
    assert judged(RUNNING, int(allowed) - 1, worker=1.0) is None
    assert "one step of 700 tokens" in str(judged(RUNNING, int(allowed) + 1, worker=1.0))
    dear = replace(RUNNING, cost=0.1)  # a processor that takes 0.1 s per token: 70 s, and 700 are allowed
    assert judged(dear, 690, worker=1.0) is None
    assert "one step of 700 tokens" in str(judged(dear, 710, worker=1.0))


def test_a_scheduler_that_waits_busily_for_a_worker_that_is_stopped_does_not_hide_it() -> None:
    assert "has done nothing" in str(judged(RUNNING, int(HANG), scheduler=1.0))


def test_a_scheduler_at_work_between_steps_is_no_hang() -> None:
    """Such as one that compiles a grammar for minutes."""
    assert judged(WAITING, 600, scheduler=0.5) is None


def test_each_end_of_a_step_begins_anew() -> None:
    judge = Judge(HANG)
    for second in range(10 * int(HANG)):
        still = replace(RUNNING, scheduled=2 + second // 20, ended=1 + second // 20)
        assert judge.look(still, 1.0) is None


def test_an_engine_without_work_never_hangs() -> None:
    judge = Judge(HANG)
    for _ in range(10 * int(HANG)):
        assert judge.look(None, 1.0) is None
    assert judge.look(WAITING, 1.0) is None, "what comes after counts from there"


def test_time_in_which_our_own_loop_was_blocked_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody took the engine's answers meanwhile: it had done its work, and waited for us."""
    counted: list[float] = []
    monkeypatch.setattr(Judge, "look", lambda _judge, _now, seconds: counted.append(seconds))
    monkeypatch.setattr(watchdog, "POLL_SECONDS", 0.05)
    shared, path = steps.create()
    path.unlink()

    async def blocked() -> None:
        hang = asyncio.ensure_future(Watchdog(shared, lambda: False, HANG).hang())
        await asyncio.sleep(0.2)
        time.sleep(1.0)  # noqa: ASYNC251 (this is the point)
        await asyncio.sleep(0.2)
        hang.cancel()

    asyncio.run(blocked())
    assert len(counted) >= 3
    assert max(counted) <= 0.1


SPINS = "while True: pass"


def test_a_process_that_is_stopped_is_found_and_one_that_computes_is_not() -> None:
    """With the real figures of a real process, here in the place of the engine's worker."""
    shared, path = steps.create()
    path.unlink()
    child = subprocess.Popen([sys.executable, "-c", SPINS])
    try:
        shared.scheduler_pid, shared.worker_pid, shared.scheduled = os.getpid(), child.pid, 1

        async def found(seconds: float) -> str | None:
            hang = asyncio.ensure_future(Watchdog(shared, lambda: True, 2.0).hang())
            done, _ = await asyncio.wait({hang}, timeout=seconds)
            hang.cancel()
            return hang.result() if done else None

        assert asyncio.run(found(5.0)) is None
        child.send_signal(signal.SIGSTOP)
        assert "has done nothing" in str(asyncio.run(found(60.0)))
    finally:
        child.kill()
        child.wait()
