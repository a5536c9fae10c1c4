"""The name under which a worker holds a lease, from which its neighbours can tell that it is dead.

A lease ends by itself when its holder is silent; that a process of the same machine (same boot, same PID
namespace) is gone can be known at once, so a job need not wait for it. Called by worker.py.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def name_of(pid: int) -> str:
    """`<machine>:<pid>:<start>`: no later process has it. Raises OSError when there is no such process."""
    return f"{_machine()}:{pid}:{_started(pid)}"


def is_dead(owner: str) -> bool:
    """True only when that worker ran here and runs no more; of other machines nothing is known."""
    machine, _, process = owner.partition(":")
    pid, _, started = process.partition(":")
    if machine != _machine() or not pid.isdigit():
        return False
    try:
        return _started(int(pid)) != started
    except OSError:
        return True


def _machine() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    return hashlib.sha256(f"{boot}{os.readlink('/proc/self/ns/pid')}".encode()).hexdigest()[:16]


def _started(pid: int) -> str:
    """Start of the process in clock ticks since boot: field 22 of proc(5)'s stat; "" for a zombie."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return "" if fields[0] in "ZX" else fields[19]
