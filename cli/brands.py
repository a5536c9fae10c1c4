"""`chorus brands`: rollouts changed in the database itself; every server sees it within a second.

The rules are those of POST /v1/brands/{brand}. A server loads and proves a version before it answers; here
none is asked whether it can, and an unproven version waits for the next one that sees it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from sqlalchemy.orm import Session

from adapters import resolve, rollout
from adapters.eligible import RolloutRefused
from cli import brands_shown, options
from cli.options import Home
from records import tenants
from records.audit import By
from records.models import Rollout

BY = By("cli")
Tenant = Annotated[str, typer.Option("--tenant", help="Whose brand it is.")]
Slug = Annotated[
    str | None, typer.Option("--base", help="Slug of the base, for a brand that has versions for several.")
]
Brand = Annotated[str, typer.Argument(help="The brand's name.")]
Version = Annotated[str | None, typer.Argument(help="A version's full name (ft:...).")]
Share = Annotated[
    float | None, typer.Option("--share", min=0, max=1, help="Part of the requests that it answers.")
]

brands = typer.Typer(no_args_is_help=True)


@brands.callback()
def about() -> None:
    """What brands mean: promote, roll back, retire, canary, shadow."""


@brands.command("list")
def list_brands(tenant: Tenant, home: Home = None) -> None:
    """Show the tenant's brands, a line each."""
    database = options.open_database(options.read(home=home))
    try:
        with database.read() as session:
            tenants.check_exists(session, tenant)
            Console().print(brands_shown.table(rollout.of(session, tenant)))
    except tenants.NotFound as error:
        raise options.stop(str(error)) from None


@brands.command()
def show(brand: Brand, tenant: Tenant, base: Slug = None, home: Home = None) -> None:
    """Show what the brand means, its versions, and its latest changes."""
    database = options.open_database(options.read(home=home))
    with database.read() as session:
        brands_shown.whole(Console(), session, _only(session, tenant, brand, base))


@brands.command()
def promote(
    brand: Brand,
    tenant: Tenant,
    version: Version = None,
    force: Annotated[bool, typer.Option("--force", help="Also what the brand's gate held back.")] = False,
    base: Slug = None,
    home: Home = None,
) -> None:
    """Make a version live, once a server has proven it; without VERSION the candidate."""
    _change(
        tenant,
        brand,
        base,
        home,
        lambda session, row: rollout.promote(session, row, version, BY, force=force),
    )


@brands.command()
def rollback(brand: Brand, tenant: Tenant, base: Slug = None, home: Home = None) -> None:
    """Let the live and the previous version change places."""
    _change(tenant, brand, base, home, lambda session, row: rollout.rollback(session, row, BY))


@brands.command()
def retire(brand: Brand, tenant: Tenant, base: Slug = None, home: Home = None) -> None:
    """Take the brand out of service until somebody promotes or rolls back; it is paused too."""
    _change(tenant, brand, base, home, lambda session, row: rollout.retire(session, row, BY))


@brands.command()
def pause(brand: Brand, tenant: Tenant, base: Slug = None, home: Home = None) -> None:
    """Let new versions wait as candidate instead of going live."""
    _change(tenant, brand, base, home, lambda session, row: rollout.pause(session, row, BY))


@brands.command()
def resume(brand: Brand, tenant: Tenant, base: Slug = None, home: Home = None) -> None:
    """Let new versions go live again."""
    _change(tenant, brand, base, home, lambda session, row: rollout.resume(session, row, BY))


@brands.command()
def canary(
    brand: Brand,
    tenant: Tenant,
    version: Version = None,
    share: Share = None,
    base: Slug = None,
    home: Home = None,
) -> None:
    """Let a candidate answer a share of the requests; with neither VERSION nor --share, end that."""
    _change(tenant, brand, base, home, lambda session, row: rollout.canary(session, row, version, share, BY))


@brands.command()
def shadow(
    brand: Brand, tenant: Tenant, version: Version = None, base: Slug = None, home: Home = None
) -> None:
    """Mirror the brand's requests to a version that answers nobody; without VERSION, end that."""
    _change(tenant, brand, base, home, lambda session, row: rollout.shadow(session, row, version, BY))


def _change(
    tenant: str,
    brand: str,
    base: str | None,
    home: Path | None,
    rule: Callable[[Session, Rollout], Rollout],
) -> None:
    database = options.open_database(options.read(home=home))
    try:
        with database.write() as session:
            row = rule(session, _only(session, tenant, brand, base))
            unproven = resolve.unproven(session, row)
    except RolloutRefused as refused:
        raise options.stop(str(refused)) from None
    Console().print(brands_shown.state(row))
    for name in unproven:
        Console(soft_wrap=True, highlight=False).print(brands_shown.what_is_next(row, name))


def _only(session: Session, tenant: str, brand: str, base: str | None) -> Rollout:
    """The one rollout that is meant, locked; ends the command when there is none or several."""
    rows = [row for row in rollout.of(session, tenant, base) if row.brand == brand]
    if len(rows) > 1:
        raise options.stop(
            f"Brand {brand!r} has several bases; add --base {' or '.join(r.base for r in rows)}."
        )
    found = rollout.find(session, tenant, brand, rows[0].base, lock=True) if rows else None
    if found is None:
        raise options.stop(
            f"Tenant {tenant!r} has no such brand: {brand!r}. `chorus brands list` shows them."
        )
    return found
