"""Engine processes are forked from one that has imported vLLM, in place of each importing it anew.

`begin` starts that process, `use` has vLLM fork its processes from it. It outlives an engine, so that the
next one starts sooner, and dies with this process. Where it does not fork, vLLM's processes are spawned.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import forkserver, popen_forkserver, popen_spawn_posix
from multiprocessing.context import ForkServerContext, ForkServerProcess
from types import ModuleType
from typing import Any

import psutil

from records.processes import die_with
from server.engine import openmp

PRELOAD = "server.engine.preload"
# A process has one forkserver (multiprocessing's), that dies with the thread that started it: one that stays.
_STARTER = ThreadPoolExecutor(1, thread_name_prefix="forkserver")

log = logging.getLogger("chorus.server")


def begin(defaults: Mapping[str, str]) -> None:
    """Start the forkserver, unless it runs, with `defaults` for variables that are not set.

    Does not wait until it has imported what it must; who has something to fork does.
    """
    # Nothing in an engine needs the threads of OpenBLAS, and a process with threads is not to be forked.
    wanted = {"OPENBLAS_NUM_THREADS": "1", **defaults}
    given = {name: value for name, value in wanted.items() if name not in os.environ}
    given["LD_PRELOAD"] = openmp.preloaded(os.environ.get("LD_PRELOAD", ""))
    given["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))  # CPython 3.11 does not hand it on
    with _environment(given):
        forkserver.set_forkserver_preload([PRELOAD])
        _STARTER.submit(forkserver.ensure_running).result()


def use() -> None:
    """Have vLLM fork its processes from the forkserver, from here on."""
    from vllm.utils import system_utils

    stock = system_utils.get_mp_context
    if stock.__module__ == __name__:
        return  # each start of an engine comes here

    def context() -> Context:
        stock()  # for what it does besides
        return Context()

    for module in list(sys.modules.values()):
        if getattr(module, "__dict__", {}).get("get_mp_context") is stock:
            module.get_mp_context = context  # type: ignore[attr-defined]


def process() -> psutil.Process | None:
    """The forkserver of this process, while it runs."""
    for child in psutil.Process().children():
        try:
            if any(PRELOAD in argument for argument in child.cmdline()):
                return child
        except psutil.NoSuchProcess:
            continue
    return None


def end_if_stuck() -> None:
    """A forkserver that somebody has stopped would have the next start wait for ever."""
    found = process()
    if found is not None and found.status() == psutil.STATUS_STOPPED:
        end()


def end() -> None:
    """Who waits for something to be forked finds that nothing is; the next start begins another."""
    found = process()
    if found is not None:
        found.kill()
        # Until it has ended; multiprocessing must be the one that takes note of that.
        os.waitid(os.P_PID, found.pid, os.WEXITED | os.WNOWAIT)


def was_forked() -> bool:
    """Whether this process was forked from a forkserver."""
    return forkserver.get_inherited_fds() is not None


class Process(ForkServerProcess):
    """Arrives in the child with the variables of the process that starts it, as a spawned one does."""

    @staticmethod
    def _Popen(process: Any) -> Any:
        with _without_main():
            try:
                return popen_forkserver.Popen(process)
            except (OSError, EOFError) as error:
                log.warning("The forkserver does not fork (%s); vLLM's processes start by themselves", error)
                return popen_spawn_posix.Popen(process)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
        # In this order: the variables are in force before the rest is unpickled.
        return _arrive, (dict(os.environ),), self.__dict__


class Context(ForkServerContext):
    Process = Process


def _arrive(environment: dict[str, str]) -> Process:
    """The first that happens in a started process."""
    if was_forked():
        preload = sys.modules.get(PRELOAD)
        die_with(preload.PID if preload else os.getppid())
        # What this process starts comes from the same forkserver; CPython would start another.
        forkserver._forkserver.ensure_running = lambda: None  # type: ignore[method-assign]
        openmp.take_on(os.environ, environment)
    os.environ.clear()
    os.environ.update(environment)
    return Process.__new__(Process)


@contextmanager
def _environment(given: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ[name] for name in given if name in os.environ}
    os.environ.update(given)
    try:
        yield
    finally:
        for name in given.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def _without_main() -> Iterator[None]:
    """Else every started process imports what was run here as a script: the whole of the command line."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
