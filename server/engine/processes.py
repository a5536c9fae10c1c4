"""The engine's processes: found once it has started, ended for certain when it stops."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable
from multiprocessing.process import BaseProcess

import psutil

from server.engine import forkserver


def engine_processes() -> set[int]:
    """The ids of the processes that vLLM started here, and of those below them.

    Only what came through multiprocessing: a training worker beside the engine is none of them. Nor is the
    forkserver, from which the next engine is forked; all that is below it are.
    """
    above = [psutil.Process(child.pid) for child in _started()]
    if template := forkserver.process():
        above += template.children()
    return {process.pid for one in above for process in (one, *one.children(recursive=True))}


def _started() -> list[BaseProcess]:
    children = multiprocessing.active_children()
    return [child for child in children if child.pid is not None and psutil.pid_exists(child.pid)]


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
