"""How a bench ends: a table for people, then one line of JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(*columns, title=title)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def end(figures: Mapping[str, float | Mapping[str, float]]) -> None:
    """The last line of a bench: its figures, or those of each of its parts."""
    print(json.dumps(_rounded(figures)), flush=True)


def _rounded(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _rounded(value) if isinstance(value, Mapping) else float(f"{value:.5g}")
        for name, value in figures.items()
    }


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median over rounds of ours / theirs: neighbours in time share the machine's mood."""
    return statistics.median(mine / its for mine, its in zip(ours, theirs, strict=True))
