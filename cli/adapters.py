"""`chorus adapters`: check and import adapters as the server does, without one."""

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
from adapters import imported, planned, resolve
from adapters.check import Admitted, admit
from adapters.eligible import RolloutRefused
from adapters.imported import Imported, NotImported
from adapters.refused import Refused
from cli import options
from cli.options import Base, Home
from records.audit import By
from records.settings import Settings

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

adapters = typer.Typer(no_args_is_help=True)


@adapters.callback()
def about() -> None:
    """Check and import LoRA adapters, and show versions' cards."""


@adapters.command()
def check(
    folder: Annotated[Path, typer.Argument(help="Folder of a LoRA adapter, or of a version.")],
    base: Base = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Say whether the adapter may reach the engine; exit 1 and `code: what to do` when not."""
    settings = options.read(base=base, home=home)
    model = _resolve(settings)
    settings = planned.with_rank(settings, model, options.open_database(settings))
    name = folder.absolute().name
    address = name if re.fullmatch(r"[0-9a-f]{64}", name) else None  # a version's folder says what is in it
    try:
        found = admit(folder, model, max_rank=settings.largest_rank, expected_sha256=address)
    except Refused as refused:
        raise _refused(refused, as_json, admitted=False) from None
    if as_json:
        typer.echo(json.dumps({"admitted": True, **asdict(found)}))
    else:
        _show(found, model.slug)


@adapters.command("import")
def take_in(
    folder: Annotated[Path, typer.Argument(help="Folder of a LoRA adapter in PEFT's format.")],
    tenant: Annotated[str, typer.Option("--tenant", help="Whose brand it is.")],
    brand: Annotated[str, typer.Option("--brand", help="The brand that it becomes a version of.")],
    promote: Annotated[
        bool, typer.Option("--promote", help="Let the brand answer with it from now on.")
    ] = False,
    base: Base = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Make an adapter that was trained elsewhere a version: repaired where that loses nothing, and checked.

    Exit 1 and `code: what to do` when it is refused.
    """
    settings = options.read(base=base, home=home)
    model = _resolve(settings)
    database = options.open_database(settings)
    settings = planned.with_rank(settings, model, database)
    try:
        done = imported.take_in(
            database, settings.home, folder, model,
            tenant=tenant, brand=brand, max_rank=settings.largest_rank, promote=promote, by=By("cli"),
        )  # fmt: skip
    except Refused as refused:
        raise _refused(refused, as_json, imported=False) from None
    except (NotImported, RolloutRefused) as error:
        raise options.stop(str(error)) from None
    except OSError as error:
        raise options.failed(error) from None
    if as_json:
        typer.echo(json.dumps({"imported": True, **done.shown()}))
    else:
        _show_import(done)


@adapters.command()
def card(
    name: Annotated[str, typer.Argument(help="A version (ft:...), or a brand for what is live.")],
    tenant: Annotated[str, typer.Option("--tenant", help="Whose version it is.")],
    base: Base = None,
    home: Home = None,
) -> None:
    """Print a version's model card: what it was made of, how it does, what it is for. Markdown."""
    from server.evaluation.card import card as make

    settings = options.read(base=base, home=home)
    model = _resolve(settings)
    with options.open_database(settings).read() as session:
        row = resolve.version_for(session, tenant, name, model)
        if row is None:
            raise options.stop(f"{tenant!r} has no version or brand {name!r}; GET /v1/models lists them.")
        typer.echo(make(session, row), nl=False)


def _resolve(settings: Settings) -> bases.Base:
    try:
        return bases.resolve(settings.base, settings.home)
    except bases.BaseNotFound as error:
        raise options.stop(str(error)) from None


def _refused(refused: Refused, as_json: bool, **said: bool) -> typer.Exit:
    """Print why: `raise _refused(...)`."""
    if as_json:
        typer.echo(json.dumps({**said, "code": refused.code, "message": refused.message}))
    options.errors.print(
        f"{refused.code.value}: {refused.message}", style="red", markup=False, soft_wrap=True
    )
    return typer.Exit(1)


def _show_import(done: Imported) -> None:
    """The name stands alone on its line, to be copied."""
    shown = Console(highlight=False, markup=False, soft_wrap=True)
    shown.print(done.version.name)
    for repair in done.ready.repairs:
        shown.print(f"repaired: {repair}")
    for warning in done.ready.warnings:
        shown.print(f"warning: {warning}")
    brand = done.version.brand
    if done.live:
        shown.print(f"It is live for brand {brand!r}.")
    elif done.pending:
        shown.print(f"It goes live for brand {brand!r} once a server has proven it.")
    else:
        command = f"chorus brands promote {brand} {done.version.name} --tenant {done.version.tenant}"
        shown.print(f"It answers under its own name; `{command}` makes it live for brand {brand!r}.")


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
