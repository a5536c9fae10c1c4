"""A file as rows: every line is parsed, and where there are very many, a sample of them is kept.

The sample is by what a row asks: either all rows with one prompt are in it or none. So duplicates,
contradictions and leaks keep their shares, which a sample of lines at random would lose.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from records import dataset
from records.check_file import lines
from records.dataset import InvalidLine, Line
from training.doctor.report import SHOWN_ERRORS, LineError
from training.doctor.row import Row, row_of

MAX_ROWS = 20_000
MAX_CHARACTERS = 50_000_000

Look = Callable[[Line, Row], Row]


@dataclass
class Material:
    """The rows of a file (or a sample), in its order; `count` are all its usable lines.

    `errors` are the first unusable ones, `ceiling` is above the key of each row that is kept."""

    rows: list[Row] = field(default_factory=list)
    count: int = 0
    unusable: int = 0
    errors: list[LineError] = field(default_factory=list)
    ceiling: int = 1 << 64
    _characters: int = 0

    def add(self, row: Row, max_rows: int) -> None:
        self.rows.append(row)
        self._characters += row.characters
        if len(self.rows) > max_rows or self._characters > MAX_CHARACTERS:
            self.lower()

    def lower(self, ceiling: int | None = None) -> None:
        """Keep the rows whose key is below `ceiling`: without one, about half of them."""
        if ceiling is None:
            keys = sorted(row.key for row in self.rows)
            ceiling = keys[len(keys) // 2]
        kept = [row for row in self.rows if row.key < ceiling]
        if kept or not self.rows:
            self.ceiling = min(self.ceiling, ceiling)
        else:  # all ask the same
            kept = self.rows[: len(self.rows) // 2]
        self.rows, self._characters = kept, sum(row.characters for row in kept)

    def refuse(self, error: InvalidLine) -> None:
        self.unusable += 1
        if len(self.errors) < SHOWN_ERRORS:
            self.errors.append(LineError(line=error.line, problem=error.problem))


def read(path: Path, look: Look | None = None, ceiling: int = 1 << 64, max_rows: int = MAX_ROWS) -> Material:
    """The file's rows with a key below `ceiling`. `look` adds what costs more to the rows that are
    kept; it may raise InvalidLine."""
    found = Material(ceiling=ceiling)
    reader = dataset.Reader()
    with path.open("rb") as file:
        for number, raw in enumerate(lines(file), start=1):
            if not raw.strip():
                continue
            try:
                example = reader.read(raw, number)
                row = row_of(example, number)
                if row.key < found.ceiling:
                    found.add(row if look is None else look(example, row), max_rows)
                found.count += 1
            except InvalidLine as error:
                found.refuse(error)
    return found
