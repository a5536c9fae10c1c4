"""Rows that say the same as another row, and validation rows that training has already shown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from training.doctor.found import finding, rows, share
from training.doctor.near import clusters
from training.doctor.report import Finding, Severity
from training.doctor.row import Row

WORTH_A_WARNING = 0.01


@dataclass(frozen=True)
class Likenesses:
    """Over training rows, then validation rows: groups of indices with one prompt, and those of them that
    have one answer too, each but for trifles."""

    same_prompt: list[list[int]]
    same_row: list[list[int]]


def likenesses(train: Sequence[Row], valid: Sequence[Row]) -> Likenesses:
    both = [*train, *valid]
    prompts = clusters([row.last.prompt for row in both], [row.system for row in both])
    group_of = {index: number for number, group in enumerate(prompts) for index in group}
    asked_twice = sorted(group_of)
    answers = clusters(
        [both[index].last.answer for index in asked_twice],
        [group_of[index] for index in asked_twice],
    )
    return Likenesses(prompts, [[asked_twice[k] for k in group] for group in answers])


def distinct(found: Likenesses, count: int) -> int:
    """How many of the first `count` rows are left when of each group one stays."""
    return count - sum(max(0, sum(index < count for index in group) - 1) for group in found.same_row)


def duplicated(train: Sequence[Row], found: Likenesses) -> Iterator[Finding]:
    """Copies, exact and near: the first of a group is none."""
    exact, near = list[int](), list[int]()
    for group in found.same_row:
        seen = set[int]()
        for place, index in enumerate(index for index in group if index < len(train)):
            row = train[index]
            if row.whole in seen:
                exact.append(row.line)
            elif place:
                near.append(row.line)
            seen.add(row.whole)
    for code, lines, how in (
        ("duplicate", exact, "are exact copies of an earlier row"),
        ("near_duplicate", near, "differ from an earlier row in trifles only (spelling, commas, a please)"),
    ):
        yield from _alike(
            code, lines, len(train), "row",
            f"{how}: they weigh twice, and may stand on both sides of a random split. Remove them, or split "
            "with `chorus data split`.",
        )  # fmt: skip


def leaked(train: Sequence[Row], valid: Sequence[Row], found: Likenesses) -> Iterator[Finding]:
    """Validation rows that stand in the training file too; lines are those of the validation file."""
    trained = {row.whole for row in train}
    exact, near = list[int](), list[int]()
    of_row = defaultdict[int, list[int]](list)
    for number, group in enumerate(found.same_row):
        if group[0] < len(train):
            of_row[number] = [index - len(train) for index in group if index >= len(train)]
    for index in (index for group in of_row.values() for index in group):
        (exact if valid[index].whole in trained else near).append(valid[index].line)
    for code, lines, how in (
        ("validation_leak", exact, "are copies of training rows"),
        ("near_validation_leak", near, "differ from training rows in trifles only"),
    ):
        yield from _alike(
            code, lines, len(valid), "validation row",
            f"{how}, so the validation loss flatters. Make the split again with `chorus data split`.",
        )  # fmt: skip


def _alike(code: str, lines: list[int], of: int, what: str, said: str) -> Iterator[Finding]:
    if lines:
        heavy = len(lines) >= WORTH_A_WARNING * of
        yield finding(
            code, Severity.WARNING if heavy else Severity.NOTE, sorted(lines),
            f"{rows(len(lines), what)} of {of:,} ({share(len(lines), of)}) {said}",
        )  # fmt: skip
