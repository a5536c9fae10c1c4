"""`chorus doctor`: what this machine is, what follows for serving, what is slow here and how to mend it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from adapters import base as bases
from adapters import planned
from adapters.dtype import Dtype
from adapters.plan import Plan
from adapters.sizes import shown
from cli import options
from cli.options import Base, Home
from records.settings import Settings
from server.engine import findings, lora_choice, machine
from server.engine.findings import Finding, Level
from server.engine.lora_choice import Choice
from server.engine.lora_kernels import KernelRefused
from server.engine.machine import Facts

AsJson = Annotated[bool, typer.Option("--json", help="Print what is found as JSON.")]


@dataclass(frozen=True)
class Follows:
    """How a base is served on this machine."""

    base: str
    dtype: Dtype
    adapters: Choice


def doctor(base: Base = None, home: Home = None, as_json: AsJson = False) -> None:
    """Look at this machine: what it has, how it serves the base, what is slow here and how to mend it.

    Exits with 1 when something stops serving. Starts nothing, writes nothing.
    """
    settings = options.read(base=base, home=home)
    facts = machine.look(settings.home)
    follows, found = examine(settings, facts)
    if as_json:
        typer.echo(json.dumps(_told(facts, follows, found)))
    else:
        console = Console(highlight=False, markup=False)
        console.print(_machine(facts))
        if follows:
            console.print(_served(follows))
        console.print(_findings(found))
    if any(finding.level is Level.STOPS for finding in found):
        raise typer.Exit(1)


def examine(settings: Settings, facts: Facts) -> tuple[Follows | None, list[Finding]]:
    """What follows for the base of the settings, and all findings; None where there is no such base."""
    found = list(findings.of_machine(facts))
    try:
        base = bases.glance(settings.base)
        products = lora_choice.choose(settings.cpu_lora)
        _, plan, numbers = planned.settle_for(settings, base, {}, kernel=products.native)
    except bases.BaseNotFound as error:
        return None, _sorted([*found, findings.no_base(settings.base, str(error))])
    except (planned.BadVariable, KernelRefused) as error:
        return None, _sorted([*found, findings.bad_variable(str(error))])
    found += findings.of_base(facts, plan, numbers, products)
    return Follows(base.slug, numbers, products), _sorted(found)


def lines(facts: Facts, plan: Plan, numbers: Dtype, products: Choice) -> list[str]:
    """The same in short, for the log of `chorus serve`."""
    found = [*findings.of_machine(facts), *findings.of_base(facts, plan, numbers, products)]
    slow = [finding.what for finding in found if finding.level is not Level.NOTE]
    gpu = facts.gpu or "no GPU"
    return [
        f"{facts.cpu} ({facts.kind}), {facts.cores} cores, {shown(facts.memory)}, {gpu}",
        f"computes in {numbers.name}: {numbers.because}"
        + (f"; adapters by {products.name}: {products.because}" if facts.is_cpu_build else ""),
        *([f"{'; '.join(slow)} (chorus doctor says what to do)"] if slow else []),
    ]


def _sorted(found: list[Finding]) -> list[Finding]:
    return sorted(found, key=lambda finding: list(Level).index(finding.level))


def _told(facts: Facts, follows: Follows | None, found: list[Finding]) -> dict[str, Any]:
    serves = not any(finding.level is Level.STOPS for finding in found)
    return {
        "serves": serves,
        "machine": asdict(facts),
        "follows": asdict(follows) if follows else None,
        "findings": [asdict(finding) for finding in found],
    }


def _machine(facts: Facts) -> Table:
    table = Table("", title="This machine", title_justify="left", show_header=False)
    table.add_column(overflow="fold")
    none = "none"
    limited = f" (acts as {facts.kind})" if facts.kind != facts.own_kind else ""
    rows = {
        "CPU": f"{facts.cpu}, {facts.own_kind}{limited}: {' '.join(facts.features) or none}",
        "cores": str(facts.cores),
        "memory": shown(facts.memory),
        "disk": f"{shown(facts.disk_free)} free at {facts.home}",
        "GPU": facts.gpu or none,
        "compilers": f"C {facts.c_compiler or none}, C++ {facts.cxx_compiler or none}",
        "libraries": f"OpenMP {facts.openmp or none}, tcmalloc {facts.tcmalloc or none}",
        "huge pages": facts.huge_pages or none,
        "software": ", ".join(f"{name} {found}" for name, found in _software(facts)),
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _software(facts: Facts) -> list[tuple[str, str]]:
    return [("Python", facts.python), *facts.packages.items()]


def _served(follows: Follows) -> Table:
    title = f"How {follows.base} is served"
    table = Table("", "", "because", title=title, title_justify="left")
    table.add_row("dtype", follows.dtype.name, follows.dtype.because)
    table.add_row("adapters", follows.adapters.name, follows.adapters.because)
    return table


def _findings(found: list[Finding]) -> Table | str:
    if not found:
        return "Nothing stops or slows a server here."
    table = Table("", title="Findings", title_justify="left")
    for name in ("what", "what to do"):
        table.add_column(name, overflow="fold")  # a command must be whole
    for finding in found:
        table.add_row(finding.level.value, finding.what, finding.mend)
    return table
