"""The pictures of docs/benchmarks.md: a report's bars (server/evaluation/pictures.py) as files."""

from __future__ import annotations

from bench.figures import Bench, flat, named
from bench.runs import Run
from server.evaluation.pictures import Bar, bars

# A picture in a Markdown page has no style but its own.
STYLE = """<style>
svg{background:#fff} text{font:13px sans-serif;fill:#1f2328} .figure{font-weight:600}
.bar{fill:#a8b3c2} .bar.strong{fill:#2f6feb}
@media (prefers-color-scheme:dark){svg{background:#0d1117} text{fill:#e6edf3} .bar{fill:#57606a}}
</style>"""


def pictures(bench: Bench, run: Run) -> dict[str, tuple[str, str]]:
    """{name: (title, SVG)}; a figure that was not measured has no bar, a plot without any is left out."""
    values = dict(flat(run.figures)) if run.figures else {}
    found = {}
    for plot in bench.plots:
        rows = _rows(plot.rows, values, strong=True) + _rows(plot.others, values, strong=False)
        if drawn := str(bars(rows, unit=plot.unit, said=plot.title)):
            found[plot.name] = plot.title, _file(drawn)
    return found


def _rows(rows: tuple[tuple[str, str], ...], values: dict[str, float], *, strong: bool) -> list[Bar]:
    return [
        Bar(label or key.rsplit("/", 1)[0], values[key], strong=strong)
        for label, pattern in rows
        for key in named(pattern, values)
    ]


def _file(svg: str) -> str:
    opened, rest = svg.split(">", 1)
    return f'{opened} width="360" xmlns="http://www.w3.org/2000/svg">{STYLE}{rest}\n'
