"""Tells an engine that hangs from a slow one: by its steps, and by the processor time of its processes.

Silence is no sign. On a throttled or crowded processor a long prompt says nothing for minutes while all is
well, and our own event loop may have been blocked. An engine that hangs uses no processor time (stopped,
deadlocked), or more in one step than a step of that many tokens can take.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from server.engine.steps import Steps

POLL_SECONDS = 1.0
# Below this share of one processor nothing is done: threads beside a deadlock still wake now and then.
SHARE = 0.005
# The most processor seconds of a step: so many times what a step has taken per token, FLOOR_SECONDS at least.
TIMES, FLOOR_SECONDS = 10, 120.0


@dataclass(frozen=True)
class Sample:
    """An engine at one moment. Processor times are seconds since a process began: of the whole process
    (`..._used`), and of the worker's main thread alone (`worker_thread`)."""

    scheduled: int
    ended: int
    begun_tokens: int
    cost: float  # processor seconds per token
    scheduler_used: float
    worker_used: float
    worker_thread: float


class Judge:
    """`hang_seconds`: for how long what has work may do nothing."""

    def __init__(self, hang_seconds: float) -> None:
        self._hang_seconds = hang_seconds
        self._last: Sample | None = None
        self._reset()

    def _reset(self) -> None:
        self._idle_seconds = self._idle_used = self._step_used = 0.0

    def look(self, now: Sample | None, seconds: float) -> str | None:
        """What is wrong with the engine, if anything, `seconds` after the last look; None when nobody waits
        for an answer."""
        last, self._last = self._last, now
        if now is None or last is None or now.ended != last.ended:
            self._reset()
            return None
        running = now.scheduled > now.ended
        used = now.worker_used - last.worker_used
        if not running:  # the scheduler's turn, or something between the two
            used += now.scheduler_used - last.scheduler_used
        self._idle_seconds += seconds
        self._idle_used += used
        self._step_used += now.worker_thread - last.worker_thread if running else 0.0
        if self._idle_used > SHARE * self._hang_seconds:
            self._idle_seconds = self._idle_used = 0.0
        if self._idle_seconds >= self._hang_seconds:
            return f"it has work, and has done nothing for {self._idle_seconds:.0f} s"
        if self._step_used > max(FLOOR_SECONDS, TIMES * now.cost * now.begun_tokens):
            return (
                f"it has computed one step of {now.begun_tokens} tokens for {self._step_used:.0f} s of "
                "processor time"
            )
        return None


class Watchdog:
    """Looks at an engine once a second; `waiting` says whether any request is without its answer."""

    def __init__(self, steps: Steps, waiting: Callable[[], bool], hang_seconds: float) -> None:
        self._steps, self._waiting = steps, waiting
        self._judge = Judge(hang_seconds)
        self._poll = min(POLL_SECONDS, hang_seconds / 4)

    async def hang(self) -> str:
        """Waits until the engine hangs, which may be for ever; gives back how that shows."""
        last = time.monotonic()
        while True:
            await asyncio.sleep(self._poll)
            sample = await asyncio.to_thread(self._sample) if self._waiting() else None
            now = time.monotonic()
            # While our own loop was blocked, or this process stopped, nobody took what the engine had made.
            problem = self._judge.look(sample, min(now - last, 2 * self._poll))
            last = now
            if problem is not None:
                return problem

    def _sample(self) -> Sample:
        steps = self._steps
        return Sample(
            scheduled=steps.scheduled,
            ended=steps.ended,
            begun_tokens=steps.begun_tokens,
            cost=steps.cost / 1e9,
            scheduler_used=used(steps.scheduler_pid),
            worker_used=used(steps.worker_pid),
            worker_thread=main_thread(steps.worker_pid),
        )


def used(pid: int) -> float:
    """Processor seconds of a process; 0 when it has ended, which vLLM sees by itself."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def main_thread(pid: int) -> float:
    """Processor seconds of a process's first thread; 0 when it has ended."""
    try:
        first = min(psutil.Process(pid).threads(), key=lambda thread: thread.id)
    except psutil.Error:
        return 0.0
    return float(first.user_time + first.system_time)
