"""The process of a job: started in a session of its own, tied to the worker's life, lower in priority.

Called by worker.py (start, stop) and, inside the new process, by run.py. Linux only, as vLLM is.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from records.jobs import Lease
from records.processes import computing
from records.settings import PREFIX, Settings

GONE, FULL = 3, 4  # exit status: the lease was lost, the disk is full
STOPPED = 128 + signal.SIGTERM  # as shells say it
NICE = 5
PATIENCE_SECONDS = 5.0


def step_aside() -> None:
    """Serving has priority: on a machine without spare cores a job must not slow answers down."""
    with suppress(OSError):
        os.nice(NICE)


def start(settings: Settings, lease: Lease, log: Path) -> subprocess.Popen[bytes]:
    """The process of one attempt; what it prints goes to the end of `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "training.run", "--job", lease.job_id, "--fence", str(lease.fence)]
    with log.open("ab") as output:
        return subprocess.Popen(
            [*command, "--parent", str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment(settings),
            # Ctrl-C in a terminal reaches the worker alone, which then stops the job in order.
            start_new_session=True,
        )


def stop(process: subprocess.Popen[bytes], patience: float = PATIENCE_SECONDS) -> None:
    """End the process and all that it started; gives back when it is gone. It has `patience` seconds to put
    its last step on disk; without, the next attempt goes on from the state before that."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            return


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """In the block SIGTERM ends nothing; the function says whether it came. For the main thread."""
    came: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: came.append(number))
    try:
        yield lambda: bool(came)
    finally:
        signal.signal(signal.SIGTERM, before)


def environment(settings: Settings) -> dict[str, str]:
    """This process's environment with `settings` in it as variables: not on the command line, where any
    user of the machine could read a database password. The admin key is none of a job's business."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    values = settings.model_dump(mode="json", exclude={"admin_key"}, exclude_none=True)
    return computing(kept) | {f"{PREFIX}{name.upper()}": str(value) for name, value in values.items()}
