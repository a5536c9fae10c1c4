"""Runs an action in a fork and strikes it at a chosen system call that changes the disk, by ptrace(2).

Beneath Python, so it sees what SQLite and compiled libraries do as well, and a new step of the code is
covered without being named. Needs no privilege. Both processes have one thread: see stage.py.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import signal
import struct
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

TRACEME, POKEUSER, SYSCALL, SETOPTIONS, GET_SYSCALL_INFO = 0, 6, 24, 0x4200, 0x420E  # linux/ptrace.h
SYSGOOD, EXITKILL = 1, 0x100000
ENTRY, EXIT = 1, 2
INFO = struct.Struct("=B3xIQQQ6Q")  # op, architecture, instruction, stack, number or result, arguments
SYSCALL_STOP = signal.SIGTRAP | 0x80

# By their first argument: an open file, a path, or an open folder with a path in it behind.
ON_FILES = {
    "write": 1, "pwrite64": 18, "writev": 20, "sendfile": 40, "fsync": 74, "fdatasync": 75, "ftruncate": 77,
    "fallocate": 285, "pwritev": 296, "fchmod": 91,
}  # fmt: skip
ON_PATHS = {
    "open": 2, "rename": 82, "mkdir": 83, "rmdir": 84, "creat": 85, "link": 86, "unlink": 87, "symlink": 88,
    "chmod": 90,
}  # fmt: skip
IN_FOLDERS = {
    "openat": 257, "mkdirat": 258, "unlinkat": 263, "renameat": 264, "linkat": 265, "symlinkat": 266,
    "fchmodat": 268, "renameat2": 316,
}  # fmt: skip
NUMBERS = {number: name for table in (ON_FILES, ON_PATHS, IN_FOLDERS) for name, number in table.items()}
FLAGS = {"open": 1, "openat": 2}  # which argument says whether a file is made
TAKES_SPACE = {
    "write", "pwrite64", "writev", "sendfile", "ftruncate", "fallocate", "pwritev", "open", "creat", "mkdir",
    "link", "symlink", "openat", "mkdirat", "linkat", "symlinkat",
}  # fmt: skip
AT_FDCWD = -100
ORIG_RAX, RAX = 15 * 8, 10 * 8  # in struct user of x86-64

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


class Point(NamedTuple):
    """Where to strike: before call `place` of row `row`, both from 0.

    A row is a series of equal calls, as of a write in pieces. How many pieces there are differs from run to
    run: measured figures and ids decide how many bytes are written and which pages a transaction touches.
    Which rows there are does not. A row that ends before `place` is struck at its end, before the first call
    of the next: so each point lies in every run, but for those of the last row.
    """

    row: int
    place: int


class Call(NamedTuple):
    """A system call that changes the disk, about to be made."""

    name: str
    path: str
    at: Point


@dataclass
class Ended:
    """The calls up to the end or the strike, and how the process ended: exit status, or minus a signal."""

    status: int = 0
    calls: list[Call] = field(default_factory=list)


def run(
    action: Callable[[], int], home: str, since: str = "", at: Point | None = None, *, full: bool = False
) -> Ended:
    """Do `action` in a fork of this process; its result is the exit status, 70 when it raises.

    What counts are calls on something under `home`, from the first on whose path contains `since`. Before
    the first at or past `at` the process is killed with SIGKILL; with `full`, from that call on each one that
    takes space fails with ENOSPC instead.
    """
    if platform.machine() != "x86_64":
        raise NotImplementedError("The numbers of system calls are known for x86-64 only: add them here.")
    pid = os.fork()
    if pid == 0:
        _be_traced(action)
    os.waitpid(pid, 0)
    _ptrace(SETOPTIONS, pid, SYSGOOD | EXITKILL)
    ended, passed, failing = Ended(), 0, False
    while True:
        _ptrace(SYSCALL, pid, passed)
        _, status = os.waitpid(pid, 0)
        if not os.WIFSTOPPED(status):
            ended.status = os.waitstatus_to_exitcode(status)
            return ended
        passed = os.WSTOPSIG(status)
        if passed != SYSCALL_STOP:
            continue
        passed = 0
        operation, number, arguments = _info(pid)
        if operation == EXIT and failing:
            _poke(pid, RAX, -errno.ENOSPC)
        failing = False
        if operation != ENTRY or (found := _call(pid, number, arguments, home)) is None:
            continue
        name, path = found
        if not ended.calls and since not in path:
            continue
        ended.calls.append(Call(name, path, _point(ended.calls, name, path)))
        if at is None or ended.calls[-1].at < at:
            continue
        if not full:
            os.kill(pid, signal.SIGKILL)
            ended.status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            return ended
        if name in TAKES_SPACE:
            _poke(pid, ORIG_RAX, -1)  # no such call: the kernel does nothing
            failing = True


def _point(calls: list[Call], name: str, path: str) -> Point:
    """Of the call that follows on `calls`."""
    if not calls:
        return Point(0, 0)
    last = calls[-1]
    return Point(last.at.row, last.at.place + 1) if last[:2] == (name, path) else Point(last.at.row + 1, 0)


def _be_traced(action: Callable[[], int]) -> None:
    status = 70
    try:
        _ptrace(TRACEME, 0, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        status = action()
    except BaseException:  # nothing may go on in the fork
        traceback.print_exc()
    finally:
        os._exit(status)


def _ptrace(request: int, pid: int, data: int, address: int = 0) -> None:
    ctypes.set_errno(0)
    if libc.ptrace(request, pid, address, data) == -1 and ctypes.get_errno():
        raise OSError(ctypes.get_errno(), f"ptrace(2) request {request} (containers: allow SYS_PTRACE)")


def _poke(pid: int, register: int, value: int) -> None:
    _ptrace(POKEUSER, pid, value & (2**64 - 1), register)


def _info(pid: int) -> tuple[int, int, list[int]]:
    raw = ctypes.create_string_buffer(INFO.size)
    _ptrace(GET_SYSCALL_INFO, pid, ctypes.addressof(raw), INFO.size)
    operation, _, _, _, number, *arguments = INFO.unpack(raw.raw)
    return operation, number, arguments


def _call(pid: int, number: int, arguments: list[int], home: str) -> tuple[str, str] | None:
    """(name, path); None where nothing under `home` is changed."""
    name = NUMBERS.get(number)
    if name is None or (name in FLAGS and not arguments[FLAGS[name]] & os.O_CREAT):
        return None
    if name in ON_FILES:
        path = os.readlink(f"/proc/{pid}/fd/{arguments[0]}")
    elif name in ON_PATHS:
        path = _text(pid, arguments[0])
    else:
        folder = ctypes.c_int(arguments[0]).value
        where = "cwd" if folder == AT_FDCWD else f"fd/{folder}"
        path = os.path.join(os.readlink(f"/proc/{pid}/{where}"), _text(pid, arguments[1]))
    return (name, path) if path.startswith(home) else None


def _text(pid: int, address: int) -> str:
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        memory.seek(address)
        return memory.read(4096).split(b"\0", 1)[0].decode(errors="replace")
