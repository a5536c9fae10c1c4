"""The examination of a file, top to bottom; what inputs.py, `python -m training.doctor` and the cli call."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from adapters.base import Base
from records.dataset import Line
from training import adapter
from training.chat import Renderer
from training.doctor import (
    answers,
    contradictions,
    duplicates,
    json_answers,
    personal,
    prompts,
    tokens,
    verdict,
)
from training.doctor.found import finding, rows
from training.doctor.read import MAX_ROWS, Material, read
from training.doctor.report import Counts, Finding, Report, Severity
from training.doctor.row import Row, text_of


def open_base(base: Base) -> tuple[Renderer, int]:
    """What examples are rendered with, and the longest sequence in tokens. Raises OSError, ValueError."""
    return Renderer(adapter.load_tokenizer(base.path)), adapter.longest(adapter.read_config(base.path))


def examine(
    path: Path,
    validation: Path | None,
    *,
    base: str,
    renderer: Renderer,
    limit: int,
    max_rows: int = MAX_ROWS,
) -> Report:
    """The report of a training file, and of its overlap with a validation file. Raises OSError."""

    def look(example: Line, row: Row) -> Row:
        row = replace(row, personal=personal.found_in(text_of(example)))
        return tokens.counted(example, row, renderer, limit)

    train = read(path, look, max_rows=max_rows)
    valid = read(validation, look, train.ceiling, max_rows) if validation else Material()
    train.lower(valid.ceiling if validation else train.ceiling)
    alike = duplicates.likenesses(train.rows, valid.rows)
    values = {
        index: value
        for index, row in enumerate(train.rows)
        if not row.last.call and (value := json_answers.parsed(row.last.answer)) is not None
    }
    found = [*_unusable(train, "training"), *_unusable(valid, "validation"), *_sampled(train)]
    at_odds = set[int]()
    for told, indices in contradictions.contradictory(train.rows, alike, values):
        found.append(told)
        at_odds |= indices
    found += duplicates.leaked(train.rows, valid.rows, alike)
    found += duplicates.duplicated(train.rows, alike)
    found += tokens.truncated(train.rows, limit)
    found += answers.poor(train.rows)
    found += answers.forms(train.rows, values)
    found += json_answers.inconsistencies(train.rows, values)
    found += prompts.systems(train.rows)
    found += prompts.languages(train.rows)
    found += personal.personal(train.rows)
    different = duplicates.distinct(alike, len(train.rows))
    order = list(Severity)
    return Report(
        base=base,
        counts=Counts(
            rows=train.count,
            unusable=train.unusable,
            examined=len(train.rows),
            distinct=different,
            validation=valid.count if validation else None,
        ),
        tokens=tokens.lengths(train.rows, limit) if train.rows else None,
        errors=tuple(train.errors),
        findings=tuple(sorted(found, key=lambda one: order.index(one.severity))),
        verdict=verdict.judge(train.rows, different, len(at_odds), train.unusable),
    )


def _unusable(material: Material, which: str) -> Iterator[Finding]:
    if material.unusable:
        first = material.errors[0]
        yield finding(
            f"invalid_{which}_line", Severity.ERROR, [error.line for error in material.errors],
            f"{rows(material.unusable, 'line')} of the {which} file cannot be used; line {first.line}: "
            f"{first.problem} Mend or remove them.",
            material.unusable,
        )  # fmt: skip


def _sampled(train: Material) -> Iterator[Finding]:
    if len(train.rows) < train.count:
        yield finding(
            "sample", Severity.NOTE, [],
            f"The file is large: figures are of a sample of {len(train.rows):,} of its {rows(train.count)} "
            "(all rows with one prompt are in it, or none).",
            len(train.rows),
        )  # fmt: skip
