"""`chorus adapters`: look at adapters as the server does, without one."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from adapters import base as bases
from adapters.check import Admitted, admit
from adapters.refused import Refused
from cli import options
from cli.options import Base, Home

adapters = typer.Typer(no_args_is_help=True)


@adapters.callback()
def about() -> None:
    """Check LoRA adapters."""


@adapters.command()
def check(
    folder: Annotated[Path, typer.Argument(help="Folder of a LoRA adapter, or of a version.")],
    base: Base = None,
    home: Home = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Say whether the adapter may reach the engine; exit 1 and `code: what to do` when not."""
    settings = options.read(base=base, home=home)
    try:
        model = bases.resolve(settings.base, settings.home)
    except bases.BaseNotFound as error:
        raise options.stop(str(error)) from None
    name = folder.absolute().name
    address = name if re.fullmatch(r"[0-9a-f]{64}", name) else None  # a version's folder says what is in it
    try:
        found = admit(folder, model, max_rank=settings.max_lora_rank, expected_sha256=address)
    except Refused as refused:
        if as_json:
            said = {"admitted": False, "code": refused.code, "message": refused.message}
            typer.echo(json.dumps(said))
        options.errors.print(
            f"{refused.code.value}: {refused.message}", style="red", markup=False, soft_wrap=True
        )
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(json.dumps({"admitted": True, **asdict(found)}))
    else:
        _show(found, model.slug)


def _show(found: Admitted, base: str) -> None:
    table = Table(title=f"Fits base {base}", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")  # a digest is copied from here, whole
    table.add_row("rank, alpha", f"{found.rank}, {found.alpha:g}")
    table.add_row("modules", ", ".join(found.target_modules))
    table.add_row("tensors", f"{found.tensors} in {found.bytes:,} bytes")
    table.add_row("sha256", found.content_sha256)
    for warning in found.warnings:
        table.add_row("warning", warning)
    Console(highlight=False, markup=False).print(table)
