"""docs/benchmarks.md and its pictures, written from the runs that are kept and from nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.figures import Bench, Figure, flat, named
from bench.plots import pictures
from bench.runs import DOCS, Run

HEAD = """# Benchmarks
Written by `python -m bench` (`make bench`) from the JSON files in [benchmarks/](benchmarks/), which keep
what each bench printed last, when, with which command and on what machine. Do not edit it: `python -m bench
--write` writes it again. What each needs is installed by `make demo`; `training` compares with libraries
that only it needs: `.venv/bin/pip install --no-deps -r requirements/bench.txt`. A ratio compares two things
that took turns in one run, so that the machine's mood is in both, and is the median of its rounds. A bar is
what was promised, for two CPU cores and the base that the bench takes by default.
"""
NOT_MEASURED = "not measured"


def write(benches: Sequence[Bench], runs: Sequence[Run], docs: Path = DOCS) -> None:
    """Also takes away pictures of what is no longer kept."""
    made = files(benches, runs)
    for old in (docs / "benchmarks").glob("*.svg"):
        if f"benchmarks/{old.name}" not in made:
            old.unlink()
    for name, text in made.items():
        (docs / name).parent.mkdir(parents=True, exist_ok=True)
        (docs / name).write_text(text)


def files(benches: Sequence[Bench], runs: Sequence[Run]) -> dict[str, str]:
    """Each file's text by its name below docs/."""
    plain = {run.bench: run for run in runs if run.plain and not run.quick}
    machines = _machines(runs)
    drawn, parts = dict[str, str](), [HEAD, _overview(benches, plain)]
    for bench in benches:
        run = plain.get(bench.name)
        shown = pictures(bench, run) if run else {}
        drawn |= {f"benchmarks/{name}.svg": svg for name, (_, svg) in shown.items()}
        others = [one for one in runs if one.bench == bench.name and not one.plain and not one.quick]
        parts.append(
            _section(bench, run, others, {name: title for name, (title, _) in shown.items()}, machines)
        )
    parts.append(_machine_list(machines))
    return {"benchmarks.md": "\n".join(parts), **drawn}


def _overview(benches: Sequence[Bench], runs: dict[str, Run]) -> str:
    rows, held, measured, bars = [], 0, 0, 0
    for bench in benches:
        values = _values(runs.get(bench.name))
        for figure in bench.figures:
            if not figure.bar:
                continue
            bars += 1
            value = values.get(figure.key)
            measured += value is not None
            held += value is not None and figure.held(value)
            link = f"[{bench.name}](#{bench.name})"
            rows.append(
                (link, f"`{figure.key}`", figure.means, *_judged(figure, value, runs.get(bench.name)))
            )
    count = f"Of {bars} bars {held} hold, {measured - held} do not, and {bars - measured} are not measured."
    columns = ("bench", "figure", "what it is", "measured", "bar", "held")
    return "\n".join(["## Overview", count, "", *_table(columns, rows), ""])


def _section(
    bench: Bench, run: Run | None, others: list[Run], plots: dict[str, str], machines: list[dict[str, str]]
) -> str:
    lines = [f"## {bench.name}", f"**{bench.title}.** {bench.says}", ""]
    values = _values(run)
    if values:
        known = dict[str, Figure]()
        for figure in bench.figures:
            for key in named(figure.key, values):
                known.setdefault(key, figure)
        rows = [
            (f"`{key}`", figure.means, *_judged(figure, values[key], run)) for key, figure in known.items()
        ]
        rows += [(f"`{key}`", "", number(value), "", "") for key, value in values.items() if key not in known]
        lines += [*_table(("figure", "what it is", "measured", "bar", "held"), rows), ""]
        lines += [f"![{title}](benchmarks/{name}.svg)\n" for name, title in plots.items()]
    lines += [_how(bench, run, machines), ""]
    for other in others:
        lines += [f"On {other.device}, base `{other.base or 'default'}`: {_how(bench, other, machines)}", ""]
        if found := _values(other):
            pairs = [(f"`{key}`", number(value)) for key, value in found.items()]
            lines += [*_table(("figure", "measured"), pairs), ""]
    return "\n".join(lines)


def _how(bench: Bench, run: Run | None, machines: list[dict[str, str]]) -> str:
    if run is None:
        return f"Not measured yet. To measure it: `.venv/bin/python -m bench.{bench.name}`."
    where = f", machine {machines.index(run.machine) + 1}" if len(machines) > 1 else ""
    took = f"{run.seconds / 60:.0f} min" if run.seconds >= 90 else f"{run.seconds} s"
    at = f"at commit {run.commit}" if run.commit else "at no commit"
    what = f"**Failed** ({run.failed})" if run.failed else "Measured"
    return f"{what} on {run.began[:10]} in {took} {at}{where}. To repeat it: `.venv/bin/{run.command}`."


def _judged(figure: Figure, value: float | None, run: Run | None) -> tuple[str, str, str]:
    """(measured, bar, held)."""
    if value is None:
        return "failed" if run and run.failed else NOT_MEASURED, figure.bar, ""
    return number(value), figure.bar, ("yes" if figure.held(value) else "**no**") if figure.bar else ""


def _values(run: Run | None) -> dict[str, float]:
    return dict(flat(run.figures)) if run and run.figures else {}


def _machines(runs: Iterable[Run]) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    for run in runs:
        if run.machine not in found:
            found.append(run.machine)
    return found


def _machine_list(machines: list[dict[str, str]]) -> str:
    lines = ["## Machine" if len(machines) < 2 else "## Machines"]
    for count, machine in enumerate(machines, 1):
        prefix = f"{count}. " if len(machines) > 1 else ""
        lines.append(prefix + ", ".join(f"{name} {value}" for name, value in machine.items()) + ".")
    return "\n".join([*lines, ""])


def number(value: float) -> str:
    """Three digits, or all of a whole number."""
    if value == round(value):
        return f"{value:,.0f}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(row) + " |" for row in (columns, ["---"] * len(columns), *rows)]
