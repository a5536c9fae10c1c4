"""`chorus brands gate`: what a brand's new versions must show before they go live, in the database itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from adapters import gating, rollout
from adapters.reference import BRAND
from cli import brands_shown, options
from cli.brands import BY, Brand, Slug, Tenant
from cli.options import Home
from records import tenants
from records.blobs import Blobs

File = Annotated[
    Path | None,
    typer.Option("--file", help="JSON: graders, thresholds, must_not_regress, at_least_live, as over HTTP."),
]
Remove = Annotated[bool, typer.Option("--remove", help="Let new versions go live without one.")]


def gate(
    brand: Brand,
    tenant: Tenant,
    file: File = None,
    remove: Remove = False,
    base: Slug = None,
    home: Home = None,
) -> None:
    """Set the gate that a job's version must pass to go live by itself, or remove it."""
    from server import gate_request
    from server.engine.base import RequestRefused

    if not BRAND.fullmatch(brand):
        raise options.stop(f"{brand!r} is no name for a brand.")
    if (file is None) != remove:
        raise options.stop("Give --file FILE, or --remove.")
    settings = options.read(home=home)
    database = options.open_database(settings)
    try:
        asked = gate_request.parse({"action": gate_request.ACTION, "gate": _read(file)})
        with database.read() as session:
            tenants.check_exists(session, tenant)
            gate_request.check_file(session, Blobs(settings.home), tenant, asked)
            slugs = [row.base for row in rollout.of(session, tenant) if row.brand == brand]
        slug = base or (slugs[0] if len(slugs) == 1 else None)
        if slug is None:
            raise options.stop(f"Brand {brand!r} has {len(slugs)} bases; say which with --base SLUG.")
        shape = asked.model_dump() if asked else None
        with database.write() as session:
            row = gating.set_gate(session, tenant, brand, slug, shape, BY)
    except RequestRefused as refused:
        raise options.stop(refused.message) from None
    except tenants.NotFound as error:
        raise options.stop(str(error)) from None
    if row is None:
        raise options.stop(f"Tenant {tenant!r} has no such brand: {brand!r}.")
    Console().print(brands_shown.state(row))


def _read(file: Path | None) -> Any:
    if file is None:
        return None
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise options.stop(f"{file} cannot be read as JSON: {error}") from None
