"""A point is struck in every run, however many pieces a write of that run has."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

# In a process of its own, with one thread: home, pieces of the write, where to strike.
CODE = """
import json, os, sys
from tests.faults.tracer import Point, run

home, pieces, at = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])

def act():
    before = os.open(f"{home}/before", os.O_CREAT | os.O_WRONLY)
    file = os.open(f"{home}/file", os.O_CREAT | os.O_WRONLY)
    for _ in range(pieces):
        os.write(file, b"piece")
    os.fsync(file)
    os.unlink(f"{home}/file")
    return 0

ended = run(act, home, "/file", at and Point(*at))
print(json.dumps([ended.status, [[call.name, *call.at] for call in ended.calls]]))
"""


def traced(home: Path, pieces: int, at: tuple[int, int] | None = None) -> tuple[int, list[list[object]]]:
    command = [sys.executable, "-c", CODE, str(home), str(pieces), json.dumps(at)]
    status, calls = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return status, calls


def test_calls_are_counted_in_rows_of_equal_ones_from_the_first_of_interest_on(tmp_path: Path) -> None:
    assert traced(tmp_path, 3) == (
        0,
        [["openat", 0, 0], *(["write", 1, piece] for piece in range(3)), ["fsync", 2, 0], ["unlink", 3, 0]],
    )


@pytest.mark.parametrize(
    ("at", "struck"),
    [
        ((1, 0), ["write", 1, 0]),
        ((1, 1), ["write", 1, 1]),
        ((1, 9), ["fsync", 2, 0]),
        ((2, 0), ["fsync", 2, 0]),
        ((3, 0), ["unlink", 3, 0]),
    ],
    ids=str,
)
def test_where_a_row_ends_before_its_point_the_next_call_is_struck(
    tmp_path: Path, at: tuple[int, int], struck: list[object]
) -> None:
    status, calls = traced(tmp_path, 2, at)
    assert status == -9
    assert calls[-1] == struck
