"""Training and validation files that share nothing: rows that ask the same stay together, also those that
do but for trifles."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from records.check_file import lines
from training.doctor.near import clusters
from training.doctor.read import read
from training.doctor.report import LineError
from training.doctor.row import Row

ALL = 1 << 62


class NotSplit(ValueError):
    """Nothing was written; `errors` are the lines that cannot be used, where those are the reason."""

    def __init__(self, message: str, errors: Sequence[LineError] = ()) -> None:
        super().__init__(message)
        self.errors = errors


@dataclass(frozen=True)
class Split:
    """What was written: rows of each file, and how many of them were kept with others in `groups`."""

    training: Path
    validation: Path
    training_rows: int
    validation_rows: int
    groups: int
    grouped_rows: int


def split(path: Path, out: Path, share: float, seed: int) -> Split:
    """Write `<name>.train.jsonl` and `<name>.validation.jsonl` into the folder `out`; lines keep their order
    and bytes. Takes all rows into memory. Raises NotSplit, OSError."""
    stem = path.name.removesuffix(".jsonl")
    targets = [out / f"{stem}.{side}.jsonl" for side in ("train", "validation")]
    for target in targets:
        if target.exists():
            raise NotSplit(
                f"{target} exists and is not overwritten: remove it, or give another folder with --out."
            )
    found = read(path, max_rows=ALL)
    if found.errors:
        raise NotSplit(f"{found.unusable} lines of {path} cannot be used: mend or remove them.", found.errors)
    groups = grouped(found.rows)
    chosen = choose([len(group) for group in groups], share, seed)
    held = {found.rows[index].line for number in chosen for index in groups[number]}
    if not held or len(held) == len(found.rows):
        raise NotSplit(
            f"{path} has {len(found.rows)} rows in {len(groups)} groups that must stay together: too few to "
            "split. Use another --validation-share, or add examples."
        )
    out.mkdir(parents=True, exist_ok=True)
    with path.open("rb") as source, targets[0].open("xb") as train, targets[1].open("xb") as valid:
        for number, raw in enumerate(lines(source), start=1):
            if raw.strip():
                kept = raw if number > 1 else raw.removeprefix(b"\xef\xbb\xbf")
                (valid if number in held else train).write(kept.rstrip(b"\r\n") + b"\n")
    together = [group for group in groups if len(group) > 1]
    train_path, valid_path = targets
    return Split(
        train_path, valid_path, len(found.rows) - len(held), len(held), len(together), sum(map(len, together))
    )


def grouped(rows: Sequence[Row]) -> list[list[int]]:
    """Every index once; rows with one prompt, but for trifles, in one group."""
    together = clusters([row.last.prompt for row in rows], [row.system for row in rows])
    taken = {index for group in together for index in group}
    return sorted([*together, *([index] for index in range(len(rows)) if index not in taken)])


def choose(sizes: Sequence[int], share: float, seed: int) -> list[int]:
    """Numbers of groups that together hold about `share` of the rows, and not more, but one row at least."""
    wanted = max(1, round(share * sum(sizes)))
    order = list(range(len(sizes)))
    random.Random(f"{seed}/split").shuffle(order)
    chosen, count = list[int](), 0
    for number in order:
        if count + sizes[number] <= wanted:
            chosen.append(number)
            count += sizes[number]
    return chosen
