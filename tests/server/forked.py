"""Processes from a forkserver that has imported next to nothing, for test_forkserver.py."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from multiprocessing.connection import Connection

import psutil

from server.engine import forkserver


def seen(answers: Connection, below: bool) -> None:
    """Says what a started process finds; with `below`, also what one finds that it starts itself."""
    found = {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "forked": forkserver.was_forked(),
        "said": os.environ.get("SAID"),
        "main": getattr(sys.modules["__main__"], "__file__", None),
        "started_by": getattr(multiprocessing.parent_process(), "pid", None),
    }
    answers.send([found, *(started(False) if below else [])])
    time.sleep(3600)  # it is killed long before


def started(below: bool) -> list[dict[str, object]]:
    """Start a process and leave it running; what it has found."""
    context = forkserver.Context()
    receiver, sender = context.Pipe(duplex=False)
    context.Process(target=seen, args=(sender, below), daemon=not below).start()
    found: list[dict[str, object]] = receiver.recv()
    return found


def after_a_stop() -> None:
    """Stop the forkserver, and say whether another is there for the next process."""
    _begin({})
    (before,) = started(False)
    stopped = psutil.Process(int(str(before["parent"])))
    stopped.suspend()
    while stopped.status() != psutil.STATUS_STOPPED:
        pass
    forkserver.end_if_stuck()
    (after,) = started(False)
    other = after["parent"] not in (before["parent"], os.getpid())
    print(json.dumps({"forked": after["forked"], "by_another": other}), flush=True)
    for child in multiprocessing.active_children():
        child.kill()


def main() -> None:
    """Start one that starts another, say what they have found, and wait to be killed."""
    _begin({"DEFAULT": "1"})
    os.environ["SAID"] = "later"
    found = started(True)
    print(json.dumps({"me": os.getpid(), "default": os.environ.get("DEFAULT"), "found": found}), flush=True)
    time.sleep(3600)


def _begin(defaults: dict[str, str]) -> None:
    forkserver.PRELOAD = "tests.server.tied"  # in this process, which is no test's
    forkserver.begin(defaults)
