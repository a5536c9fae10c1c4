"""`chorus tenants`: an API key is printed once, alone on stdout, so that a script can take it."""

from __future__ import annotations

import typer

from cli import options
from cli.keys import keys
from cli.options import Home
from records import tenants as rows

tenants = typer.Typer(no_args_is_help=True)
tenants.add_typer(keys, name="keys", help="A tenant's API keys: list, create another, revoke one.")


@tenants.callback()
def about() -> None:
    """Tenants and their API keys."""


@tenants.command()
def create(name: str, home: Home = None) -> None:
    """Create a tenant (or give an old one another key) and print the key; it is not shown again."""
    database = options.open_database(options.read(home=home))
    try:
        with database.write() as session:
            key = rows.create(session, name)
    except ValueError as error:
        raise options.stop(str(error)) from None
    typer.echo(key)
