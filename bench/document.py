"""docs/benchmarks.md and its pictures, written from the runs that are kept and from nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.figures import Bar, Bench, Figure, flat, named
from bench.plots import pictures
from bench.runs import DOCS, Run

HEAD = """# Benchmarks
Written by `python -m bench` (`make bench`) from the JSON files in [benchmarks/](benchmarks/), which keep
what each bench printed last, when, with which command and on what machine. Do not edit it: `python -m bench
--write` writes it again. What each needs is installed by `make demo`; `training` compares with libraries
that only it needs: `.venv/bin/pip install --no-deps -r requirements/bench.txt`. A ratio compares two things
that took turns in one run, so that the machine's mood is in both, and is the median of its rounds. A bar is
what was promised, for two CPU cores and the base that the bench takes by default.

Each kind of CPU has its own column: `avx512_bf16` multiplies bfloat16 natively and serves in it, `avx2`
serves in float32. `--cpu avx2` has a better CPU act as that one, on all sides; a run made so says it. Where
bars differ by kind they stand in the order of the columns.
"""
KINDS = ("avx512_bf16", "avx2")  # that are always shown; others where something is kept of them
NOT_MEASURED = "not measured"
OVERVIEW, EACH = ("bench", "figure", "what it is"), ("figure", "what it is")


def write(benches: Sequence[Bench], runs: Sequence[Run], docs: Path = DOCS) -> None:
    """Also takes away pictures of what is no longer kept."""
    made = files(benches, runs)
    for old in (docs / "benchmarks").rglob("*.svg"):
        if old.relative_to(docs).as_posix() not in made:
            old.unlink()
    for name, text in made.items():
        (docs / name).parent.mkdir(parents=True, exist_ok=True)
        (docs / name).write_text(text)


def files(benches: Sequence[Bench], runs: Sequence[Run]) -> dict[str, str]:
    """Each file's text by its name below docs/."""
    kept = [run for run in runs if not run.quick]
    plain = {(run.bench, run.kind): run for run in kept if run.plain}
    kinds = [*KINDS, *sorted({kind for _, kind in plain} - set(KINDS))]
    machines = _machines(runs)
    drawn, parts = dict[str, str](), [HEAD, _overview(benches, plain, kinds)]
    for bench in benches:
        mine = {kind: run for kind in kinds if (run := plain.get((bench.name, kind)))}
        shown = {
            f"benchmarks/{kind}/{name}.svg": (f"{title}, {kind}", svg)
            for kind, run in mine.items()
            for name, (title, svg) in pictures(bench, run).items()
        }
        drawn |= {name: svg for name, (_, svg) in shown.items()}
        others = [run for run in kept if run.bench == bench.name and not run.plain]
        parts.append(
            _section(
                bench, mine, kinds, others, {name: title for name, (title, _) in shown.items()}, machines
            )
        )
    parts.append(_machine_list(machines))
    return {"benchmarks.md": "\n".join(parts), **drawn}


def _overview(benches: Sequence[Bench], runs: dict[tuple[str, str], Run], kinds: Sequence[str]) -> str:
    rows, counts = [], {kind: [0, 0, 0] for kind in kinds}  # held, measured, bars
    for bench in benches:
        mine = {kind: run for kind in kinds if (run := runs.get((bench.name, kind)))}
        for figure in bench.figures:
            bars = {kind: bar for kind in kinds if str(bar := figure.bar(kind))}
            if not bars:
                continue
            for kind, bar in bars.items():
                value = _values(mine.get(kind)).get(figure.key)
                held = value is not None and bar.held(value)
                counts[kind] = [
                    a + b for a, b in zip(counts[kind], (held, value is not None, 1), strict=True)
                ]
            link = f"[{bench.name}](#{bench.name})"
            rows.append((link, f"`{figure.key}`", figure.means, *_judged(figure, figure.key, mine, kinds)))
    lines = [
        f"On {kind} {held} of {bars} bars hold, {measured - held} do not, {bars - measured} are not measured."
        for kind, (held, measured, bars) in counts.items()
    ]
    return "\n".join(
        ["## Overview", "\n\n".join(lines), "", *_table((*OVERVIEW, *kinds, "bar", "held"), rows), ""]
    )


def _section(
    bench: Bench,
    runs: dict[str, Run],
    kinds: Sequence[str],
    others: list[Run],
    plots: dict[str, str],
    machines: list[dict[str, str]],
) -> str:
    lines = [f"## {bench.name}", f"**{bench.title}.** {bench.says}", ""]
    keys = list(dict.fromkeys(key for run in runs.values() for key in _values(run)))
    if keys:
        known = dict[str, Figure]()
        for figure in bench.figures:
            for key in named(figure.key, keys):
                known.setdefault(key, figure)
        unknown = {key: Figure(key, "") for key in keys if key not in known}
        rows = [
            (f"`{key}`", figure.means, *_judged(figure, key, runs, kinds))
            for key, figure in (known | unknown).items()
        ]
        lines += [*_table((*EACH, *kinds, "bar", "held"), rows), ""]
        lines += [f"![{title}]({name})\n" for name, title in plots.items()]
    elif failed := [run.failed for run in runs.values() if run.failed]:
        lines += [f"Nothing was measured: {'; '.join(failed)}.", ""]
    lines += [f"{_how(run, machines)}\n" for run in runs.values()]
    if not runs:
        lines += [f"Not measured yet. To measure it: `.venv/bin/python -m bench.{bench.name}`.", ""]
    for other in others:
        lines += [f"On {other.device}, base `{other.base or 'default'}`: {_how(other, machines)}", ""]
        if found := _values(other):
            pairs = [(f"`{key}`", number(value)) for key, value in found.items()]
            lines += [*_table(("figure", "measured"), pairs), ""]
    return "\n".join(lines)


def _how(run: Run, machines: list[dict[str, str]]) -> str:
    where = f", machine {machines.index(run.machine) + 1}" if len(machines) > 1 else ""
    took = f"{run.seconds / 60:.0f} min" if run.seconds >= 90 else f"{run.seconds} s"
    at = f"at commit {run.commit}" if run.commit else "at no commit"
    what = f"**Failed** ({run.failed})" if run.failed else "Measured"
    acted = f", an {run.forced} that acted as such" if run.forced else ""
    when = f"on {run.began[:10]} in {took} {at}{where}"
    return f"{what} on {run.kind}{acted}, {when}. To repeat it: `.venv/bin/{run.command}`."


def _judged(figure: Figure, key: str, runs: dict[str, Run], kinds: Sequence[str]) -> tuple[str, ...]:
    """What each kind has, then (bars, held): once where it is the same for all, else by kind."""
    values = {kind: _values(runs.get(kind)).get(key) for kind in kinds}
    shown = [_shown(values[kind], runs.get(kind)) for kind in kinds]
    bars = [str(figure.bar(kind)) for kind in kinds]
    held = [_held(figure.bar(kind), values[kind]) for kind in kinds]
    return *shown, _joined(bars), _joined(held)


def _shown(value: float | None, run: Run | None) -> str:
    if value is None:
        return "failed" if run and run.failed else NOT_MEASURED if run is None else ""
    return number(value)


def _held(bar: Bar, value: float | None) -> str:
    return "" if value is None or not str(bar) else "yes" if bar.held(value) else "**no**"


def _joined(cells: list[str]) -> str:
    return cells[0] if len(set(cells)) == 1 else " / ".join(cell or "-" for cell in cells)


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
