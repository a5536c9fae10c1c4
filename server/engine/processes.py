"""The processes below ours: found before and after an engine starts, ended for certain when it stops."""

from __future__ import annotations

from collections.abc import Iterable

import psutil


def descendants() -> set[int]:
    """The ids of all processes below this one."""
    return {child.pid for child in psutil.Process().children(recursive=True)}


def end(pids: Iterable[int], grace: float = 2.0) -> None:
    """SIGTERM, `grace` seconds, SIGKILL. Only ids that still are below this process are touched."""
    ours = {child.pid: child for child in psutil.Process().children(recursive=True)}
    targets = [ours[pid] for pid in pids if pid in ours]
    for process in targets:
        _signal(process, kill=False)
    _, alive = psutil.wait_procs(targets, timeout=grace)
    for process in alive:
        _signal(process, kill=True)
    psutil.wait_procs(alive, timeout=grace)


def _signal(process: psutil.Process, *, kill: bool) -> None:
    try:
        process.kill() if kill else process.terminate()
    except psutil.NoSuchProcess:
        return
