"""Lengths of rows in the base's own tokens, and what will be cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from records.dataset import Line
from training.chat import Renderer
from training.doctor.found import finding, rows
from training.doctor.report import SHOWN_LINES, Finding, Severity, Spread, Tokens
from training.doctor.row import Row
from training.encode import encode


def counted(example: Line, row: Row, renderer: Renderer, limit: int) -> Row:
    """The row with its lengths: all its tokens, and those that are learnt of the `limit` that a job keeps.

    Raises InvalidLine for what the base's template cannot render."""
    encoded = encode(example, row.line, renderer, limit)
    tokens = sum(sequence.full_length for sequence in encoded.sequences)
    supervised = sum(sum(sequence.learnt) for sequence in encoded.sequences)
    return replace(row, tokens=tokens, supervised=supervised, longest=encoded.longest)


def lengths(train: Sequence[Row], limit: int) -> Tokens:
    """Of at least one row."""
    cut = [row.line for row in train if row.longest > limit]
    return Tokens(
        limit=limit,
        per_example=_spread([row.tokens for row in train]),
        supervised=_spread([row.supervised for row in train]),
        truncated=len(cut),
        truncated_lines=tuple(cut[:SHOWN_LINES]),
    )


def truncated(train: Sequence[Row], limit: int) -> Iterator[Finding]:
    cut = [row.line for row in train if row.longest > limit]
    if cut:
        longest = max(row.longest for row in train)
        yield finding(
            "truncated", Severity.WARNING, cut,
            f"{rows(len(cut))} are longer than {limit:,} tokens (the longest: {longest:,}) and are cut at "
            "the end, where the last answer stands. Shorten or split them.",
        )  # fmt: skip


def _spread(values: list[int]) -> Spread:
    low, middle, high, most = (
        int(value) for value in np.percentile(values, [0, 50, 95, 100], method="nearest")
    )
    return Spread(min=low, median=middle, p95=high, max=most, total=sum(values))
