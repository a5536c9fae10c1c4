"""`python -m records.check_file FILE`: check a training file in a process of its own, one line of JSON out.

The server runs it for large uploads: parsing holds the interpreter's lock, and would slow every stream that
the same process serves.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from records import dataset

NICENESS = 10


def check(file: BinaryIO) -> tuple[int, list[str]]:
    """(number of good examples, what is wrong with the first bad lines)."""
    good, bad = dataset.check(lines(file))
    return good, [str(error) for error in bad]


def lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines, none held in memory beyond the size at which it is refused anyhow; such a one is the last."""
    while line := file.readline(dataset.MAX_LINE_BYTES + 2):
        yield line
        if len(line) > dataset.MAX_LINE_BYTES:
            return


def main() -> None:
    os.nice(NICENESS)
    with Path(sys.argv[1]).open("rb") as file:
        good, bad = check(file)
    print(json.dumps({"good": good, "bad": bad}))


if __name__ == "__main__":
    main()
