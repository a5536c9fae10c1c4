"""The data doctor's report as tables for people; for cli/data.py."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from cli import options
from training.doctor.report import LineError, Report, Severity, Spread

STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "dim"}


def show(console: Console, report: Report, name: str) -> None:
    """The verdict stands last, where the eye is."""
    console.print(_figures(report, name))
    if report.findings:
        found = Table("", "Code", "Rows", "What to do", title="Findings", title_justify="left")
        for finding in report.findings:
            found.add_row(
                finding.severity, finding.code, f"{finding.count:,}", finding.message,
                style=STYLES[finding.severity],
            )  # fmt: skip
        console.print(found)
    errors_shown(report.errors)
    console.print(f"Verdict: {report.verdict.kind.replace('_', ' ')}", style="bold")
    for reason in report.verdict.reasons:
        console.print(f"  {reason}")


def errors_shown(errors: Sequence[LineError]) -> None:
    """On stderr, a line for each."""
    for error in errors:
        options.errors.print(f"Line {error.line}: {error.problem}", style="red", markup=False, soft_wrap=True)


def _figures(report: Report, name: str) -> Table:
    shown = Table("", "Minimum", "Median", "95%", "Maximum", "Total", title=name, title_justify="left")
    counts, tokens = report.counts, report.tokens
    if tokens is not None:
        shown.add_row("tokens per row", *_spread(tokens.per_example))
        shown.add_row("of them learnt", *_spread(tokens.supervised))
    of = f"{counts.rows:,} rows, {counts.distinct:,} different"
    validation = "" if counts.validation is None else f"; {counts.validation:,} validation rows"
    shown.caption = f"{of}{validation}; tokens of {report.base}"
    return shown


def _spread(spread: Spread) -> list[str]:
    figures = (spread.min, spread.median, spread.p95, spread.max, spread.total)
    return [f"{figure:,}" for figure in figures]
