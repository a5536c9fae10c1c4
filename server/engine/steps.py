"""What an engine has done, in memory that its processes share with the server: readable when nothing answers.

The scheduler's process counts the steps that it hands out, the first worker those that it ends. Every field
has one writer and eight bytes, which arrive whole; a reader may see one field before another.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Tells the engine's processes where the file lies. It is no setting, and must not look like one.
PATH = "_CHORUS_ENGINE_STEPS"


class Steps(ctypes.Structure):
    """`cost`: the most processor time (ns) per token that a step took of the worker's main thread."""

    _fields_ = [
        ("scheduler_pid", ctypes.c_int64),  # 0 until it has come
        ("scheduled", ctypes.c_int64),
        ("worker_pid", ctypes.c_int64),  # 0 until it has come
        ("ended", ctypes.c_int64),
        ("begun_tokens", ctypes.c_int64),  # of the step that began last
        ("tokens", ctypes.c_int64),  # of the step that ended last
        ("nanoseconds", ctypes.c_int64),  # that it took
        ("cost", ctypes.c_int64),
    ]
    scheduler_pid: int
    scheduled: int
    worker_pid: int
    ended: int
    begun_tokens: int
    tokens: int
    nanoseconds: int
    cost: int


def create() -> tuple[Steps, Path]:
    """All zero; and the file, which can go once every process has opened it."""
    descriptor, name = tempfile.mkstemp(prefix="chorus-steps-")
    with os.fdopen(descriptor, "wb") as file:
        file.write(bytes(ctypes.sizeof(Steps)))
    return attach(Path(name)), Path(name)


def attach(path: Path) -> Steps:
    """Raises OSError, ValueError."""
    with path.open("r+b") as file:
        return Steps.from_buffer(mmap.mmap(file.fileno(), ctypes.sizeof(Steps)))  # keeps the mapping


def report(model_runner: Any, steps: Steps) -> None:
    """From here on `steps` shows what a worker's `model_runner` (vLLM's) does.

    A step is `execute_model`, and `sample_tokens` behind it where any tokens were scheduled.
    """
    execute, sample = model_runner.execute_model, model_runner.sample_tokens
    clock = cpu = 0  # nanoseconds of the step so far: on the clock, and of this thread's processor time

    def timed(work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        nonlocal clock, cpu
        began, used = time.perf_counter_ns(), time.thread_time_ns()
        output = work(*args, **kwargs)
        clock += time.perf_counter_ns() - began
        cpu += time.thread_time_ns() - used
        return output

    def execute_model(scheduler_output: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal clock, cpu
        clock = cpu = 0
        steps.begun_tokens = scheduler_output.total_num_scheduled_tokens
        output = timed(execute, scheduler_output, *args, **kwargs)
        if not steps.begun_tokens:
            steps.ended += 1
        return output

    def sample_tokens(*args: Any, **kwargs: Any) -> Any:
        output = timed(sample, *args, **kwargs)
        steps.tokens, steps.nanoseconds = steps.begun_tokens, clock
        steps.cost = max(steps.cost, cpu // max(1, steps.tokens))
        steps.ended += 1
        return output

    model_runner.execute_model, model_runner.sample_tokens = execute_model, sample_tokens
    steps.worker_pid = os.getpid()
