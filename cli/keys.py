"""`chorus tenants keys`: the keys of a tenant by their prefix, `ck-` and 8 hex digits; never a secret."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli import options
from cli.options import Home
from records import tenants as rows
from records.audit import By
from records.database import Database

BY = By("cli")
Tenant = Annotated[str, typer.Argument(help="The tenant's name.")]
Prefix = Annotated[str, typer.Argument(help="The key up to its second dash, as `keys list` shows it.")]

keys = typer.Typer(no_args_is_help=True)


@keys.callback()
def about() -> None:
    """A tenant's API keys: list, create another, revoke one."""


@keys.command("list")
def list_keys(tenant: Tenant, home: Home = None) -> None:
    """Show the tenant's keys: prefix, when it was made, when it was revoked."""
    shown = Table("Key", "Created", "Revoked")
    with _opened(home) as database, database.read() as session:
        for row in rows.keys_of(session, tenant):
            shown.add_row(rows.prefix(row), _when(row.created_at), _when(row.revoked_at))
    Console().print(shown)


@keys.command()
def create(tenant: Tenant, home: Home = None) -> None:
    """Give the tenant another key and print it; it is not shown again."""
    with _opened(home) as database, database.write() as session:
        key = rows.add_key(session, tenant, BY)
    typer.echo(key)


@keys.command()
def revoke(prefix: Prefix, home: Home = None) -> None:
    """Refuse a key from now on; the tenant's other keys stay good."""
    from server.auth import REMEMBERED_SECONDS  # not on top: the other commands need no web framework

    with _opened(home) as database, database.write() as session:
        row = rows.revoke(session, prefix, BY)
    typer.echo(
        f"{rows.prefix(row)} of tenant {row.tenant} is revoked since {_when(row.revoked_at)}; "
        f"a running server refuses it within {REMEMBERED_SECONDS:g} seconds."
    )


@contextmanager
def _opened(home: Path | None) -> Iterator[Database]:
    """The database; what is not there ends the command with a sentence."""
    try:
        yield options.open_database(options.read(home=home))
    except rows.NotFound as error:
        raise options.stop(str(error)) from None


def _when(at: int | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at)) if at is not None else "-"
