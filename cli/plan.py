"""`chorus plan`: how many adapters an engine would hold on this machine, and what each costs."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from adapters import base as bases
from adapters import planned
from adapters.dtype import SET, Dtype
from adapters.plan import GIB, Plan, in_memory
from adapters.sizes import shown
from cli import options
from cli.options import Base, Home
from records.settings import Settings
from server.engine import lora_choice
from server.engine.lora_kernels import KernelRefused

Memory = Annotated[
    float | None,
    typer.Option("--memory", min=0.1, help="Plan for a machine of so many GiB. [default: this one]"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")]


def plan(base: Base = None, home: Home = None, memory: Memory = None, as_json: AsJson = False) -> None:
    """Show the slots, the places in memory, the rank and the dtype that `chorus serve` takes where none are
    set.

    Exits with 1 when what is set or registered does not fit.
    """
    settings = options.read(base=base, home=home)
    database = options.open_database(settings)
    try:
        model = bases.resolve(settings.base, settings.home)
    except bases.BaseNotFound as error:
        raise options.stop(str(error)) from None
    given = None if memory is None else int(memory * GIB)
    try:
        products = lora_choice.choose(settings.cpu_lora)
        _, chosen, numbers = planned.settle(settings, model, database, given, kernel=products.native)
    except (planned.BadVariable, KernelRefused) as error:
        raise options.stop(str(error)) from None
    if as_json:
        names = ("max_loras", "max_cpu_loras", "max_lora_rank", "slot", "kept", "share", "fits", "unserved")
        told = {name: getattr(chosen, name) for name in names}
        told |= {"base": chosen.load.base, "dtype": numbers.name, "dtype_because": numbers.because}
        typer.echo(json.dumps(told))
    else:
        console = Console(highlight=False, markup=False)
        for table in (_choices(chosen, settings, numbers), _memory(chosen), _ranks(chosen)):
            console.print(table)
    if not chosen.fits or chosen.unserved:
        raise typer.Exit(1)


FEWER = "CHORUS_MAX_CPU_LORAS or CHORUS_MAX_LORAS"


def line(plan: Plan) -> str:
    """The plan in one line, for the log of `chorus serve`."""
    return (
        f"{plan.max_loras} slots, {plan.max_cpu_loras} adapters in memory, rank {plan.max_lora_rank} at most"
        + ("" if plan.fits else f"; that may not fit in {shown(plan.share)}: set {FEWER} lower")
        + (f"; {plan.unserved} versions have a larger rank and are not served" if plan.unserved else "")
    )


def _choices(plan: Plan, settings: Settings, numbers: Dtype) -> Table:
    table = Table("setting", "value", "because", title="Plan", title_justify="left")
    streams = "the streams that are served at once" if plan.machine.device is None else "a GPU's batch"
    why = {
        "max_loras": f"a power of two, for {streams}, within the slots' share of memory",
        "max_cpu_loras": "what the rest of the adapters' share holds",
        "max_lora_rank": "the least that serves all registered versions, and new ones",
    }
    for name, reason in why.items():
        value, wished = getattr(plan, name), getattr(settings, name)
        if wished == value:
            because = SET
        elif wished is not None:
            because = f"{wished} is set: as many as slots, and two, at least"
        else:
            because = reason
        table.add_row(name, str(value), because)
    table.add_row("dtype", numbers.name, numbers.because)
    return table


def _memory(plan: Plan) -> Table:
    table = Table("memory", "each", "in all", title="What it takes at most", title_justify="left")
    machine = plan.machine
    table.add_row("the machine", "", shown(machine.memory))
    if machine.device is not None:
        table.add_row("its GPU", "", shown(machine.device))
    table.add_row("base model", "", shown(plan.load.base))
    if machine.device is None:
        table.add_row("KV cache", "", shown(machine.kv_cache))
    table.add_row("may be slots", "", shown(plan.slots_share))
    table.add_row(f"{plan.max_loras} slots", shown(plan.slot), shown(plan.slots))
    table.add_row("may be adapters, slots among them" if machine.device is None else "may be adapters", "",
                  shown(plan.share))  # fmt: skip
    table.add_row(f"{plan.max_cpu_loras} adapters in memory", shown(plan.kept), shown(plan.all_kept))
    if not plan.fits:
        table.add_row(f"it does not fit: set {FEWER} lower, or use a larger machine", "", "")
    return table


def _ranks(plan: Plan) -> Table:
    title = "Registered versions" if plan.load.ranks else "No version is registered"
    table = Table("rank", "versions", "in memory, each", "", title=title, title_justify="left")
    for rank, count in sorted(plan.load.ranks.items()):
        served = (
            "" if rank <= plan.max_lora_rank else f"not served: CHORUS_MAX_LORA_RANK is {plan.max_lora_rank}"
        )
        table.add_row(str(rank), str(count), shown(in_memory(plan.machine, plan.load, rank)), served)
    return table
