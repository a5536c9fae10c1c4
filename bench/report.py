"""How a bench ends: a table for people, then one line of JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(*columns, title=title)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def end(figures: dict[str, float]) -> None:
    """The last line of a bench."""
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}), flush=True)


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median over rounds of ours / theirs: neighbours in time share the machine's mood."""
    return statistics.median(mine / its for mine, its in zip(ours, theirs, strict=True))
